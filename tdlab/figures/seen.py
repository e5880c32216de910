"""What a figure shows, read back off it: of each panel the labels, and where its series lead."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from tdlab.figures.series import Series, View, coordinates, is_data, keys, series, view, visible
from tdlab.figures.spoken import categorical, is_number, said, spoken, ticks, worded


class Panel(NamedTuple):
    """The labels of a panel, what its series are drawn against, and these."""

    title: str
    value: str
    along: str
    span: str  # of what it is drawn along
    say: Callable[[float], str]  # a value as the panel says it
    series: tuple[Series, ...]


def panels(figure: Figure) -> list[Panel]:
    """The panels that show something; what a bar of colours says is said with its colours."""
    bars = [bar for ax in figure.axes for shown in _maps(ax) if (bar := shown.colorbar)]
    beside = [bar.ax for bar in bars]
    shown = [ax for ax in figure.axes if ax not in beside]
    return [_coloured(ax, bars) if any(_maps(ax)) else _panel(ax) for ax in shown]


def dashed_keys(figure: Figure) -> list[str]:
    """What the legends call that which is dashed."""
    return [text for (_, dashed), text in keys(figure.legends).items() if dashed]


def _panel(ax: Axes) -> Panel:
    figure: Any = ax.get_figure(root=True)
    its = view(ax, [*figure.legends, *filter(None, [ax.get_legend()])])
    value = its.value.get_label_text() or _shared(ax, "get_ylabel", row=True)
    along = "" if its.lying else its.along.get_label_text()
    title = ax.get_title() or _shared(ax, "get_title", row=False)
    title, value, along = map(spoken, (title, value, along))
    say = partial(said, its.value)
    return Panel(title, value, along, _span(ax, its), say, (*series(ax, its),))


def _shared(ax: Axes, read: str, *, row: bool) -> str:
    """The label that the first panel of its row, or of its column, has for all of them."""
    place = ax.get_subplotspec()
    if place is None:
        return ""
    figure: Any = ax.get_figure(root=True)
    for other in figure.axes:
        its = other.get_subplotspec()
        along = its is not None and (
            its.rowspan == place.rowspan if row else its.colspan == place.colspan
        )
        if along and its.get_gridspec() is place.get_gridspec():
            return str(getattr(other, read)())
    return ""


def _span(ax: Axes, its: View) -> str:
    """From where to where the lines go, or the categories if they are numbers."""
    texts = [*ticks(its.along).values()]
    if categorical(its.along) and all(map(is_number, texts)):
        return f"{texts[0]} to {texts[-1]}"
    lines = [line for line in ax.lines if visible(line) and is_data(line, its) == (True, True)]
    x = np.concatenate([[], *(coordinates(line, its)[:, 0] for line in lines)])
    x = x[np.isfinite(x)]
    if not len(x) or categorical(its.along) or worded(its.along):
        return ""
    ends = [_at_tick(its.along, at, 0.02 * np.ptp(x)) for at in (x.min(), x.max())]
    return " to ".join(dict.fromkeys(said(its.along, at) for at in ends))


def _at_tick(axis: Any, at: float, within: float) -> float:
    """The tick that is meant by what stands beside it, so as not to hide another point."""
    if not isinstance(axis.get_major_locator(), FixedLocator):
        return at
    tick = min(axis.get_majorticklocs(), key=lambda place: abs(place - at))
    return float(tick if abs(tick - at) < within else at)


# Planes of colours.


def _maps(ax: Axes) -> Iterator[Any]:
    yield from (each for each in ax.collections if isinstance(each, QuadMesh | ContourSet))


def _coloured(ax: Axes, bars: list[Any]) -> Panel:
    """The least and the largest value; of a map whose fields hold numbers, as these say it."""
    shown = next(_maps(ax))
    if isinstance(shown, QuadMesh):
        return _map(ax, shown)
    bar = shown.colorbar or bars[0]
    label = bar.ax.get_ylabel() or bar.ax.get_xlabel()
    its = Series("", (float(shown.zmin), float(shown.zmax)))
    title = spoken(ax.get_title())
    return Panel(title, spoken(label), "", "", partial(said, bar.long_axis), (its,))


def _map(ax: Axes, shown: QuadMesh) -> Panel:
    values = np.ma.getdata(np.ma.asarray(shown.get_array())).astype(float)
    flat = values.flatten().tolist()
    words = dict(zip(flat, (text.get_text() for text in ax.texts), strict=False))
    row, column = np.unravel_index(values.argmax(), values.shape)
    across, _, label = ax.get_xlabel().partition("\n")
    down, right = ticks(ax.yaxis)[row + 0.5], ticks(ax.xaxis)[column + 0.5]
    most = f"most at {ax.get_ylabel()} {down}, {across} {right}"
    its = Series("", (min(flat), max(flat)), remark=most)
    return Panel(spoken(ax.get_title()), spoken(label), "", "", words.__getitem__, (its,))
