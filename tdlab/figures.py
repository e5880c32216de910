"""Figures: each is a function from a tidy table to a matplotlib ``Figure``, in one style.

Solid: the median over seeds; band: 10 to 90 % of them; dashed: the theory. A figure computes nothing but
quantiles, and the same thing has the same colour everywhere.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

_PALETTE = sns.color_palette("colorblind")
_COLOURS = {
    "trained tasks": _PALETTE[0],
    "unseen tasks": _PALETTE[1],
    "a > 0": _PALETTE[2],
    "a < 0": _PALETTE[4],
    "smallest first": _PALETTE[0],
    "random": _PALETTE[7],
    "largest first": _PALETTE[3],
    "W_Q": _PALETTE[0],
    "W_K": _PALETTE[1],
    "opposite pairs": _PALETTE[0],
    "drawn, was no task": _PALETTE[9],
    "drawn, was a task": _PALETTE[1],
    "neighbours": _PALETTE[3],
    "transformer": _PALETTE[3],
    "1-NN": _PALETTE[0],
    "3-NN": _PALETTE[9],
    "linear SVM": _PALETTE[2],
    "Gaussian SVM": _PALETTE[4],
    "logistic regression": _PALETTE[1],
}
_LEARNERS = {
    "nearest_1": "1-NN",
    "nearest_3": "3-NN",
    "linear_svm": "linear SVM",
    "gaussian_svm": "Gaussian SVM",
    "logistic": "logistic regression",
}
_THEORY = {"color": "0.15", "linestyle": (0, (5, 3)), "linewidth": 1.6}
_LABELS = {
    "hinge": "hinge risk",
    "zero_one": "zero-one error",
    "concentration": "concentration c",
    "alpha": r"relevant fraction $\alpha'$ of the test prompt",
    "length": "examples l' in the test prompt",
    "kappa": r"noise range $\kappa'_{max}$ of the test prompt",
    "outside": "part r of each pattern outside the span",
}


def risk(dynamics: pd.DataFrame) -> Figure:
    """Hinge risk and zero-one error on trained and unseen tasks over training."""
    figure, axes = _grid(1, 2)
    for ax, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        rows = _rows(dynamics, quantity=quantity)
        rows = rows.assign(tasks=rows.tasks + " tasks")
        _curves(ax, rows, "step", "tasks")
        limit = _rows(dynamics, "theory", quantity=quantity).value.iloc[0]
        ax.axhline(limit, **_THEORY)
        ax.set(xlabel="training step", ylabel=_LABELS[quantity])
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, axes[0], theory=r"theory: $\to O(\epsilon)$")
    return figure


def attention(dynamics: pd.DataFrame) -> Figure:
    """Attention mass on the relevant examples over training, and the entropy of attention."""
    figure, (left, right) = _grid(1, 2)
    for ax, quantity in ((left, "concentration"), (right, "entropy")):
        rows = _rows(dynamics, quantity=quantity)
        _curves(ax, rows.assign(tasks=rows.tasks + " tasks"), "step", "tasks")
        ax.set(xlabel="training step", ylim=(0, None))
    last = dynamics.step.max()
    predicted = _rows(dynamics, "theory", quantity="concentration").set_index("step").value
    left.axhline(predicted[last], **_THEORY)
    left.plot([0, last / 4], [predicted[0]] * 2, **_THEORY)
    left.annotate("binomial expectation\nbefore training", (0, predicted[0] - 0.04), va="top")
    left.annotate(r"limit of $1 - \eta^C$", (0, predicted[last] - 0.03), va="top")
    left.set(ylabel="mass on relevant examples, c", ylim=(0, 1.05))
    right.set(ylabel="attention entropy (nats)")
    _legend(figure, left, theory="theory")
    return figure


def step_sizes(table: pd.DataFrame) -> Figure:
    r"""One minus the final concentration against the step size, at a fixed training time."""
    figure, (ax,) = _grid(1, 1, width=6.8, height=3.6)
    rows = _rows(table, quantity="concentration_gap").assign(kind="unseen tasks")
    _curves(ax, rows, "lr", "kind", marker="o")
    smallest = rows[rows.lr == rows.lr.min()].value.median()
    x = sorted(rows.lr.unique())
    for exponent in (0.5, 1.0):
        ax.plot(x, [smallest * (at / x[0]) ** exponent for at in x], **_THEORY)
        ax.annotate(f"C = {exponent:g}", (x[-1], smallest * (x[-1] / x[0]) ** exponent))
    ax.set(xscale="log", yscale="log", xlabel=r"step size $\eta$ at fixed $\eta T$")
    ax.set(ylabel="1 - c after training")
    ax.minorticks_off()
    ax.set_xticks(x, [f"{at:g}" for at in x])
    ax.set_yticks([0.1, 0.2, 0.4], ["0.1", "0.2", "0.4"])
    _legend(figure, ax, theory=r"theory: $1 - c \leq \eta^C$, slope C > 0 (two examples)")
    return figure


def neurons(table: pd.DataFrame) -> Figure:
    """Where the neurons point over training, and where and how long they are at the end."""
    figure, axes = _grid(2, 2)
    table = table[table.source == "measured"]
    table = table.assign(sign=["a > 0" if sign > 0 else "a < 0" for sign in table.sign])
    targets = {"feature": "the mean pattern", "label": "the label direction q"}
    for (left, right), (part, target) in zip(axes, targets.items(), strict=True):
        rows = _to_fixed_direction(table[table.part == part], part)
        angle = rows[rows.quantity == "angle"]
        medians = angle.groupby(["seed", "step", "sign"]).value.median().reset_index()
        _curves(left, medians, "step", "sign", order=["a > 0", "a < 0"])
        end = angle[angle.step == angle.step.max()].set_index(["seed", "neuron"])
        norm = rows[(rows.quantity == "norm") & (rows.step == rows.step.max())]
        points = end.join(norm.set_index(["seed", "neuron"]).value.rename("norm"))
        sns.scatterplot(
            points, x="norm", y="value", hue="sign", palette=_COLOURS, s=10, legend=False, ax=right
        )
        for ax in (left, right):
            for predicted in (0, 180) if part == "label" else (0,):
                ax.axhline(predicted, **_THEORY)
            ax.set(ylim=(-8, 188), yticks=range(0, 181, 45), ylabel=f"angle to {target} (°)")
        left.set(xlabel="training step", title=f"{part} part, median neuron")
        right.set(xlabel="norm", xlim=(0, None), title=f"{part} part, every neuron at the end")
    _legend(figure, axes[0][0], theory="theory")
    return figure


def coverage(table: pd.DataFrame) -> Figure:
    """Error on tasks that were not trained on, by what the training set leaves out."""
    figure, (ax,) = _grid(1, 1, width=6.4, height=2.6)
    rows = _rows(table, quantity="zero_one")
    rows = rows.assign(left_out="leaves out " + rows.left_out)
    sns.stripplot(rows, x="value", y="left_out", color=_PALETTE[0], alpha=0.6, ax=ax)
    ax.axvline(0, **_THEORY)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel="zero-one error on tasks not trained on, one point a seed", ylabel="")
    ax.annotate(
        r"theory: $O(\epsilon)$ with coverage, not without",
        (0, 1.02),
        xycoords=("data", "axes fraction"),
    )
    return figure


def out_of_domain(shift: pd.DataFrame) -> Figure:
    """Risk and concentration on out-of-domain patterns against the coefficient sum."""
    figure, axes = _grid(1, 2)
    shift = shift[shift["shift"] == "coefficient_sum"]
    names = {
        ("neighbours", "trained"): "neighbours",
        ("drawn", "trained"): "drawn, was a task",
        ("drawn", "other"): "drawn, was no task",
        ("opposite", "other"): "opposite pairs",
    }
    predicted = _rows(shift, "theory", quantity="hinge")
    for ax, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        rows = _rows(shift, quantity=quantity)
        keys = zip(rows.pairing, rows.pair, strict=True)
        rows = rows.assign(pairs=[names.get(key) for key in keys])
        _curves(ax, rows, "coefficient_sum", "pairs", order=list(names.values()))
        ax.plot(predicted.coefficient_sum, predicted.value, **_THEORY)
        ax.axvline(predicted.coefficient_sum.min(), color="0.7", linewidth=1, zorder=0)
        ax.set(xlabel=r"coefficient sum $S_1$ of the mixed patterns", ylabel=_LABELS[quantity])
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, axes[0], theory=r"theory: $O(\epsilon)$ for $S_1 \geq 1$")
    return figure


def prompt_shifts(shift: pd.DataFrame) -> Figure:
    """Risk against what a test prompt is made of, and against patterns that leave the span."""
    figure, grid = _grid(2, 2)
    axes = grid.flatten()
    for ax, name in zip(axes, ("alpha", "length", "kappa", "outside"), strict=True):
        rows = shift[shift["shift"] == name]
        measured = _rows(rows, quantity="hinge").assign(kind="unseen tasks")
        _curves(ax, measured, name, "kind", marker="o")
        predicted = _rows(rows, "theory", quantity="hinge")
        if len(predicted):
            ax.plot(predicted[name], predicted.value, **_THEORY)
        ax.set(xlabel=_LABELS[name], ylabel="hinge risk")
        ax.set_ylim(-0.02, max(0.1, ax.get_ylim()[1]))
    axes[1].set(xscale="log")
    axes[1].minorticks_off()
    lengths = sorted(shift.length.dropna().unique())
    axes[1].set_xticks(lengths, [f"{at:g}" for at in lengths])
    _legend(figure, axes[0], theory=r"theory: $O(\epsilon)$, where a theorem says so")
    return figure


def pruning(table: pd.DataFrame) -> Figure:
    """Risk against the fraction of neurons pruned, for three orders and several alpha'."""
    alphas = sorted(table.alpha.unique())
    figure, axes = _grid(2, len(alphas), width=11, sharey="row")
    names = {"smallest": "smallest first", "random": "random", "largest": "largest first"}
    table = table[table.order != "all small"].replace({"order": names})
    for row, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        for ax, alpha in zip(row, alphas, strict=True):
            rows = table[(table.alpha == alpha) & (table.quantity == quantity)]
            _curves(ax, _rows(rows), "fraction", "order", order=list(names.values()))
            predicted = _rows(rows, "theory").groupby(["order", "fraction"]).value.median()
            for order in predicted.index.unique("order"):
                curve = predicted[order]
                ax.plot(curve.index, curve, **(_THEORY | {"color": _COLOURS[order]}))
            ax.set(xlabel="fraction of neurons pruned", ylabel=_LABELS[quantity])
            ax.xaxis.set_major_formatter(PercentFormatter(1))
    for ax, alpha in zip(axes[0], alphas, strict=True):
        ax.set_title(rf"test prompts with $\alpha' = {alpha:g}$")
    axes[1][0].yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, axes[0][0], theory="theory: equal shares of the large neurons (ours)")
    return figure


