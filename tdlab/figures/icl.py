"""The figures of the in-context-learning study, one function a tidy table."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tdlab.figures.style import (
    COLOURS,
    PALETTE,
    THEORY,
    curves,
    drawing,
    grid,
    legend,
    means,
    plain,
    select,
)

_LEARNERS = {
    "nearest_1": "1-NN",
    "nearest_3": "3-NN",
    "linear_svm": "linear SVM",
    "gaussian_svm": "Gaussian SVM",
    "logistic": "logistic regression",
}
_LABELS = {
    "hinge": "hinge risk",
    "zero_one": "zero-one error",
    "concentration": "concentration c",
    "alpha": r"relevant fraction $\alpha'$ of the test prompt",
    "length": "examples l' in the test prompt",
    "kappa": r"noise range $\kappa'_{max}$ of the test prompt",
    "outside": "part r of each pattern outside the span",
}


@drawing
def risk(dynamics: pd.DataFrame) -> Figure:
    """Hinge risk and zero-one error on trained and unseen tasks over training."""
    figure, (axes,) = grid(1, 2)
    for ax, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        rows = select(dynamics, quantity=quantity)
        rows = rows.assign(tasks=rows.tasks + " tasks")
        curves(ax, rows, "step", "tasks")
        limit = select(dynamics, "theory", quantity=quantity).value.iloc[0]
        ax.axhline(limit, **THEORY)
        ax.set(xlabel="training step", ylabel=_LABELS[quantity])
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    legend(figure, axes[0], theory=r"theory: $\to O(\epsilon)$")
    return figure


@drawing
def attention(dynamics: pd.DataFrame) -> Figure:
    """Attention mass on the relevant examples over training, and the entropy of attention."""
    figure, ((left, right),) = grid(1, 2)
    for ax, quantity in ((left, "concentration"), (right, "entropy")):
        rows = select(dynamics, quantity=quantity)
        curves(ax, rows.assign(tasks=rows.tasks + " tasks"), "step", "tasks")
        ax.set(xlabel="training step", ylim=(0, None))
    last = dynamics.step.max()
    predicted = select(dynamics, "theory", quantity="concentration").set_index("step").value
    left.axhline(predicted[last], **THEORY)
    left.plot([0, last / 4], [predicted[0]] * 2, **THEORY)
    left.annotate("binomial expectation\nbefore training", (0, predicted[0] - 0.04), va="top")
    left.annotate(r"limit of $1 - \eta^C$", (0, predicted[last] - 0.03), va="top")
    left.set(ylabel="mass on relevant examples, c", ylim=(0, 1.05))
    right.set(ylabel="attention entropy (nats)")
    legend(figure, left, theory="theory")
    return figure


@drawing
def step_sizes(table: pd.DataFrame) -> Figure:
    r"""One minus the final concentration against the step size, at a fixed training time."""
    figure, ((ax,),) = grid(1, 1, width=6.8, height=3.6)
    rows = select(table, quantity="concentration_gap").assign(kind="unseen tasks")
    curves(ax, rows, "lr", "kind", marker="o")
    smallest = rows[rows.lr == rows.lr.min()].value.median()
    x = sorted(rows.lr.unique())
    for exponent in (0.5, 1.0):
        ax.plot(x, [smallest * (at / x[0]) ** exponent for at in x], color="0.6", linewidth=1)
        ax.annotate(f"C = {exponent:g}", (x[-1], smallest * (x[-1] / x[0]) ** exponent))
    ax.set(xscale="log", yscale="log", xlabel=r"step size $\eta$ at fixed $\eta T$")
    ax.set(ylabel="1 − c after training")
    ax.minorticks_off()
    ax.set_xticks(x, [f"{at:g}" for at in x])
    plain(ax.yaxis)
    ax.set_title(
        r"theory: $1 - c \leq \eta^C$ with some C > 0; grey: such slopes", fontsize="medium"
    )
    legend(figure, ax)
    return figure


@drawing
def neurons(table: pd.DataFrame) -> Figure:
    """Where the neurons point over training, and where and how long they are at the end."""
    figure, axes = grid(2, 2)
    table = table[table.source == "measured"]
    table = table.assign(sign=["a > 0" if sign > 0 else "a < 0" for sign in table.sign])
    targets = {"feature": "the mean pattern", "label": "the label direction q"}
    for (left, right), (part, target) in zip(axes, targets.items(), strict=True):
        rows = _to_fixed_direction(table[table.part == part], part)
        angle = rows[rows.quantity == "angle"]
        medians = angle.groupby(["seed", "step", "sign"]).value.median().reset_index()
        curves(left, medians, "step", "sign", order=["a > 0", "a < 0"])
        end = angle[angle.step == angle.step.max()].set_index(["seed", "neuron"])
        norm = rows[(rows.quantity == "norm") & (rows.step == rows.step.max())]
        points = end.join(norm.set_index(["seed", "neuron"]).value.rename("norm"))
        sns.scatterplot(
            points, x="norm", y="value", hue="sign", palette=COLOURS, s=10, legend=False, ax=right
        )
        for ax in (left, right):
            for predicted in (0, 180) if part == "label" else (0,):
                ax.axhline(predicted, **THEORY)
            ax.set(ylim=(-8, 188), yticks=range(0, 181, 45), ylabel=f"angle to {target} (°)")
        left.set(xlabel="training step", title=f"{part} part, median neuron")
        right.set(xlabel="norm", xlim=(0, None), title=f"{part} part, every neuron at the end")
    legend(figure, axes[0][0], theory="theory")
    return figure


@drawing
def coverage(table: pd.DataFrame) -> Figure:
    """Error on tasks that were not trained on, by what the training set leaves out."""
    figure, ((ax,),) = grid(1, 1, width=6.4, height=2.6)
    rows = select(table, quantity="zero_one")
    rows = rows.assign(left_out="leaves out " + rows.left_out)
    sns.stripplot(rows, x="value", y="left_out", color=PALETTE[0], alpha=0.6, ax=ax)
    ax.axvline(0, **THEORY)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel="zero-one error on tasks not trained on, one point a seed", ylabel="")
    ax.annotate(
        r"theory: $O(\epsilon)$ with coverage, not without",
        (0, 1.02),
        xycoords=("data", "axes fraction"),
    )
    return figure


@drawing
def out_of_domain(shift: pd.DataFrame) -> Figure:
    """Risk and concentration on out-of-domain patterns against the coefficient sum."""
    figure, (axes,) = grid(1, 2)
    shift = shift[shift["shift"] == "coefficient_sum"]
    names = {
        ("neighbours", "trained"): "neighbours",
        ("drawn", "trained"): "drawn, was a task",
        ("drawn", "other"): "drawn, was no task",
        ("opposite", "other"): "opposite pairs",
    }
    predicted = select(shift, "theory", quantity="hinge")
    for ax, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        rows = select(shift, quantity=quantity)
        keys = zip(rows.pairing, rows.pair, strict=True)
        rows = rows.assign(pairs=[names.get(key) for key in keys])
        curves(ax, rows, "coefficient_sum", "pairs", order=list(names.values()))
        ax.plot(predicted.coefficient_sum, predicted.value, **THEORY)
        ax.axvline(predicted.coefficient_sum.min(), color="0.7", linewidth=1, zorder=0)
        ax.set(xlabel=r"coefficient sum $S_1$ of the mixed patterns", ylabel=_LABELS[quantity])
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    legend(figure, axes[0], theory=r"theory: $O(\epsilon)$ for $S_1 \geq 1$", columns=4)
    return figure


@drawing
def prompt_shifts(shift: pd.DataFrame) -> Figure:
    """Risk against what a test prompt is made of, and against patterns that leave the span."""
    figure, panels = grid(2, 2)
    axes = panels.flatten()
    for ax, name in zip(axes, ("alpha", "length", "kappa", "outside"), strict=True):
        rows = shift[shift["shift"] == name]
        kind = "out-of-domain patterns" if name == "outside" else "unseen tasks"
        measured = select(rows, quantity="hinge").assign(kind=kind)
        curves(ax, measured, name, "kind", marker="o")
        predicted = select(rows, "theory", quantity="hinge")
        if len(predicted):
            ax.plot(predicted[name], predicted.value, **THEORY)
        ax.set(xlabel=_LABELS[name], ylabel="hinge risk")
        ax.set_ylim(-0.02, max(0.1, ax.get_ylim()[1]))
    axes[1].set(xscale="log")
    axes[1].minorticks_off()
    lengths = sorted(shift.length.dropna().unique())
    axes[1].set_xticks(lengths, [f"{at:g}" for at in lengths])
    legend(figure, axes[0], theory=r"theory: $O(\epsilon)$, where a theorem says so")
    return figure


@drawing
def pruning(table: pd.DataFrame) -> Figure:
    """Risk against the fraction of neurons pruned, for three orders and several alpha'."""
    alphas = sorted(table.alpha.unique())
    figure, axes = grid(2, len(alphas), width=11, sharey="row")
    names = {"smallest": "smallest first", "random": "random", "largest": "largest first"}
    table = table[table.order != "all small"].replace({"order": names})
    for row, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        for ax, alpha in zip(row, alphas, strict=True):
            rows = table[(table.alpha == alpha) & (table.quantity == quantity)]
            curves(ax, select(rows), "fraction", "order", order=list(names.values()))
            predicted = select(rows, "theory").groupby(["order", "fraction"]).value.median()
            for order in predicted.index.unique("order"):
                curve = predicted[order]
                ax.plot(curve.index, curve, **(THEORY | {"color": COLOURS[order]}))
            ax.set(xlabel="fraction of neurons pruned", ylabel=_LABELS[quantity])
            ax.xaxis.set_major_formatter(PercentFormatter(1))
    for ax, alpha in zip(axes[0], alphas, strict=True):
        ax.set_title(rf"test prompts with $\alpha' = {alpha:g}$")
    axes[1][0].yaxis.set_major_formatter(PercentFormatter(1))
    legend(figure, axes[0][0], theory="theory: equal shares of the large neurons (ours)")
    return figure


