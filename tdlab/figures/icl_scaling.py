"""The figures of the scaling laws of in-context learning, one function a tidy table."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tdlab.figures.style import (
    COLOURS,
    REGIMES,
    THEORY,
    at_least,
    curves,
    drawing,
    grid,
    legend,
    plain,
    select,
)

_VARIED = {
    "lr": r"step size $\eta$",
    "alpha": r"relevant fraction $\alpha$",
    "beta": r"norm $\beta$ of the patterns",
    "relevant": r"patterns $M_1$",
}
_RISKS = {"hinge": "for hinge risk 0.1", "zero_one": "for zero-one error 0.05"}


@drawing
def rates(table: pd.DataFrame) -> Figure:
    """Steps to a fixed risk against eta, alpha, beta and M1, in two regimes, with the law."""
    figure, (axes,) = grid(1, len(_VARIED), width=11, height=3.6, sharey=True)
    for ax, varied in zip(axes, _VARIED, strict=True):
        rows = table[table.varied == varied]
        curves(ax, at_least(rows), "at", "regime", order=REGIMES, marker="o")
        _laws(ax, rows)
    # Afterwards: on a shared log axis the quantiles of the next panel would be those of logs.
    for ax, (varied, label) in zip(axes, _VARIED.items(), strict=True):
        _log_log(ax, select(table, varied=varied)["at"], label, "training steps T")
    low, high = (select(table).value.agg([min, max]) * [0.7, 1.4]).tolist()
    ticks = [at for at in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if low < at < high]
    axes[0].set_yticks(ticks, [f"{at}" for at in ticks])
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].set_ylim(low, high)
    legend(figure, axes[0], theory="theory: the law, from the first point on")
    return figure


@drawing
def test_lengths(table: pd.DataFrame) -> Figure:
    """The shortest test prompt that is enough, against 1 / alpha', for two kinds of risk."""
    figure, (axes,) = grid(1, len(_RISKS), height=3.4, sharey=True)
    for ax, risk in zip(axes, _RISKS, strict=True):
        rows = table[table.risk == risk]
        curves(ax, at_least(rows), "at", "regime", order=REGIMES, marker="o")
        bound = select(rows, "theory").drop_duplicates("at").sort_values("at")
        ax.plot(bound["at"], bound.value, **THEORY)
    for ax, (risk, words) in zip(axes, _RISKS.items(), strict=True):
        rows = table[table.risk == risk]
        _log_log(ax, select(rows)["at"], r"$1 / \alpha'$", "examples l' in the test prompt")
        ax.set_title(words, fontsize="medium")
    ticks = (1, 2, 5, 10, 20, 50, 100, 200)
    axes[0].set_yticks(ticks, [f"{at}" for at in ticks])
    axes[0].yaxis.set_minor_locator(NullLocator())
    legend(figure, axes[0], theory=r"theory: $1/\alpha'$ is enough, up to a constant")
    return figure


@drawing
def training_lengths(table: pd.DataFrame) -> Figure:
    """The risk on unseen tasks after training with prompts in ratio to 1 / alpha."""
    figure, ((ax,),) = grid(1, 1, width=6.4, height=3.2)
    rows = select(table, quantity="hinge").assign(kind="unseen tasks")
    curves(ax, rows, "alpha", "kind", marker="o")
    ax.axhline(0, **THEORY)
    lengths = rows.groupby("alpha")["length"].first()
    ticks = [f"{alpha:g}\nl = {length:g}" for alpha, length in lengths.items()]
    ax.set_xticks([*lengths.index], ticks)
    ax.set(xlabel=r"relevant fraction $\alpha$ in training, and its length", ylabel="hinge risk")
    ax.set_ylim(-0.005, max(0.06, ax.get_ylim()[1]))
    legend(figure, ax, theory=r"theory: $\to O(\epsilon)$")
    return figure


@drawing
def batches(table: pd.DataFrame) -> Figure:
    """The risk on unseen tasks after a fixed number of steps against the batch."""
    figure, ((ax,),) = grid(1, 1, width=6.4, height=3.4)
    rows = select(table, quantity="hinge")
    curves(ax, rows, "at", "regime", order=REGIMES, marker="o")
    x = sorted(rows["at"].unique())
    start = rows[(rows["at"] == x[0]) & (rows.regime == REGIMES[0])].value.median()
    ax.plot(x, [start * (at / x[0]) ** -0.5 for at in x], **THEORY)
    _log_log(ax, rows["at"], "batch B", "hinge risk on unseen tasks")
    plain(ax.yaxis)
    legend(figure, ax, theory=r"theory: $B^{-1/2}$ is enough")
    return figure


def _laws(ax: Axes, rows: pd.DataFrame) -> None:
    """The theorem's law in each regime, in its colour."""
    for regime, law in select(rows, "theory").sort_values("at").groupby("regime"):
        ax.plot(law["at"], law.value, **(THEORY | {"color": COLOURS[str(regime)]}))


def _log_log(ax: Axes, points: pd.Series, x: str, y: str) -> None:
    at = sorted(points.unique())
    ax.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    shown = at if len(at) < 6 else at[::2]
    ax.set_xticks(shown, [f"{value:.3g}" for value in shown])
    ax.xaxis.set_minor_locator(NullLocator())
