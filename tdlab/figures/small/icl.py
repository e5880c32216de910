"""The small figures of the claims on in-context learning."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from tdlab.figures.small.laws import REGIMES, laws
from tdlab.figures.small.panel import (
    DASHED,
    Draw,
    Tables,
    banded,
    estimates,
    key,
    lines,
    quantiles,
)
from tdlab.figures.style import COLOURS, PALETTE, plain, select

_PAIRS = {
    ("neighbours", "trained"): "neighbours",
    ("drawn", "trained"): "a training task",
    ("drawn", "other"): "no training task",
    ("opposite", "other"): "opposite pairs",
}
_SHADES = {
    "neighbours": COLOURS["neighbours"],
    "a training task": COLOURS["drawn, was a task"],
    "no training task": COLOURS["drawn, was no task"],
    "opposite pairs": COLOURS["opposite pairs"],
}
_ORDERS = {"smallest": "smallest first", "random": "random", "largest": "largest first"}
_PRUNED_AT = 0.8  # alpha' that the claim is about
_ALPHAS = (PALETTE[3], PALETTE[0])  # alpha' = 0.6, 0.8


def generalization(ax: Axes, tables: Tables) -> None:
    """Hinge risk on unseen tasks over training, and the limit of O(epsilon), here 0 (dashed)."""
    rows = select(tables["dynamics"], tasks="unseen", quantity="hinge")
    lines(ax, rows.assign(tasks="unseen tasks"), "step", "tasks")
    limit = select(tables["dynamics"], "theory", quantity="hinge").value.iloc[0]
    ax.axhline(limit, **DASHED)
    ax.set(xlabel="training step", ylabel="hinge risk")
    key(ax, r"theory: $\to O(\epsilon)$")


def coverage(ax: Axes, tables: Tables) -> None:
    """Error on unseen tasks by what the training set leaves out, and 0 (dashed) if nothing."""
    rows = select(tables["coverage"], quantity="zero_one")
    sns.stripplot(rows, x="value", y="left_out", color=PALETTE[0], alpha=0.6, size=3.5, ax=ax)
    ax.axvline(0, **DASHED)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel="error on unseen tasks, a point a seed", ylabel="training leaves out")
    key(ax, "theory: 0 where it leaves out nothing")


def iterations(ax: Axes, tables: Tables) -> None:
    """Training steps T along eta, alpha, beta and M1 alone, with the theorem's law (dashed)."""
    names = {"lr": r"$\eta$", "alpha": r"$\alpha$", "beta": r"$\beta$", "relevant": "$M_1$"}
    laws(ax, tables["rates"], "varied", names)
    ax.set(ylabel="steps T (leftmost: 1)", xlabel="one number is raised, the others stay")
    key(ax, "theorem")


def prompt_length(ax: Axes, tables: Tables) -> None:
    """Examples that a test prompt needs along 1/alpha', by kind of risk, with slope 1 (dashed)."""
    names = {"hinge": r"hinge risk: $1/\alpha'$", "zero_one": r"error: $1/\alpha'$"}
    laws(ax, tables["test_lengths"], "risk", names)
    ax.set(ylabel="needed l′ (leftmost: 1)", xlabel="test length l′ for a small risk")
    key(ax, "theorem")


def batch(ax: Axes, tables: Tables) -> None:
    """Hinge risk after training against the batch B, with slope -1/2 down to a floor (dashed)."""
    for regime, name in REGIMES.items():
        its = quantiles(select(tables["batches"], quantity="hinge", regime=regime), "at")
        at = its.index.to_numpy()
        banded(ax, at, its, COLOURS[regime], name)
        ax.plot(
            at,
            its["median"].iloc[0] * (at / at[0]) ** -0.5,
            **(DASHED | {"color": COLOURS[regime]}),
        )
    ax.set(xscale="log", yscale="log", xlabel="batch B, prompts", ylabel="hinge risk")
    plain(ax.xaxis, ax.yaxis)
    ax.set_xticks(at, [f"{x:g}" for x in at])
    key(ax, r"theory: $B^{-1/2}$ until $O(\epsilon)$", columns=2)


def attention(ax: Axes, tables: Tables) -> None:
    """Attention mass on relevant examples over training, from the binomial start to 1 (dashed)."""
    rows = select(tables["dynamics"], quantity="concentration")
    unseen = rows[rows.tasks == "unseen"].assign(tasks="unseen tasks")
    lines(ax, unseen, "step", "tasks")
    predicted = select(tables["dynamics"], "theory", quantity="concentration")
    start, limit = predicted.sort_values("step").value
    last = rows.step.max()
    ax.axhline(limit, **DASHED)
    ax.plot([0, last / 3], [start, start], **DASHED)
    ax.annotate("theory: binomial start", (last / 50, start - 0.04), va="top")
    ax.set(xlabel="training step", ylabel="mass c on relevant", ylim=(0, 1.05))
    key(ax, r"theory: $\to 1 - \eta^C$")


