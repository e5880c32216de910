"""The small figures of the claims on several layers."""

import seaborn as sns
from matplotlib.axes import Axes

from tdlab.figures.small.panel import DASHED, Draw, Tables, key, lines
from tdlab.figures.style import select


def in_context(ax: Axes, tables: Tables) -> None:
    """Attention mass on the query's pattern, each layer's highest head, to 1 (dashed)."""
    _highest(ax, tables, "in context", "unseen")
    ax.set(ylabel="mass on query's pattern")


def chain_of_thought(ax: Axes, tables: Tables) -> None:
    """Attention mass on the query's step and pattern, each layer's highest head, to 1 (dashed)."""
    _highest(ax, tables, "chain of thought", "trained")
    ax.set(ylabel="mass on step & pattern")


def _highest(ax: Axes, tables: Tables, kind: str, tasks: str) -> None:
    """Of each seed and step the head with most mass, by layer."""
    table = tables["dynamics"]
    table = table[(table.kind == kind) & (table.quantity == "concentration")]
    rows = select(table, tasks=tasks)
    best = rows.groupby(["seed", "step", "layer"]).value.max().reset_index()
    names = [f"layer {layer:g}" for layer in sorted(best.layer.unique())]
    shades = dict(zip(names, sns.color_palette("crest", len(names)), strict=True))
    best = best.assign(layer=best.layer.map("layer {:g}".format))
    lines(ax, best, "step", "layer", order=names, palette=shades)
    ax.axhline(select(table, "theory").value.iloc[0], **DASHED)
    ax.set(xlabel="training step", ylim=(0, 1.05))
    key(ax, r"theory: $\to 1$", columns=4)


FIGURES: dict[str, Draw] = {"icl.multilayer": in_context, "cot.multilayer": chain_of_thought}
