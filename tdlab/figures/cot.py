"""The figures of the chain-of-thought study, one function a tidy table."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from tdlab.figures.style import (
    COLOURS,
    REGIMES,
    THEORY,
    at_least,
    curves,
    drawing,
    grid,
    legend,
    select,
)

_SYMBOLS = {
    "alpha": r"$\alpha'$",
    "tau": r"$\tau$",
    "rho": r"$\rho$",
    "tau_o": r"$\tau_o$",
    "rho_o": r"$\rho_o$",
}
_RATES = {
    "alpha": r"relevant fraction $\alpha$",
    "steps": "reasoning steps K",
    "patterns": "patterns M",
    "loss": r"loss $\epsilon$",
}
_SHIFTS = {
    "component": "part of each pattern in the trained span",
    "noise": "norm of the noise",
}
_RIGHT = "same step, same pattern"


@drawing
def phases(dynamics: pd.DataFrame) -> Figure:
    """Attention mass by step and pattern, and the loss, over training."""
    figure, ((left, right),) = grid(1, 2, height=3.6)
    alphas = sorted(select(dynamics).alpha.unique())
    mass = dynamics[(dynamics.quantity == "mass") & (dynamics.alpha == alphas[0])]
    places = [name for name in COLOURS if name in set(mass.place)]
    curves(left, select(mass), "step", "place", order=places)
    predicted = select(mass, "theory")
    for _, row in predicted[predicted.step == 0].iterrows():
        left.plot([0, 3], [row.value] * 2, **(THEORY | {"color": COLOURS[row.place]}))
    limit = predicted[predicted.step > 0].value.iloc[0]
    left.axhline(limit, **THEORY)
    left.set(
        ylabel="attention mass", ylim=(-0.02, 1.05), title=rf"prompts at $\alpha = {alphas[0]:g}$"
    )
    loss = select(dynamics, quantity="loss")
    prompts = [rf"prompts at $\alpha = {alpha:g}$" for alpha in loss.alpha]
    shades = dict(zip(sorted(set(prompts)), sns.color_palette("crest", len(alphas)), strict=True))
    curves(right, loss.assign(prompts=prompts), "step", "prompts", palette=shades)
    right.legend(frameon=False, fontsize="small")
    right.set(ylabel="squared loss", yscale="log")
    _training_steps((left, right), dynamics)
    legend(figure, left, theory="theory: uniform before, 1 after", columns=3)
    return figure


@drawing
def ablations(table: pd.DataFrame) -> Figure:
    """Attention on the right columns, and the loss, by which matrices are trained."""
    figure, ((left, right),) = grid(1, 2, height=3.4)
    table = select(table).assign(kind=table.trained + " trained")
    order = [name for name in COLOURS if name in set(table.kind)]
    curves(left, table[table.place == _RIGHT], "step", "kind", order=order)
    curves(right, table[table.quantity == "loss"], "step", "kind", order=order)
    left.set(ylabel="attention mass, same step and pattern", ylim=(0, 1.05))
    right.set(ylabel="squared loss", yscale="log")
    _training_steps((left, right), table)
    legend(figure, left)
    return figure


@drawing
def chain_attention(table: pd.DataFrame) -> Figure:
    """Attention mass by step and pattern at each step of the chain, by the kind of prompt."""
    kinds = ("clean", "noisy", "out of domain")
    figure, (axes,) = grid(1, len(kinds), height=3.4, sharey=True)
    table = table[table.quantity == "mass"]
    places = [name for name in COLOURS if name in set(table.place)]
    for ax, kind in zip(axes, kinds, strict=True):
        curves(ax, select(table, prompts=kind), "output", "place", order=places, marker="o")
        ax.axhline(select(table, "theory", prompts=kind).value.iloc[0], **THEORY)
        ax.set(xlabel="step of the chain", ylabel="attention mass", ylim=(-0.03, 1.06))
        ax.set(xticks=sorted(table.output.unique()), title=f"{kind} prompts")
    legend(figure, axes[0], theory="theory: towards 1", columns=3)
    return figure


@drawing
def rates(table: pd.DataFrame) -> Figure:
    """Steps to a loss against alpha, K, M and the loss, in two regimes, with both exponents."""
    figure, axes = grid(1, len(_RATES), width=11, height=3.4, sharey=True)
    for ax, varied in zip(axes[0], _RATES, strict=True):
        rows = table[table.varied == varied]
        curves(ax, at_least(rows), "at", "regime", order=REGIMES, marker="o")
        for (regime, exponent), law in select(rows, "theory").groupby(["regime", "exponent"]):
            ax.plot(law["at"], law.value, **(THEORY | {"color": COLOURS[str(regime)]}))
            if regime == REGIMES[0]:
                _named(ax, f"{exponent:g}".replace("-", "−"), law)
    # Afterwards: on a shared log axis the quantiles of the next panel would be those of logs.
    for ax, (varied, label) in zip(axes[0], _RATES.items(), strict=True):
        x = _apart(sorted(select(table, varied=varied)["at"].unique()))
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="training steps T")
        ax.set_xticks(x, [f"{at:g}" for at in x])
        ax.xaxis.set_minor_locator(NullLocator())
    measured = select(table).value
    low, high = measured.min() / 2, measured.max() * 2.5
    ticks = [at for at in (10, 20, 50, 100, 200, 500, 1000, 2000) if low < at < high]
    axes[0][0].set_yticks(ticks, [f"{at}" for at in ticks])
    axes[0][0].yaxis.set_minor_locator(NullLocator())
    axes[0][0].set_ylim(low, high)
    legend(figure, axes[0][0], theory="theory: lowest and highest exponent of the two terms")
    return figure


@drawing
def errors(table: pd.DataFrame) -> Figure:
    """Error against the number of context examples, for several values of three numbers."""
    grids = list(dict.fromkeys(table.varied))
    figure, (axes,) = grid(1, len(grids), width=10, height=3.6, sharey=True)
    output = select(table, "theory", quantity="error_bound").output.iloc[0]
    shown = table[table.output == output]
    for ax, varied in zip(axes, grids, strict=True):
        rows = shown[shown.varied == varied]
        values = [f"{_SYMBOLS[varied]} = {at:g}" for at in rows["at"]]
        order = list(dict.fromkeys(values))
        shades = dict(zip(order, sns.color_palette("flare", len(order)), strict=True))
        rows = rows.assign(value_of=values)
        measured = select(rows, quantity="error")
        curves(
            ax,
            measured,
            "length",
            "value_of",
            order=order,
            marker="o",
            palette=shades,
            estimator="mean",
        )
        for name, bound in select(rows, "theory", quantity="error_bound").groupby("value_of"):
            ax.plot(bound.length, bound.value, **(THEORY | {"color": shades[str(name)]}))
        # Above its panel: each has values of its own, and curves cross the whole of it.
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": len(order)}
        ax.legend(frameon=False, fontsize="small", columnspacing=1, handlelength=1.2, **above)
        ax.set(xlabel="context examples", ylabel=f"error, {output}")
    _log_error(axes[0], select(shown, quantity="error"))
    legend(figure, None, theory="theory: bound on the error of a vote (ours)")
    return figure


@drawing
def conditions(table: pd.DataFrame) -> Figure:
    """Both errors on the same prompts, where Condition 1 holds and where it fails."""
    figure, (axes,) = grid(1, 2, height=3.6, sharey=True)
    kinds = {
        ("chain of thought", "mean over steps"): "chain of thought, mean over steps",
        ("chain of thought", "final answer"): "chain of thought, final answer",
        ("in context", "final answer"): "in context, final answer",
    }
    keys = zip(table.inference, table.output, strict=True)
    table = table.assign(kind=[kinds.get(key) for key in keys]).dropna(subset="kind")
    for ax, condition in zip(axes, ("holds", "fails"), strict=True):
        rows = select(table, condition_1=condition)
        curves(ax, rows, "length", "kind", order=list(kinds.values()), marker="o", estimator="mean")
        ax.set(xlabel="context examples", ylabel="error", title=f"Condition 1 {condition}")
    _log_error(axes[0], table)
    legend(figure, axes[0])
    return figure


@drawing
def shift(table: pd.DataFrame) -> Figure:
    """Error and attention against the part of the patterns in the trained span, and noise."""
    figure, panels = grid(2, 2, sharey="row", sharex="col")
    measured = select(table)
    measured = measured.assign(kind=[f"step {output:g}" for output in measured.output])
    steps = sorted(set(measured.kind))
    shades = dict(zip(steps, sns.color_palette("crest", len(steps)), strict=True))
    for row, (quantity, label) in zip(
        panels, {"error": "error", "mass": "mass on the right columns"}.items(), strict=True
    ):
        rows = measured[measured.quantity == quantity]
        if quantity == "mass":
            rows = rows[rows.place == _RIGHT]
        for ax, (varied, x) in zip(row, _SHIFTS.items(), strict=True):
            its = rows[rows.varied == varied]
            curves(ax, its, "at", "kind", marker="o", palette=shades, estimator="mean")
            ax.set(xlabel=x, ylabel=label)
            if quantity == "error":
                predicted = select(table, "theory", varied=varied)
                ax.plot(predicted["at"], predicted.value, **THEORY)
    legend(figure, panels[0][0], theory=r"theory: $\to 0$ with enough context")
    return figure


def _named(ax: Axes, exponent: str, law: pd.DataFrame) -> None:
    """The exponent of a law to the right of its end."""
    end = (law["at"].iloc[-1], law.value.iloc[-1])
    ax.annotate(exponent, end, (4, 0), textcoords="offset points", va="center")


def _apart(points: Sequence[float]) -> list[float]:
    """Those of the points, in order, whose numbers have room beside each other on a log axis."""
    least = (points[-1] / points[0]) ** 0.16
    kept: list[float] = []
    for at in points:
        if not kept or at >= least * kept[-1]:
            kept.append(at)
    return kept


def _training_steps(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """A log axis of training steps that shows the start as well."""
    for ax in axes:
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(0, table.step.max())
        ax.set(xlabel="training step")
        ax.xaxis.set_major_formatter(ScalarFormatter())


def _log_error(ax: Axes, rows: pd.DataFrame) -> None:
    """A log axis down to the smallest error that was seen, and 0 below it."""
    least = rows.value[rows.value > 0].min()
    ax.set_yscale("symlog", linthresh=least, linscale=0.3)
    ticks = [10.0**-power for power in range(5) if 10.0**-power > least]
    ax.set_yticks([0, *ticks], ["0", *(f"{at:g}" for at in ticks)])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-least / 5, 1.3)
