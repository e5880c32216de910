"""What one run looks like at a step: where attention goes, where neurons point, how far it is.

The tables are those of one member and one prompt: ``loss`` and ``attention``, and ``concentration``
and ``neurons`` where there are any. Axes have the same limits at every step, so that pictures of
different steps can be compared, or follow each other.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tdlab.figures.style import COLOURS, PALETTE, THEORY, Drawing, mosaic

Tables = Mapping[str, pd.DataFrame]

_BARS = 64  # (ours) columns up to which the attention of one head is drawn as bars
_NAMED = 12  # (ours) heads that have room for their names
_LOOKS = {True: PALETTE[0], False: "0.65", None: PALETTE[0]}  # a column, by whether it is relevant
_SIGNS = {"a > 0": COLOURS["a > 0"], "a < 0": COLOURS["a < 0"]}
_TARGETS = {"feature": "mean pattern", "label": "±q"}
_CURSOR: dict[str, Any] = {"color": "0.15", "linewidth": 1.0, "zorder": 1}


def moment(tables: Tables, step: int) -> Drawing:
    """One step: attention, neurons in the plane of angle and norm, and curves with a cursor.

    Returns:
        A figure that says the same in words, as its ``alt``.
    """
    curves = _curves(tables)
    rows = _rooms(tables)
    figure, axes = mosaic(rows, height=0.8 + 2.2 * len(rows))
    for name, draw in _panels(tables).items():
        draw(axes[name], step=step)
    for name in curves:
        _curve(axes[name], tables[name], [step])
    axes["attention"].set_title(f"attention of the last token at step {step}", pad=12)
    for image in axes["attention"].images:
        figure.colorbar(image, ax=axes["attention"], pad=0.01)
    _key(figure, tables)
    figure.set_label("One run at one step: where attention goes, neurons, and training curves.")
    figure.said = in_words(tables, step)
    return figure


def moments(tables: Tables, steps: Sequence[int]) -> Drawing:
    """Several steps beside each other, below the curves in which they are marked.

    Returns:
        A figure that says the same in words, as its ``alt``.
    """
    curves, panels = _curves(tables), _panels(tables)
    above = [[name for name in curves for _ in steps]] if curves else []
    wide = max(1, len(curves))
    below = [[f"{name} {step}" for step in steps for _ in range(wide)] for name in panels]
    figure, axes = mosaic([*above, *below], height=0.6 + 1.9 * len([*above, *below]))
    for name in curves:
        _curve(axes[name], tables[name], steps)
    for (place, step), (name, draw) in product(enumerate(steps), panels.items()):
        ax = axes[f"{name} {step}"]
        draw(ax, step=step)
        ax.xaxis.label.set_fontsize("small")
        if place:
            ax.set(ylabel="")
            ax.tick_params(labelleft=False)
        if name == "attention":
            ax.set_title(f"step {step}", pad=12)
    _key(figure, tables)
    figure.set_label("One run at several steps: where attention goes, neurons, and curves.")
    figure.said = f"{in_words(tables, steps[0])} {in_words(tables, steps[-1])}"
    return figure


def in_words(tables: Tables, step: int) -> str:
    """What a picture of that step shows, for who cannot see it."""
    said = [f"Step {step} of {tables['attention'].step.max()}"]
    for name in _curves(tables):
        its = _latest(tables[name], step)
        called = _loss(its) if name == "loss" else "mean concentration"
        when = "" if its.step.iloc[0] == step else f" at step {its.step.iloc[0]}"
        said.append(f"{called} {its.value.mean():.3g}{when}")
    rows = tables["attention"]
    now = rows[(rows.step == step) & rows.relevant.eq(other=True)]
    if len(now):
        mass = now.groupby("head").value.sum().mean()
        columns = f"{now.column.nunique()} relevant of {rows.column.nunique()} columns"
        said.append(f"in this prompt {mass:.3g} of the attention on the {columns}")
    return f"{'; '.join(said)}."


def _loss(rows: pd.DataFrame) -> str:
    return f"{rows.kind.iloc[0].replace('_', ' ')} loss"


def _latest(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    """At that step, or the last one before it: after the last update there is no training loss."""
    return rows[rows.step == rows.step[rows.step <= step].max()]


def _curves(tables: Tables) -> list[str]:
    return [name for name in ("loss", "concentration") if len(tables.get(name, ()))]


def _rooms(tables: Tables) -> list[list[str]]:
    """Where the panels of one step are: what is seen at it on the left, curves on the right."""
    curves = _curves(tables)
    left = [["attention"] * 4]
    if "neurons" in tables:
        left.append([part for part in _TARGETS for _ in range(2)])
    elif len(curves) > 1:
        left.append(left[0])
    right = [curves[:1] * 2, curves[-1:] * 2]
    return [[*its, *curve] for its, curve in zip(left, right, strict=False)]


def _panels(tables: Tables) -> dict[str, Callable[..., None]]:
    """What draws each panel of a step."""
    panels: dict[str, Callable[..., None]] = {
        "attention": partial(_attention, rows=tables["attention"])
    }
    if "neurons" in tables:
        for part in _TARGETS:
            panels[part] = partial(_neurons, table=tables["neurons"], part=part)
    return panels


def _attention(ax: Axes, rows: pd.DataFrame, step: int) -> None:
    now, most = rows[rows.step == step], float(rows.value.max())
    columns = rows.column.nunique()
    if _as_bars(rows):
        colours = [_LOOKS[None if pd.isna(each) else bool(each)] for each in now.relevant]
        ax.bar(now.column, now.value, color=colours, width=0.8)
        ax.set(ylim=(0, 1.05 * most), ylabel="attention")
    else:
        _map(ax, now, most)
    ax.set(xlabel="column of the prompt", xlim=(0.4, columns + 0.6))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def _as_bars(attention: pd.DataFrame) -> bool:
    return attention["head"].nunique() == 1 and attention.column.nunique() <= _BARS


def _map(ax: Axes, now: pd.DataFrame, most: float) -> None:
    """A row for each head; what is relevant is marked above."""
    heads, columns = now["head"].unique(), now.column.nunique()
    values = now.value.to_numpy(dtype=np.float64).reshape(len(heads), columns)
    extent = (0.5, columns + 0.5, len(heads) + 0.5, 0.5)
    look: dict[str, Any] = {"cmap": "mako_r", "aspect": "auto", "interpolation": "nearest"}
    ax.imshow(values, vmin=0, vmax=most, extent=extent, **look)
    at = now.column[now.relevant.eq(other=True)].unique()
    above = ax.get_xaxis_transform()
    ax.plot(at, [1.02] * len(at), "v", color=_LOOKS[True], transform=above, clip_on=False)
    if len(heads) > _NAMED:
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set(ylabel="head")
    else:
        ax.set_yticks(range(1, len(heads) + 1), heads)


def _curve(ax: Axes, rows: pd.DataFrame, steps: Sequence[int]) -> None:
    for place, (_, its) in enumerate(rows.groupby("head" if "head" in rows else "run", sort=False)):
        colour = _colour(place)
        ax.plot(its.step, its.value, color=colour, zorder=2)
        marked = pd.concat([_latest(its, step) for step in steps])
        ax.plot(marked.step, marked.value, "o", color=colour, zorder=3)
    for step in steps:
        ax.axvline(step, **_CURSOR)
    # Snapshots are evenly spaced on a log axis, and one is at 0.
    ax.set_xscale("symlog", linthresh=1)
    ax.set(xlim=(-0.1, max(1.0, 1.1 * float(rows.step.max()))), xlabel="training step")
    if rows.quantity.iloc[0] == "concentration":
        ax.set(ylim=(0, 1.05), ylabel="concentration")
    else:
        ax.set(ylabel=_loss(rows))
        low = float(rows.value.min())
        ax.set_yscale("log" if low > 0 and rows.value.max() > 30 * low else "linear")


def _neurons(ax: Axes, table: pd.DataFrame, part: str, step: int) -> None:
    its = table[(table.part == part) & (table.source == "measured")]
    now = its[its.step == step].pivot(index="neuron", columns="quantity", values="value")
    signs = its[its.step == step].groupby("neuron")["sign"].first()
    colours = [_SIGNS["a > 0" if sign > 0 else "a < 0"] for sign in signs]
    ax.scatter(now.angle, now.norm, c=colours, s=14, linewidth=0)
    ax.axvline(0, **THEORY)
    most = float(its[its.quantity == "norm"].value.max())
    ax.set(xlim=(-8, 188), xticks=range(0, 181, 60), ylim=(0, 1.08 * most))
    ax.set(xlabel=f"angle to {_TARGETS[part]} (°)", ylabel=f"{part} part: norm")


def _colour(place: int) -> Any:
    return PALETTE[place % len(PALETTE)]


def _key(figure: Figure, tables: Tables) -> None:
    """What colours mean, above the panels."""
    handles: list[Any] = []
    attention = tables["attention"]
    if attention.relevant.notna().any() and _as_bars(attention):
        handles += [Patch(color=_LOOKS[True], label="relevant column")]
        handles += [Patch(color=_LOOKS[False], label="other column")]
    elif attention.relevant.notna().any():
        handles += [Line2D([], [], color=_LOOKS[True], label="relevant column", **_dots("v"))]
    if "neurons" in tables:
        for sign, colour in _SIGNS.items():
            handles += [Line2D([], [], color=colour, label=f"neuron, {sign}", **_dots("o"))]
        handles += [Line2D([], [], label="theory", **THEORY)]
    heads = tables["concentration"]["head"].unique() if "concentration" in tables else []
    if len(heads) > 1:
        for place, head in enumerate(heads):
            handles += [Line2D([], [], color=_colour(place), label=head)]
    if handles:
        look = {"frameon": False, "ncols": min(len(handles), 5)}
        figure.legend(handles=handles, loc="outside upper center", **look)


def _dots(marker: str) -> dict[str, Any]:
    return {"linestyle": "none", "marker": marker, "markersize": 5}