def attention_pruning(table: pd.DataFrame) -> Figure:
    """Risk against the fraction of entries of W_Q or W_K pruned, smallest first."""
    figure, axes = _grid(1, 2)
    for ax, quantity in zip(axes, ("hinge", "zero_one"), strict=True):
        _curves(ax, _rows(table, quantity=quantity), "fraction", "matrix", marker="o")
        ax.set(xlabel="fraction of entries pruned, smallest first", ylabel=_LABELS[quantity])
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, axes[0])
    return figure


def learners(table: pd.DataFrame) -> Figure:
    """Error of the transformer and of classical learners on the same prompts, by number of examples."""
    alphas, kappas = sorted(table.alpha.unique()), sorted(table.kappa.unique())
    figure, axes = _grid(len(alphas), len(kappas), width=11, sharex=True, sharey=True)
    table = table.replace({"learner": _LEARNERS})
    order = [name for name in _COLOURS if name in set(table.learner)]
    for row, alpha in zip(axes, alphas, strict=True):
        for ax, kappa in zip(row, kappas, strict=True):
            rows = table[(table.alpha == alpha) & (table.kappa == kappa)]
            _means(ax, _rows(rows), "length", "learner", order)
            bayes = _rows(rows, "theory").groupby("length").value.mean()
            ax.plot(bayes.index, bayes, **_THEORY)
            ax.set(xlabel="examples in the prompt", ylabel="zero-one error")
            ax.set_title(rf"$\alpha' = {alpha:g}$, $\kappa'_{{max}} = {kappa:g}$")
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _legend(figure, axes[0][0], theory="theory: Bayes-optimal")
    return figure