def neurons(ax: Axes, tables: Tables) -> None:
    """Median angles of neurons to the mean pattern and to q over training, and 0 (dashed)."""
    targets = {"feature": "to mean pattern", "label": r"to $\pm q$ by sign of $a$"}
    rows = select(tables["neurons"], quantity="angle")
    medians = rows.groupby(["seed", "step", "part"]).value.median().reset_index()
    medians = medians.assign(part=medians.part.map(targets))
    palette = dict(zip(targets.values(), (PALETTE[3], PALETTE[0]), strict=True))
    lines(ax, medians, "step", "part", order=[*targets.values()], palette=palette)
    ax.axhline(0, **DASHED)
    ax.set(xlabel="training step", ylabel="median angle (°)", yticks=(0, 30, 60, 90))
    key(ax, "theory: 0", columns=3)


def shift(ax: Axes, tables: Tables) -> None:
    """Hinge risk out of domain against the coefficient sum S_1, and 0 from S_1 = 1 on (dashed)."""
    table = tables["shift"]
    table = table[(table["shift"] == "coefficient_sum") & (table.quantity == "hinge")]
    keys = zip(table.pairing, table.pair, strict=True)
    rows = select(table.assign(pairs=[_PAIRS.get(each) for each in keys]))
    lines(ax, rows, "coefficient_sum", "pairs", order=[*_SHADES], palette=_SHADES)
    predicted = select(table, "theory")
    ax.plot(predicted.coefficient_sum, predicted.value, **DASHED)
    ax.axvline(predicted.coefficient_sum.min(), color="0.7", linewidth=1, zorder=0)
    ax.set(xlabel="coefficient sum $S_1$ of a mixed pattern", ylabel="hinge risk")
    key(ax, r"theory: $O(\epsilon)$")


def pruning(ax: Axes, tables: Tables) -> None:
    """Hinge risk against the pruned fraction of neurons, by order, with equal shares (dashed)."""
    table = tables["pruning"]
    table = table[(table.quantity == "hinge") & (table.alpha == _PRUNED_AT)]
    table = table[table.order.isin(_ORDERS)].replace({"order": _ORDERS})
    lines(ax, select(table), "fraction", "order", order=[*_ORDERS.values()])
    predicted = select(table, "theory").groupby(["order", "fraction"]).value.median()
    for order in predicted.index.unique("order"):
        curve = predicted[order]
        ax.plot(curve.index, curve, **(DASHED | {"color": COLOURS[order]}))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set(xlabel="neurons pruned", ylabel="hinge risk")
    key(ax, "theory: equal shares", columns=2)


def classical(ax: Axes, tables: Tables) -> None:
    """Error of the transformer less the best learner's by noise, and no difference (dashed).

    Each is the mean over prompt lengths, with a 95 % interval over seeds.
    """
    error = select(tables["learners"], quantity="zero_one")
    error = error.groupby(["alpha", "kappa", "learner", "seed"]).value.mean()
    leads = [_lead(its).reset_index() for _, its in error.groupby(["alpha", "kappa"])]
    rows = pd.concat(leads)
    rows = rows.assign(alpha=rows.alpha.map(r"$\alpha' = {:g}$".format))
    palette = dict(zip(sorted(set(rows.alpha)), _ALPHAS, strict=True))
    estimates(ax, rows, "kappa", "value", "alpha", palette)
    ax.axhline(0, **DASHED)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel=r"noise range $\kappa'$", ylabel="error less best learner's")
    key(ax, "paper: on it at 0.8, below at 0.6", columns=2)


def _lead(error: pd.Series) -> pd.Series:
    """The transformer's error less that of the learner that is best over seeds, by seed."""
    wide = error.unstack("learner")
    best = wide.drop(columns="transformer").mean().idxmin()
    return (wide["transformer"] - wide[best]).rename("value")


FIGURES: dict[str, Draw] = {
    "icl.generalization": generalization,
    "icl.coverage": coverage,
    "icl.iterations": iterations,
    "icl.prompt_length": prompt_length,
    "icl.batch": batch,
    "icl.attention": attention,
    "icl.neurons": neurons,
    "icl.shift": shift,
    "icl.pruning": pruning,
    "icl.classical": classical,
}