@drawing
def attention_pruning(table: pd.DataFrame) -> Figure:
    """Risk against the fraction of entries of W_Q or W_K pruned, smallest first."""
    figure, (axes,) = grid(1, 2)
    for ax, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        curves(ax, select(table, quantity=quantity), "fraction", "matrix", marker="o")
        ax.set(xlabel="fraction of entries pruned, smallest first", ylabel=_LABELS[quantity])
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    legend(figure, axes[0])
    return figure


@drawing
def learners(table: pd.DataFrame) -> Figure:
    """Error of the transformer and of classical learners on the same prompts, by their length."""
    alphas, kappas = sorted(table.alpha.unique()), sorted(table.kappa.unique())
    figure, axes = grid(len(alphas), len(kappas), width=11, sharex=True, sharey=True)
    table = table.replace({"learner": _LEARNERS})
    order = [name for name in COLOURS if name in set(table.learner)]
    for row, alpha in zip(axes, alphas, strict=True):
        for ax, kappa in zip(row, kappas, strict=True):
            rows = table[(table.alpha == alpha) & (table.kappa == kappa)]
            means(ax, select(rows), "length", "learner", order)
            bayes = select(rows, "theory").groupby("length").value.mean()
            ax.plot(bayes.index, bayes, **THEORY)
            ax.set(xlabel="examples in the prompt", ylabel="zero-one error")
            ax.set_title(rf"$\alpha' = {alpha:g}$, $\kappa'_{{max}} = {kappa:g}$")
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    # Afterwards: on a shared log axis means of the next panel would be those of logs.
    lengths = sorted(table.length.unique())
    for ax in axes.flat:
        ax.set(xscale="log")
        ax.set_xticks(lengths, [f"{at:g}" for at in lengths])
        ax.minorticks_off()
    legend(figure, axes[0][0], theory="theory: Bayes-optimal")
    return figure


def _to_fixed_direction(rows: pd.DataFrame, part: str) -> pd.DataFrame:
    """Label angles to q itself; the table has them to q signed by a."""
    if part == "feature":
        return rows
    turned = (rows.quantity == "angle") & (rows.sign == "a < 0")
    return rows.assign(value=rows.value.where(~turned, 180 - rows.value))
