"""The small figures of the claims on chains of thought."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from tdlab.figures.small.laws import laws
from tdlab.figures.small.panel import DASHED, Draw, Tables, key, lines, quantiles
from tdlab.figures.style import COLOURS, PALETTE, plain, select

_LOOKS: list[dict[str, Any]] = [
    {"marker": marker, "color": colour} for marker, colour in zip("o^s", PALETTE[:3], strict=True)
]
_RIGHT = "same step, same pattern"
_KINDS = {"clean": PALETTE[2], "noisy": PALETTE[1], "out of domain": PALETTE[9]}
_MEAN = "chain of thought, mean over steps"
_ANSWER = "in context, final answer"


def training(ax: Axes, tables: Tables) -> None:
    """Training steps T along alpha, K, M and epsilon alone, between two laws each (dashed)."""
    names = {"alpha": r"$\alpha$", "steps": "$K$", "patterns": "$M$", "loss": r"$\epsilon$"}
    laws(ax, tables["rates"], "varied", names)
    ax.set(ylabel="steps T (leftmost: 1)", xlabel="one number is raised, the others stay")
    key(ax, "theorem: between these", columns=2)


def two_phases(ax: Axes, tables: Tables) -> None:
    """Training steps until position and pattern are learned; dashed: the pattern comes later."""
    rows = select(tables["phases"], quantity="time")
    wide = rows.pivot(index="seed", columns="phase", values="value")[["position", "pattern"]]
    ax.plot(wide.T.to_numpy(), [1, 0], color="0.8", linewidth=0.8)
    for y, phase in ((1, "position"), (0, "pattern")):
        ax.plot(wide[phase], [y] * len(wide), "o", color=PALETTE[0], markersize=4, alpha=0.7)
    ax.axvline(wide["position"].median(), **DASHED)
    ax.set(xscale="log", xlabel="training steps until learned, a point a seed", ylim=(-0.4, 1.4))
    ax.set_yticks([1, 0], ["position", "pattern"])
    plain(ax.xaxis)
    key(ax, "theory: pattern right of position")


def attention(ax: Axes, tables: Tables) -> None:
    """Attention mass on the right columns at each step of a chain, by prompts, and 1 (dashed)."""
    table = tables["attention"]
    rows = select(table, quantity="mass", place=_RIGHT)
    lines(ax, rows, "output", "prompts", order=[*_KINDS], palette=_KINDS, marker="o")
    ax.axhline(select(table, "theory", quantity="mass").value.iloc[0], **DASHED)
    ax.set(xlabel="step k of the chain", ylabel="mass on right columns", ylim=(0, 1.06))
    ax.set(xticks=sorted(rows.output.unique()))
    key(ax, "theory: 1", columns=4)


def inference(ax: Axes, tables: Tables) -> None:
    """Examples that a chain needs against the theorem's number of them, with slope 1 (dashed)."""
    names = {"alpha": r"$\alpha'$", "tau": r"$\tau$", "rho": r"$\rho$"}
    _needed(ax, tables["chain_lengths"], names)
    ax.set(xlabel=r"theorem's number $(\alpha' \tau \rho)^{-2}$")


def in_context(ax: Axes, tables: Tables) -> None:
    """Examples in context that are needed against the theorem's number, with slope 1 (dashed)."""
    names = {"alpha": r"$\alpha'$", "tau_o": r"$\tau_o$", "rho_o": r"$\rho_o$"}
    _needed(ax, tables["in_context_lengths"], names)
    ax.set(xlabel=r"theorem's number $(\alpha' \tau_o \rho_o)^{-2}$")


def needs_condition_1(ax: Axes, tables: Tables) -> None:
    """Errors where Condition 1 fails: in context as high as before, of a chain to 0 (dashed)."""
    table = tables["conditions"]
    kinds = {
        ("in context", "final answer"): _ANSWER,
        ("chain of thought", "mean over steps"): _MEAN,
    }
    keys = zip(table.inference, table.output, strict=True)
    rows = select(table.assign(kind=[kinds.get(each) for each in keys]), condition_1="fails")
    lines(ax, rows, "length", "kind", order=[*kinds.values()], marker="o", estimator="mean")
    shortest = rows[(rows.kind == _ANSWER) & (rows.length == rows.length.min())]
    start = shortest.value.mean()
    for predicted, kind in ((start, _ANSWER), (0, _MEAN)):
        ax.axhline(predicted, **(DASHED | {"color": COLOURS[kind]}))
    ax.set(xlabel="context examples, Condition 1 fails", ylabel="error", ylim=(-0.04, 1.04))
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data")}
    ax.annotate("theory: no lower", (1, start - 0.03), ha="right", va="top", **place)
    ax.annotate(r"theory: $\to 0$", (0.02, 0.03), va="bottom", **place)
    key(ax, columns=1)


def shift(ax: Axes, tables: Tables) -> None:
    """Error of a chain against the part of test patterns in the trained span, and 0 (dashed)."""
    table = tables["shift"]
    error = select(table, quantity="error", varied="component")
    rows = error.groupby(["seed", "at"]).value.mean().reset_index().assign(kind=_MEAN)
    lines(ax, rows, "at", "kind", marker="o", estimator="mean")
    predicted = select(table, "theory", varied="component")
    ax.plot(predicted["at"], predicted.value, **DASHED)
    ax.set(xlabel="part of test patterns in trained span", ylabel="error of a chain")
    key(ax, r"theory: $\to 0$")


def _needed(ax: Axes, table: pd.DataFrame, names: Mapping[str, str]) -> None:
    """Medians over seeds, bars of 80 % of them, and a law that starts with the smallest number."""
    rows = select(table)
    for (varied, name), look in zip(names.items(), _LOOKS, strict=True):
        its = quantiles(rows[rows.varied == varied], "at")
        ax.plot(its["median"], linestyle="", markersize=3.5, label=f"{name} varied", **look)
        ax.vlines(its.index, its.low, its.high, color=look["color"], linewidth=1.2)
    its = quantiles(rows, "at")
    for at, start in its["median"].dropna().head(1).items():  # none, if none was reached
        ax.plot(its.index, start * its.index / at, **DASHED)
    ax.set(xscale="log", yscale="log", ylabel="examples needed")
    plain(ax.xaxis, ax.yaxis)
    key(ax, "theory: no steeper", columns=2)


FIGURES: dict[str, Draw] = {
    "cot.training": training,
    "cot.two_phases": two_phases,
    "cot.attention": attention,
    "cot.inference": inference,
    "cot.icl_needs_condition_1": needs_condition_1,
    "cot.icl": in_context,
    "cot.shift": shift,
}
