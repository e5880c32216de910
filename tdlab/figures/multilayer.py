"""The figures of the study of several layers, one function a tidy table."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tdlab.figures.style import (
    PALETTE,
    THEORY,
    curves,
    drawing,
    grid,
    legend,
    means,
    select,
    student,
)

_MASS = {
    "in context": "mass on examples of\nthe query's pattern",
    "chain of thought": "mass on columns of the\nquery's step and pattern",
}
_LOSS = {"in context": "hinge risk", "chain of thought": "squared loss"}
_VARIED = {
    "coefficient_sum": "coefficient sum $S_1$ of mixed patterns\n(training: no mixture)",
    "noise": "norm of the noise on test patterns\n(training: 0)",
}


@drawing
def concentration(dynamics: pd.DataFrame) -> Figure:
    """Attention mass of each head of each layer on the right columns over training, by kind."""
    rows = _measured_on(dynamics, "concentration")
    kinds, layers = list(dict.fromkeys(rows.kind)), sorted(rows.layer.unique())
    shape = {"width": 3.4 * len(layers), "height": 2.7 * len(kinds) + 0.4}
    figure, axes = grid(len(kinds), len(layers), sharey=True, **shape)
    for row, kind in zip(axes, kinds, strict=True):
        limit = select(dynamics, "theory", kind=kind, quantity="concentration").value.iloc[0]
        for ax, layer in zip(row, layers, strict=True):
            its = rows[(rows.kind == kind) & (rows.layer == layer)]
            curves(ax, its.assign(head=_named(its)), "step", "head", palette=_palette(rows))
            start = its[its.step == its.step.min()].value.median()
            ax.axhline(start, color="0.6", linewidth=1)
            ax.axhline(limit, **THEORY)
            ax.set(title=f"{kind}, layer {layer:g}", xlabel="training step", ylim=(0, 1.05))
            ax.set(ylabel=_MASS[kind])
    legend(figure, axes[0][0], theory="theory, one layer: towards 1 (grey: before training)")
    return figure


@drawing
def generalization(table: pd.DataFrame) -> Figure:
    """Zero-one error on trained and unseen tasks after training on 6, 12 and 24 of 30 tasks."""
    figure, ((ax,),) = grid(1, 1, width=6.8, height=3.6)
    rows = select(table, quantity="error")
    names = rows.tasks.map("{} tasks".format).replace(_BY_ALL)
    # After 24 tasks the others are those six: beside each other, neither hides the other.
    beside = rows.trained.where(~names.isin(_BY_ALL.values()), rows.trained + 0.3)
    rows = rows.assign(tasks=names, trained=beside)
    order = ["trained tasks", "unseen tasks", *_BY_ALL.values()]
    means(ax, rows, "trained", "tasks", order)
    ax.axhline(select(table, "theory", quantity="error").value.iloc[0], **THEORY)
    ax.set(xlabel="training tasks, of 30", ylabel="zero-one error (mean, 95 % interval)")
    ax.set(xticks=sorted(table.trained.unique()), ylim=(0, None))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    legend(figure, ax, theory=r"theory: $\to O(\epsilon)$", columns=2)
    return figure


@drawing
def shift(table: pd.DataFrame) -> Figure:
    """Error on mixed patterns in context, and along chains of thought on noisy patterns."""
    figure, (axes,) = grid(1, 2, height=3.4)
    for ax, varied in zip(axes, ("coefficient_sum", "noise"), strict=True):
        rows = select(table, varied=varied, quantity="error")
        means(ax, rows, "at", "kind", list(_MASS))
        ax.set(title=rows.kind.iloc[0], xlabel=_VARIED[varied], ylim=(0, None))
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    axes[0].set(ylabel="zero-one error\n(mean, 95 % interval)")
    axes[1].set(ylabel="wrong steps of a chain\n(mean, 95 % interval)")
    return figure


@drawing
def heads(table: pd.DataFrame) -> Figure:
    """Loss without each head, and with its attention held uniform, beside the whole model's."""
    kinds = list(dict.fromkeys(table.kind))
    figure, (axes,) = grid(1, len(kinds), width=5.4 * len(kinds), height=3.6)
    names = {"pruned": "head pruned", "uniform": "attention held uniform"}
    for ax, kind in zip(axes, kinds, strict=True):
        rows = select(table, kind=kind, quantity="loss")
        each = rows[rows.intervention != "none"]
        each = each.assign(
            head=[f"{a:g}.{b:g}" for a, b in zip(each.layer, each["head"], strict=True)],
            intervention=each.intervention.map(names),
        )
        look = {"palette": [PALETTE[3], PALETTE[0]], "dodge": 0.35, "linestyle": "none"}
        sns.pointplot(
            each, x="head", y="value", hue="intervention", errorbar=student, ax=ax, **look
        )
        ax.get_legend().remove()
        whole = rows[rows.intervention == "none"].value.mean()
        ax.axhline(whole, color="0.5", linewidth=1.5, label="the whole model")
        ax.set(title=kind, xlabel="layer.head", ylabel=f"{_LOSS[kind]} (mean, 95 % interval)")
        ax.set_ylim(0, None)
    legend(figure, axes[0])
    return figure


