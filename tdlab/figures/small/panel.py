"""What small figures share: one panel, a key above it, quantiles where values may be censored."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tdlab.figures.style import THEORY, Drawing, curves, student

Tables = Mapping[str, pd.DataFrame]
Draw = Callable[[Axes, Tables], None]

DASHED: dict[str, Any] = THEORY | {"linewidth": 1.2}


def drawn(draw: Draw, tables: Tables) -> Figure:
    """One panel with what ``draw`` draws on it; the first sentence of that tells what it is."""
    with sns.axes_style("ticks"), sns.plotting_context("paper", font_scale=0.8):
        figure = Drawing(figsize=(3.2, 2.1), layout="constrained", dpi=110)
        ax = figure.subplots()
        draw(ax, tables)
    sns.despine(ax=ax)
    figure.set_label((draw.__doc__ or "").strip().split("\n\n")[0])
    return figure


def key(ax: Axes, theory: str | None = None, *, columns: int = 3) -> None:
    """What the series are called, above the panel; last what is dashed, if it has a name here."""
    named = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # each name once
    handles, labels = [*named.values()], [*named]
    if theory is not None:
        handles, labels = [*handles, Line2D([], [], **DASHED)], [*labels, theory]
    figure: Any = ax.figure
    look = {"handlelength": 1.6, "columnspacing": 1.0, "handletextpad": 0.5, "borderpad": 0.1}
    look |= {"frameon": False, "ncols": columns, "labelspacing": 0.3}
    figure.legend(handles, labels, loc="outside upper center", **look)


def lines(ax: Axes, rows: pd.DataFrame, x: str, hue: str, **look: Any) -> None:
    """As ``curves``, with small markers that have no seam, which in a key looks like a gap."""
    curves(ax, rows, x, hue, **look)
    for line in ax.lines:
        line.set(markersize=3.5, markeredgewidth=0)


def quantiles(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """The median over seeds and the ends of a band of 80 % of them, by ``x``.

    What is missing lies beyond the ``limit`` of its row. So a median is missing where half of the
    seeds or more are, and a band ends at the limit.

    Returns:
        Columns ``low``, ``median``, ``high``.
    """
    rows = rows.assign(limit=rows.limit if "limit" in rows else float("inf"))
    beyond = rows.assign(value=rows.value.fillna(float("inf"))).groupby(x).value
    bounded = rows.assign(value=rows.value.fillna(rows.limit)).groupby(x).value
    return pd.DataFrame(
        {
            "low": bounded.quantile(0.1),
            "median": beyond.median().replace(float("inf"), float("nan")),
            "high": bounded.quantile(0.9),
        }
    )


def banded(ax: Axes, x: np.ndarray, its: pd.DataFrame, colour: Any, label: str) -> None:
    """Quantiles at ``x``: points that are joined, and a band."""
    ax.plot(x, its["median"], "-o", color=colour, markersize=3, label=label)
    ax.fill_between(x, its.low, its.high, color=colour, alpha=0.2, linewidth=0)


def estimates(
    ax: Axes, rows: pd.DataFrame, x: str, y: str, hue: str, palette: Mapping[str, Any]
) -> None:
    """The mean over seeds of each category and its 95 % interval, beside each other by ``hue``."""
    look = {"dodge": 0.35, "markersize": 3, "linestyle": "none", "err_kws": {"linewidth": 1.2}}
    own = {"palette": palette, "hue_order": [*palette], "errorbar": student}
    sns.pointplot(rows, x=x, y=y, hue=hue, ax=ax, **own, **look)
    inner: Any = ax.get_legend()
    inner.remove()
