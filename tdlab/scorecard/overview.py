"""The scorecard as one picture: a row a claim, its verdict, and the finding that decides it."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from textwrap import wrap
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE
from tdlab.figures.style import PALETTE, Drawing
from tdlab.scorecard.page import decisive
from tdlab.scorecard.scale import of_finding
from tdlab.studies.regimes import NEARER, OURS
from tdlab.symbols import MARKS, in_symbols

# Told apart by the mark as well, and by how light they are.
COLOURS = {AGREES: PALETTE[0], DISAGREES: PALETTE[3], INCONCLUSIVE: "0.45"}

WIDTH = 800  # of the picture where it is read, in pixels; it is drawn with twice as many
_CLAIM, _BAR, _NUMBERS = 26, 482, 592  # where the columns begin
_BAR_WIDTH, _EDGE = 98, 4
_LINE, _GAP, _HEAD = 14, 7, 24  # heights of a line of text, between rows, of a heading
_ACROSS = {_CLAIM: 84, _NUMBERS: 38}  # how many letters a line of a column has


class _Row(NamedTuple):
    """What stands in a row; columns of lines, the first of them dark."""

    height: int
    draw: Callable[[Axes, float], None]  # with its top at that height


def overview(verdicts: pd.DataFrame, about: str) -> Drawing:
    """The picture of a scorecard's verdicts, as it is read at a width of 800 pixels.

    ``about`` says above it what was measured.

    Returns:
        A figure whose label counts the verdicts.
    """
    rows = [_Row(_HEAD, partial(_about, about=about)), *_rows(verdicts)]
    height = sum(row.height for row in rows) + _LINE
    figure = Drawing(figsize=(WIDTH / 100, height / 100), dpi=200)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    ax.set_axis_off()
    top = 0.0
    for row in rows:
        row.draw(ax, top)
        top += row.height
    total = ", ".join(f"{verdict}: {count}" for verdict, count in counted(verdicts).items())
    figure.set_label(f"The verdict on every claim, {about}. {total}.")
    return figure


def counted(verdicts: pd.DataFrame) -> dict[str, int]:
    """How many claims have which verdict; verdicts that none has are left out."""
    counts = verdicts.drop_duplicates("claim").overall.value_counts()
    return {verdict: int(counts[verdict]) for verdict in MARKS if verdict in counts}


def _rows(verdicts: pd.DataFrame) -> Iterator[_Row]:
    yield _Row(_HEAD, partial(_head, counts=counted(verdicts)))
    for origin, its in verdicts.groupby("origin", sort=False):
        yield _Row(_HEAD, partial(_origin, origin=str(origin)))
        for _, rows in its.groupby("claim", sort=False):
            yield _claim(rows)


def _claim(rows: pd.DataFrame) -> _Row:
    row = decisive(rows[rows.regime == OURS])
    there = "" if pd.isna(row.nearer) else f"  ({NEARER}: {MARKS[row.nearer]} {row.nearer})"
    left = [_lines(row.statement, _CLAIM), _lines(row.quantity + there, _CLAIM)]
    right = [[row.measurement], _lines(row.prediction, _NUMBERS)]
    count = max(len(dark) + len(pale) for dark, pale in (left, right))
    height = _LINE * count + _GAP

    def draw(ax: Axes, top: float) -> None:
        ax.plot([0, WIDTH], [top, top], color="0.9", linewidth=0.6)
        _text(ax, 12, top, MARKS[row.overall], color=COLOURS[row.overall], size=11, ha="center")
        _column(ax, _CLAIM, top, *left)
        _column(ax, _NUMBERS, top, *right)
        _bar(ax, row, top + height / 2)

    return _Row(height, draw)


def _bar(ax: Axes, row: Any, middle: float) -> None:
    """An interval on the values that would agree, which are shaded."""
    scale, half = of_finding(row, _BAR_WIDTH, _EDGE), 8
    left, right, low, high = (
        _BAR + scale(number) for number in (row["from"], row["to"], row.low, row.high)
    )
    width = max(right - left, 1.5)
    ax.add_patch(Rectangle((left, middle - half), width, 2 * half, color="0.87", linewidth=0))
    colour = COLOURS[row.verdict]
    ax.plot([low, high], [middle, middle], color=colour, linewidth=1.6, solid_capstyle="butt")
    if not math.isnan(row.value):
        ax.plot(_BAR + scale(row.value), middle, "o", color=colour, markersize=4)


def _about(ax: Axes, top: float, about: str) -> None:
    _text(ax, 4, top, about, color="0.35")


def _head(ax: Axes, top: float, counts: Mapping[str, int]) -> None:
    for place, (verdict, count) in enumerate(counts.items()):
        words = f"{MARKS[verdict]} {verdict}: {count}"
        _text(ax, _CLAIM + 120 * place, top, words, color=COLOURS[verdict], weight="bold")
    _text(ax, _BAR, top, "shaded: predicted", color="0.35")
    _text(ax, _NUMBERS, top, "measured [95 %], and predicted", color="0.35")


def _origin(ax: Axes, top: float, origin: str) -> None:
    ax.plot([0, WIDTH], [top, top], color="0.5", linewidth=0.8)
    _text(ax, 4, top + 3, origin, color="0.35", style="italic")


def _column(ax: Axes, x: float, top: float, dark: list[str], pale: list[str]) -> None:
    _text(ax, x, top, "\n".join(dark))
    _text(ax, x, top + _LINE * len(dark), "\n".join(pale), color="0.4")


def _text(ax: Axes, x: float, top: float, text: str, **look: Any) -> None:
    """Text with its top edge below ``top``; a dollar sign is one, and no formula begins."""
    look = {"size": 7.7, "va": "top", "linespacing": 1.25, "parse_math": False} | look
    ax.text(x, top + _GAP / 2, text, None, **look)


def _lines(text: str, column: int) -> list[str]:
    return wrap(in_symbols(text), _ACROSS[column])