@drawing
def neurons(table: pd.DataFrame) -> Figure:
    """Loss against the pruned fraction of each layer's neurons, in three orders."""
    kinds = list(dict.fromkeys(table.kind))
    figure, (axes,) = grid(1, len(kinds), height=3.4)
    for ax, kind in zip(axes, kinds, strict=True):
        rows = select(table, kind=kind, quantity="loss")
        named = rows.order.map(lambda order: order if order == "random" else f"{order} first")
        curves(ax, rows.assign(order=named), "fraction", "order", marker="o", order=_ORDERS)
        ax.set(title=kind, xlabel="pruned fraction of each layer's neurons", ylabel=_LOSS[kind])
        ax.xaxis.set_major_formatter(PercentFormatter(1))
        ax.set_ylim(0, None)
    legend(figure, axes[0])
    return figure


@drawing
def variants(table: pd.DataFrame) -> Figure:
    """Concentration of each seed's highest head after training, by layer, one thing changed."""
    names = list(dict.fromkeys(table.variant))
    layers = sorted(table.layer.dropna().unique())
    shape = {"width": 3.4 * len(layers), "height": 0.5 * len(names) + 1.3}
    figure, (axes,) = grid(1, len(layers), sharey=True, **shape)
    rows = select(table, quantity="concentration")
    for ax, layer in zip(axes, layers, strict=True):
        its = rows[rows.layer == layer]
        best = its.groupby(["variant", "when", "seed"]).value.max().reset_index()
        after, before = (best[best.when == when] for when in ("after", "before"))
        look = {"order": names, "size": 4.5, "jitter": 0.12, "legend": False}
        sns.stripplot(after, x="value", y="variant", color=PALETTE[0], ax=ax, **look)
        _ticks(ax, before.groupby("variant").value.mean(), names)
        ax.set(title=f"layer {layer:g}", xlim=(0, 1.02), ylabel="")
        ax.set(xlabel="mass on the right columns,\nhighest head of each seed")
    error = select(table, quantity="error", when="after").groupby("variant").value.mean()
    labels = [f"{name}\n(error {error[name]:.1%})" for name in names]
    axes[0].set_yticks(range(len(names)), labels, fontsize="small")
    axes[0].plot([], [], "|", color="0.4", markersize=14, label="before training (mean)")
    axes[0].plot([], [], "o", color=PALETTE[0], label="after training, one point a seed")
    legend(figure, axes[0])
    return figure


_HUES = [PALETTE[k] for k in (0, 1, 2, 9, 3, 7)]  # neighbours are told apart by anyone
_BY_ALL = {"unseen by all tasks": "the 6 tasks that no set has"}
_ORDERS = ["smallest first", "random", "largest first"]


def _measured_on(dynamics: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """In context what was measured on unseen tasks; of chains there are no others."""
    rows = select(dynamics, quantity=quantity)
    return rows[(rows.tasks == "unseen") | (rows.kind == "chain of thought")]


def _named(rows: pd.DataFrame) -> pd.Series:
    return rows["head"].map("head {:g}".format)


def _palette(rows: pd.DataFrame) -> dict[str, object]:
    count = int(rows["head"].max())
    return {f"head {head + 1}": _HUES[head % len(_HUES)] for head in range(count)}


def _ticks(ax: Axes, before: pd.Series, names: list[str]) -> None:
    for place, name in enumerate(names):
        ax.plot(before[name], place, "|", color="0.4", markersize=14)
