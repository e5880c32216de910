"""The series of a panel, read back off its artists: lines, clouds of points and bars."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D

from tdlab.figures.spoken import categorical, said, spoken, ticks, worded

_BEYOND = 0.25  # of a line's range, how far it must leave its ends for that to be said
_NO_MARKER = ("None", "none", " ", "", None)


class Series(NamedTuple):
    """What it is called, and from where to where it leads."""

    name: str
    values: tuple[float, ...]  # at its first place and at its last one; one alone if it is level
    part: str = ""  # what it is about, in a panel of several things beside each other
    how: str = ""  # a value that is alone is to be understood
    remark: str = ""
    middle: str = ""  # half-way, which is told where others have the same ends
    moves: bool = False  # from the first value to the last, which are no mere limits


class View(NamedTuple):
    """How a panel is to be read: which of its axes has the values, and what colours mean."""

    lying: bool  # values along x, words along y
    value: Axis
    along: Axis
    names: Mapping[tuple[str, bool], str]  # by colour, and by whether what has it is dashed


def view(ax: Axes, legends: Iterable[Any]) -> View:
    """Words stand along the axis that has no values."""
    lying = worded(ax.yaxis) and not worded(ax.xaxis)
    value, along = (ax.xaxis, ax.yaxis) if lying else (ax.yaxis, ax.xaxis)
    return View(lying, value, along, keys(legends))


def keys(legends: Iterable[Any]) -> dict[tuple[str, bool], str]:
    """What the legends call a colour, and what is dashed in it."""
    found = {}
    for legend in legends:
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            dashed = isinstance(handle, Line2D) and handle.is_dashed()
            found[_colour(handle), dashed] = spoken(text.get_text())
    return found


def series(ax: Axes, its: View) -> list[Series]:
    """All that has a name, a marker or a bar; lines without a name where there are no others."""
    lines = [each for line in ax.lines if visible(line) for each in _line(line, its)]
    named = [each for each in lines if each.name]
    points = [*_points(_cloud_points(ax, its), its), *_points(_bar_points(ax), its)]
    measured = points or [each for each in named if not each.name.startswith("theor")]
    return [*points, *_with_middles(named if measured else lines, its)]


def _with_middles(lines: Sequence[Series], its: View) -> list[Series]:
    """What two lines with the same ends differ in lies between these."""
    ends = [tuple(said(its.value, value) for value in line.values) for line in lines]
    return [
        line._replace(remark=line.remark or line.middle) if ends.count(its_ends) > 1 else line
        for line, its_ends in zip(lines, ends, strict=True)
    ]


# Lines.


def visible(line: Line2D) -> bool:
    """Whether it is drawn: what only a legend knows has no points, or nothing to draw them with."""
    looks = line.get_linestyle() != "None" or line.get_marker() not in _NO_MARKER
    return looks and len(np.asarray(line.get_xdata())) > 0


def coordinates(line: Line2D, its: View) -> np.ndarray:
    """Where it goes: along, value. Both are data unless it goes across the panel."""
    points = np.asarray(line.get_xydata(), dtype=float)
    return points[:, ::-1] if its.lying else points


def is_data(line: Line2D, its: View) -> tuple[bool, bool]:
    """Whether it is placed by data along the panel, and by its value."""
    axes: Any = line.axes
    x, y = line.get_transform().contains_branch_seperately(axes.transData)
    return (y, x) if its.lying else (x, y)


def _line(line: Line2D, its: View) -> Iterator[Series]:
    name = _called(line, its)
    points = coordinates(line, its)
    if is_data(line, its) == (False, True):
        yield Series(name, (points[0, 1],))
    elif is_data(line, its) == (True, False):
        yield Series(name, (), remark=f"at {said(its.along, points[0, 0])}")
    elif len(points := points[np.isfinite(points).all(axis=1)]):
        yield from _free(line, name, points, its)


def _free(line: Line2D, name: str, points: np.ndarray, its: View) -> Iterator[Series]:
    """Nothing of the bars of errors, and of what only joins points of different things."""
    plain = line.get_marker() in _NO_MARKER and not line.is_dashed()
    alone = np.ptp(points[:, 0]) == 0
    if plain and (alone or categorical(its.along) or (worded(its.along) and not name)):
        return
    if categorical(its.along) or (alone and worded(its.along)):
        yield from _points({name: [*points]}, its)
        return
    x, y = points[np.argsort(points[:, 0], kind="stable")].T
    part = _below(x, its.along)
    if len({said(its.value, value) for value in y}) == 1:
        yield Series(name, (y[0],), part, "" if line.is_dashed() else "stays at")
    elif line.is_dashed():
        yield Series(name, (y[0], y[-1]), part, moves=True)
    else:
        told = {"remark": _way(x, y, its), "middle": _half(x, y, its)}
        yield Series(name, (y[0], y[-1]), part, moves=True, **told)


def _half(x: np.ndarray, y: np.ndarray, its: View) -> str:
    half = len(x) // 2
    told = len(x) > 2 and not worded(its.along)
    return f"{said(its.value, y[half])} at {said(its.along, x[half])}" if told else ""


def _below(x: np.ndarray, along: Axis) -> str:
    """The word below the middle of a line, if it has no other; not a place where it has a point."""
    words = [(at, text) for at, text in ticks(along).items() if x[0] <= at <= x[-1]]
    if len(words) != 1 or not worded(along):
        return ""
    ((at, text),) = words
    return text if x[0] < at < x[-1] else ""


def _way(x: np.ndarray, y: np.ndarray, its: View) -> str:
    """How far a line leaves its ends on the way, if it does so by much."""
    height = np.log(y) if its.value.get_scale() == "log" and (y > 0).all() else y
    far = _BEYOND * np.ptp(height)
    low, high = sorted((height[0], height[-1]))
    top, bottom = height.argmax(), height.argmin()
    found = {"at most": top} if height[top] - high > far else {}
    found |= {"at least": bottom} if low - height[bottom] > far else {}
    where = "on the way" if worded(its.along) else "at {}"
    words = [
        f"{word} {said(its.value, y[at])} {where.format(said(its.along, x[at]))}"
        for word, at in found.items()
    ]
    return ", ".join(words)


# Points.


def _cloud_points(ax: Axes, its: View) -> dict[str, list[Any]]:
    """All points by what their colour is called."""
    found: dict[str, list[Any]] = defaultdict(list)
    for cloud in (each for each in ax.collections if isinstance(each, PathCollection)):
        points = np.ma.getdata(np.ma.asarray(cloud.get_offsets())).astype(float)
        colours: Any = cloud.get_facecolor()
        names = [its.names.get((to_hex(colour), False), "") for colour in colours]
        for k, point in enumerate(points):
            found[names[k % len(names)]].append(point[::-1] if its.lying else point)
    return found


def _bar_points(ax: Axes) -> dict[str, list[Any]]:
    """The middle and the height of upright bars, by what their series is called."""
    found: dict[str, list[Any]] = defaultdict(list)
    for bars in (each for each in ax.containers if isinstance(each, BarContainer)):
        label = str(bars.get_label())
        name = "" if label.startswith("_") else spoken(label)
        found[name] += [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in bars]
    return found


def _points(clouds: Mapping[str, list[Any]], its: View) -> Iterator[Series]:
    """The median of all, or of those at each word."""
    for name, points in clouds.items():
        along, values = np.array(points, dtype=float).T
        if not (categorical(its.along) or worded(its.along)):
            how, remark = "at a median of", f"{len(values)} points"
            yield Series(name, (float(np.median(values)),), how=how, remark=remark)
            continue
        texts, parts = ticks(its.along), defaultdict(list)
        for at, value in zip(along, values, strict=True):
            parts[texts[min(texts, key=lambda tick: abs(tick - at))]].append(value)
        for part, its_values in parts.items():
            yield Series(name, (float(np.median(its_values)),), part)


# Names.


def _colour(handle: Any) -> str:
    line = isinstance(handle, Line2D)
    return to_hex(handle.get_color() if line else np.atleast_2d(handle.get_facecolor())[0])


def _called(line: Line2D, its: View) -> str:
    """As in the legend; a prediction in the colour of something is the theory of that."""
    colour, dashed = to_hex(line.get_color()), line.is_dashed()
    own = its.names.get((colour, dashed), "")
    if not dashed:
        return own
    about = its.names.get((colour, False))
    return own.partition(": ")[0] or (f"theory of {about}" if about else "theory")
