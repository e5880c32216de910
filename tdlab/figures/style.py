"""The one style of all figures, and what they are drawn with.

Solid: the median over seeds; band: 10 to 90 % of them; dashed: the theory. Figures compute nothing
but quantiles (and the means of numbers that are means of few prompts, with their intervals), and
the same thing has the same colour everywhere.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tdlab.figures.words import alt
from tdlab.statistics import mean_interval

PALETTE = sns.color_palette("colorblind")
_MARKERS = "osD^vP"  # for who cannot tell colours apart: a dash says that it is theory
REGIMES = ["ours", "nearer the theorem"]  # in which a law is measured
THEORY: dict[str, Any] = {"color": "0.15", "linestyle": (0, (5, 3)), "linewidth": 1.6}

COLOURS = {
    "trained tasks": PALETTE[0],
    "unseen tasks": PALETTE[1],
    "out-of-domain patterns": PALETTE[9],
    "a > 0": PALETTE[2],
    "a < 0": PALETTE[4],
    "smallest first": PALETTE[0],
    "random": PALETTE[7],
    "largest first": PALETTE[3],
    "W_Q": PALETTE[0],
    "W_K": PALETTE[1],
    "opposite pairs": PALETTE[0],
    "drawn, was no task": PALETTE[9],
    "drawn, was a task": PALETTE[2],
    "neighbours": PALETTE[3],
    "transformer": PALETTE[3],
    "1-NN": PALETTE[0],
    "3-NN": PALETTE[9],
    "linear SVM": PALETTE[5],
    "Gaussian SVM": PALETTE[7],
    "logistic regression": (0.35, 0.35, 0.35),
    "same step, same pattern": PALETTE[2],
    "same step, other pattern": PALETTE[1],
    "other step, same pattern": PALETTE[0],
    "other step, other pattern": PALETTE[9],
    "W trained": PALETTE[0],
    "W and W_V trained": PALETTE[1],
    "W_Q and W_K trained": PALETTE[2],
    "chain of thought, mean over steps": PALETTE[0],
    "chain of thought, final answer": PALETTE[9],
    "in context, final answer": PALETTE[3],
    "softmax": PALETTE[1],
    "gaussian": PALETTE[0],
    "normalized gaussian": PALETTE[9],
    "the 6 tasks that no set has": PALETTE[2],
    "in context": PALETTE[0],
    "ours": PALETTE[0],
    "nearer the theorem": PALETTE[1],
    "chain of thought": PALETTE[2],
}


def select(table: pd.DataFrame, source: str = "measured", **where: object) -> pd.DataFrame:
    """The rows of one source where every named column has the given value."""
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    return table[table.source == source]


def at_least(table: pd.DataFrame) -> pd.DataFrame:
    """The measured rows, in which what was not reached stands at its limit."""
    # Without them medians would be too small; with them they are right where most were reached.
    rows = select(table)
    return rows.assign(value=rows.value.fillna(rows.limit))


class Drawing(Figure):
    """A figure that shows itself in a notebook, whatever the backend, and can be read aloud."""

    said = ""  # what it shows, where who drew it knows that better than the drawing tells

    @property
    def alt(self) -> str:
        """What it shows, in sentences that give its numbers."""
        return f"{self.get_label()} {self.said}" if self.said else alt(self)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
        said = {"title": str(self.get_label()), "alt": self.alt}
        bundle = {"image/png": png(self), "image/svg+xml": svg(self).decode()}
        return bundle, dict.fromkeys(bundle, said)


def png(figure: Figure, dpi: float | None = None) -> bytes:
    """The figure as a PNG, which is the same whenever it is drawn."""
    return _saved(figure, "png", dpi=dpi or figure.dpi)


def svg(figure: Figure) -> bytes:
    """The figure as an SVG, which is the same whenever it is drawn."""
    # Letters as paths look the same where our fonts are not installed.
    said = {"Date": None, "Creator": None, "Title": str(figure.get_label())}
    with rc_context({"svg.hashsalt": "tdlab", "svg.fonttype": "path"}):
        return _saved(figure, "svg", metadata=said)


def _saved(figure: Figure, kind: str, **look: Any) -> bytes:
    file = BytesIO()
    figure.savefig(file, format=kind, **look)
    return file.getvalue()


def drawing(draw: Callable[[pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
    """Gives a figure the first sentence of its function, for who cannot see it."""

    @wraps(draw)
    def described(table: pd.DataFrame) -> Figure:
        figure = draw(table)
        figure.set_label((draw.__doc__ or "").strip().split("\n\n")[0])
        return figure

    return described


def grid(
    rows: int, columns: int, *, width: float = 9.0, height: float | None = None, **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, (row, column)."""
    with _look():
        figure = Drawing(figsize=(width, height or 3.1 * rows), layout="constrained", dpi=110)
        axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for ax in axes.flat:
        sns.despine(ax=ax)
    return figure, axes