def _rows(table: pd.DataFrame, source: str = "measured", **where: object) -> pd.DataFrame:
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    return table[table.source == source]


def _grid(
    rows: int, columns: int, *, width: float = 9.0, height: float | None = None, **shared: object
) -> tuple[Figure, Sequence]:
    """A figure and its axes: a list of them, or a list of rows."""
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.85):
        figure = Figure(figsize=(width, height or 3.1 * rows), layout="constrained", dpi=110)
        axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for ax in axes.flat:
        sns.despine(ax=ax)
    return figure, axes if rows > 1 else axes[0]


def _curves(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    hue: str,
    *,
    order: Sequence[str] | None = None,
    marker: str | None = None,
) -> None:
    """The median over seeds, and the band that holds 80 % of them."""
    sns.lineplot(
        rows,
        x=x,
        y="value",
        hue=hue,
        hue_order=order,
        palette=_COLOURS,
        estimator="median",
        errorbar=("pi", 80),
        marker=marker,
        ax=ax,
    )
    ax.legend_.remove()


def _means(ax: Axes, rows: pd.DataFrame, x: str, hue: str, order: Sequence[str]) -> None:
    """The mean over seeds with its 95 % interval, for numbers that are means of few prompts a seed."""
    sns.lineplot(
        rows,
        x=x,
        y="value",
        hue=hue,
        hue_order=order,
        palette=_COLOURS,
        errorbar=("se", 1.96),
        err_style="bars",
        marker="o",
        ax=ax,
    )
    ax.legend_.remove()


def _legend(figure: Figure, ax: Axes, *, theory: str | None = None) -> None:
    """One legend above the panels, of what ``ax`` shows."""
    handles, labels = ax.get_legend_handles_labels()
    if theory is not None:
        handles, labels = [*handles, Line2D([], [], **_THEORY)], [*labels, theory]
    columns = len(labels) if len(labels) <= 5 else 4
    figure.legend(handles, labels, loc="outside upper center", frameon=False, ncols=columns)


def _to_fixed_direction(rows: pd.DataFrame, part: str) -> pd.DataFrame:
    """Label angles to q itself; the table has them to q signed by a."""
    if part == "feature":
        return rows
    turned = (rows.quantity == "angle") & (rows.sign == "a < 0")
    return rows.assign(value=rows.value.where(~turned, 180 - rows.value))