def mosaic(
    rows: Sequence[Sequence[str]], *, width: float = 11.0, height: float
) -> tuple[Drawing, dict[str, Axes]]:
    """A figure and its axes by their names, each as large as its name takes room in ``rows``."""
    with _look():
        figure = Drawing(figsize=(width, height), layout="constrained", dpi=110)
        axes = figure.subplot_mosaic([list(row) for row in rows])
    for ax in axes.values():
        sns.despine(ax=ax)
    return figure, axes


def curves(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    hue: str,
    *,
    order: Sequence[str] | None = None,
    marker: str | None = None,
    palette: Mapping[str, Any] = COLOURS,
    estimator: str = "median",
) -> None:
    """The median over seeds, and the band that holds 80 % of them.

    The ``estimator`` of small error rates is the ``mean``: a median of counts is 0 too early.
    """
    look = {"estimator": estimator, "errorbar": ("pi", 80), "marker": marker}
    _lines(ax, rows, x, hue, order, palette, **look)


def means(ax: Axes, rows: pd.DataFrame, x: str, hue: str, order: Sequence[str]) -> None:
    """The mean over seeds and its 95 % interval: for means of few prompts a seed."""
    look = {"errorbar": student, "err_style": "bars"}
    look |= {"style": hue, "style_order": order, "markers": [*_MARKERS[: len(order)]]}
    _lines(ax, rows, x, hue, order, COLOURS, dashes=False, **look)


def student(values: pd.Series) -> tuple[float, float]:
    """The ends of Student's 95 % interval, as an error bar; none of a single seed."""
    if len(values) < 2:
        return math.nan, math.nan
    _, low, high = mean_interval(values.to_numpy(dtype=np.float64))
    return low, high


def legend(figure: Figure, ax: Axes | None, *, theory: str | None = None, columns: int = 5) -> None:
    """One legend above the panels, of what ``ax`` shows; without ``ax`` of the theory alone."""
    handles, labels = ax.get_legend_handles_labels() if ax is not None else ([], [])
    if theory is not None:
        handles, labels = [*handles, Line2D([], [], **THEORY)], [*labels, theory]
    columns = len(labels) if len(labels) <= columns else min(columns, 4)
    figure.legend(handles, labels, loc="outside upper center", frameon=False, ncols=columns)


def plain(*axes: Axis) -> None:
    """Ticks of logarithmic axes at 1, 2 and 5 times powers of ten, as plain numbers.

    An axis of many decades keeps its powers.
    """
    for axis in axes:
        low, high = axis.get_view_interval()
        if high < low * 1e4:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
            axis.set_minor_locator(NullLocator())


@contextmanager
def _look() -> Iterator[None]:
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.85):
        yield


def _lines(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    hue: str,
    order: Sequence[str] | None,
    palette: Mapping[str, Any],
    **look: Any,
) -> None:
    """Lines in our colours, without seaborn's legend a panel: the figure has one."""
    sns.lineplot(rows, x=x, y="value", hue=hue, hue_order=order, palette=palette, ax=ax, **look)
    if (inner := ax.get_legend()) is not None:
        inner.remove()
