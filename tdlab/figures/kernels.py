"""The figures of the attention-kernel study, one function a tidy table."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from tdlab.figures.style import COLOURS, THEORY, curves, drawing, grid, legend, means, plain, select

KERNELS = ("softmax", "gaussian", "normalized gaussian")
_TRAINED = {"all": "all matrices trained", "W_V": "$W_V$ alone", "W_Q": "$W_Q$ alone"}
_FLOOR = 1e-20  # a relative loss below is drawn there
_GUARDS = {
    "row sum": "mean row sum of S",
    "sigma_min": r"$\sigma_{\min}(B)$",
    "entropy": "entropy of S, nats",
    "gradient": "norm of the gradient of $W_Q$",
}


_ARROW = {"arrowstyle": "->", "color": "0.4", "shrinkA": 0, "shrinkB": 2}
_PLANES = {
    "random": ("around its end", "random direction", "another"),
    "runs": ("from start to end", "its end minus start", "the other kernel's, orthogonalized"),
}
_END = {"random": (0, 0), "runs": (1, 0)}  # of stage two


@drawing
def phase(table: pd.DataFrame) -> Figure:
    """Final relative loss against H D / N n, by kernel and by which matrices are trained."""
    figure, (axes,) = grid(1, len(_TRAINED), width=10, height=3.6, sharey=True)
    table = select(table, quantity="relative loss")
    table = table.assign(value=table.value.clip(lower=_FLOOR))
    for ax, (subset, title) in zip(axes, _TRAINED.items(), strict=True):
        rows = table[table.trained == subset]
        curves(ax, rows, "ratio", "kernel", order=KERNELS, marker="o")
        ax.axvline(1, **THEORY)
        ax.set(xscale="log", title=title, xlabel="capacity $H D\\, /\\, N n$")
        ax.set(ylabel="final loss / loss of predicting 0")
        _plain_log(ax, rows.ratio)
    # Only now: on an axis that is logarithmic already, quantiles are those of the logarithms.
    axes[0].set(yscale="log", ylim=(_FLOOR / 10, 10))
    legend(figure, axes[0], theory="theory: $W_V$ alone needs at least 1", columns=4)
    return figure


@drawing
def rates(table: pd.DataFrame) -> Figure:
    """Loss over gradient descent with a fixed step, and its rate beside that of frozen scores."""
    figure, ((left, middle, right),) = grid(1, 3, width=11, height=3.6)
    loss = table[table.quantity == "relative loss"]
    loss = loss.assign(value=loss.value.clip(lower=_FLOOR))
    for ax, subset in ((left, "W_V"), (middle, "all")):
        curves(ax, select(loss, trained=subset), "step", "kernel", order=KERNELS)
        ax.set(yscale="log", xlabel="training step", title=_TRAINED[subset])
        ax.set(ylabel="loss / loss of predicting 0")
    predicted = select(loss, "theory", trained="W_V")
    for _, of_kernel in predicted.groupby("kernel"):
        left.plot(of_kernel.groupby("step").value.median(), **THEORY)
    pairs = table[(table.quantity == "rate") & (table.trained == "all")]
    wide = pairs.pivot(index=["kernel", "seed"], columns="source", values="value").reset_index()
    for kernel in KERNELS:
        of_kernel = wide[wide.kernel == kernel]
        look = {"linestyle": "", "marker": "o", "color": COLOURS[kernel], "alpha": 0.75}
        right.plot(of_kernel.theory, of_kernel.measured, **look)
    ends = np.array([wide.theory.min() / 2, wide.theory.max() * 2])
    right.plot(ends, ends, **THEORY)
    right.set(xscale="log", yscale="log", title="rate, all matrices trained")
    right.set(
        xlabel=r"$2 \eta\, \sigma_{\min}^2$ in $W_V$ at the start", ylabel="fitted rate a step"
    )
    legend(figure, left, theory="theory: exact ($W_V$ alone); no slower (rate)", columns=4)
    return figure


@drawing
def guards(table: pd.DataFrame) -> Figure:
    """What each kernel is like before training, against the scale of queries and keys."""
    figure, (axes,) = grid(1, len(_GUARDS), width=12, height=3.3)
    for ax, (quantity, label) in zip(axes, _GUARDS.items(), strict=True):
        rows = select(table, quantity=quantity)
        rows = rows[rows.matrix == "W_Q"] if quantity == "gradient" else rows
        rows = rows.assign(value=rows.value.clip(lower=1e-6))
        curves(ax, rows, "scale", "kernel", order=KERNELS, marker="o")
        ax.set(xscale="log", xlabel="scale of $W_Q$ and $W_K$", ylabel=label)
        ax.set(yscale="linear" if quantity == "entropy" else "log")
        plain(ax.xaxis, *([] if quantity == "entropy" else [ax.yaxis]))
    legend(figure, axes[0])
    return figure


@drawing
def scalar(table: pd.DataFrame) -> Figure:
    """The loss of one scalar query with each kernel, and where training leads."""
    problems = list(dict.fromkeys(table.problem))
    figure, axes = grid(len(problems), 3, width=11, height=5.4, sharex=True, sharey="row")
    for (row, problem), (column, kernel) in product(enumerate(problems), enumerate(KERNELS)):
        ax, rows = axes[row][column], table[(table.problem == problem) & (table.kernel == kernel)]
        curve = select(rows, "theory", quantity="loss").sort_values("q")
        ax.plot(curve.q, curve.value, color=COLOURS[kernel])
        runs = select(rows).pivot(index="q", columns="quantity", values="value")
        heights = np.interp(runs.index, curve.q, curve.value)
        for q, height, end, loss in zip(
            runs.index, heights, runs["end"], runs["loss"], strict=True
        ):
            ax.annotate("", (min(end, curve.q.max()), loss), (q, height), arrowprops=_ARROW)
        name = "start of a run (arrow: to its end)"
        ax.plot(runs.index, heights, "o", color="0.4", markersize=4, label=name)
        for barrier in select(rows, "theory", quantity="barrier").value:
            ax.axvline(barrier, **THEORY)
        for plateau in select(rows, "theory", quantity="plateau").value:
            ax.axhline(plateau, **THEORY)
        ax.set(xlabel="query q", ylabel=f"loss,\n{problem}" if column == 0 else "")
        ax.set(title=kernel if row == 0 else "")
    legend(figure, axes[0][0], theory="theory: barrier, and the plateau beyond it")
    return figure


@drawing
def query_only(table: pd.DataFrame) -> Figure:
    """Problems solved with W_Q alone against the scale at which it starts, and the loss of each."""
    figure, ((left, right),) = grid(1, 2, width=11, height=3.8)
    scales = table.scale.map("{:g}".format)
    usual = (table.targets == "teacher") & (table.key_scale == table.key_scale.min())
    both = scales.where(usual, scales + " and " + table.key_scale.map("{:g}".format))
    table = table.assign(place=both.where(table.targets == "teacher", "random\ntargets"))
    means(left, select(table[usual], quantity="solved"), "scale", "kernel", KERNELS)
    left.set(xscale="log", xlabel="initial scale of $W_Q$ (teacher: 1)", ylabel="problems solved")
    left.set(ylim=(-0.05, 1.05))
    left.yaxis.set_major_formatter(PercentFormatter(1))
    _plain_log(left, table[usual].scale)
    losses = select(table, quantity="relative loss")
    losses = losses.assign(value=losses.value.clip(lower=_FLOOR))
    look = {"palette": COLOURS, "hue_order": KERNELS, "dodge": True, "size": 3.5, "legend": False}
    sns.stripplot(losses, x="place", y="value", hue="kernel", ax=right, jitter=0.15, **look)
    right.set(yscale="log", xlabel="scale of $W_Q$, or scales of $W_Q$ and $W_K$")
    right.set(ylabel="final loss / loss of predicting 0")
    legend(figure, left)
    return figure


@drawing
def surfaces(table: pd.DataFrame) -> Figure:
    """The loss on two planes through each kernel's parameters, and the path of stage two."""
    kinds = list(dict.fromkeys(table.kind))
    kernels = [kernel for kernel in KERNELS if kernel in set(table.kernel)]
    figure, axes = grid(len(kernels), len(kinds), width=9.5, height=3.9 * len(kernels))
    loss = select(table, quantity="loss")
    for (column, kind), (row, kernel) in product(enumerate(kinds), enumerate(kernels)):
        ax, of_kind = axes[row][column], loss[loss.kind == kind]
        its = of_kind[of_kind.kernel == kernel].pivot(index="y", columns="x", values="value")
        levels = np.geomspace(of_kind.value.min(), of_kind.value.max(), 22)
        look: dict[str, Any] = {"levels": levels, "cmap": "viridis", "norm": LogNorm()}
        filled = ax.contourf(its.columns, its.index, its, extend="both", **look)
        ax.contour(its.columns, its.index, its, levels[::2], colors="white", linewidths=0.4)
        path = select(table, quantity="path", kernel=kernel, kind=kind).sort_values("value")
        ax.plot(path.x, path.y, "o-", color="white", markersize=3, linewidth=1)
        ax.plot(*_END[kind], "*", color="white", markersize=11)
        ax.set(title=f"{kernel}: {_PLANES[kind][0]}", xlabel=_PLANES[kind][1])
        ax.set(ylabel=_PLANES[kind][2])
        if row == len(kernels) - 1:
            bar = figure.colorbar(filled, ax=axes[:, column], location="bottom", label="loss")
            bar.ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
            bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            bar.ax.xaxis.set_minor_locator(NullLocator())
    return figure


@drawing
def curvature(table: pd.DataFrame) -> Figure:
    """The largest Hessian eigenvalue, and the loss on the same samples, along stage two."""
    stages = list(dict.fromkeys(table.stage_one))
    figure, axes = grid(len(stages), 2, height=2.8 * len(stages), sharex=True, sharey="col")
    for (left, right), stage_one in zip(axes, stages, strict=True):
        rows = select(table, stage_one=stage_one)
        top = rows[(rows.quantity == "eigenvalue") & (rows["rank"] == 0)]
        curves(left, top, "step", "kernel", order=KERNELS[:2], marker="o")
        left.set(xlabel="step of stage two", ylabel="largest Hessian eigenvalue")
        loss = rows[rows.quantity == "loss"]
        curves(right, loss, "step", "kernel", order=KERNELS[:2], marker="o")
        right.set(xlabel="step of stage two", ylabel="loss on the same samples")
        for ax in (left, right):
            ax.set_title(f"after stage one with {stage_one}")
    for ax in axes.flat:
        ax.set_yscale("log")
        plain(ax.yaxis)
    legend(figure, axes[0][0])
    return figure


@drawing
def variation(table: pd.DataFrame) -> Figure:
    """How fast the gradient varies on the segment from the start to the end of stage two."""
    stages = list(dict.fromkeys(table.stage_one))
    figure, (axes,) = grid(1, len(stages), height=3.4, sharey=True)
    for ax, stage_one in zip(axes, stages, strict=True):
        rows = select(table, stage_one=stage_one)
        curves(ax, rows, "at", "kernel", order=KERNELS[:2], marker="o")
        ax.set(xlabel="from start (0) to end (1) of stage two")
        ax.set(ylabel=r"$\| g - g' \|\, /\, \| \theta - \theta' \|$")
        ax.set_title(f"after stage one with {stage_one}")
    for ax in axes:
        ax.set_yscale("log")
        plain(ax.yaxis)
    legend(figure, axes[0])
    return figure


@drawing
def classification(table: pd.DataFrame) -> Figure:
    """Held-out accuracy and loss over training, by task and kernel, and the kernel's row sums."""
    tasks = sorted(set(table.task))
    figure, axes = grid(3, len(tasks), width=3.6 * len(tasks), height=8, sharex="col")
    for column, task in enumerate(tasks):
        rows = select(table, task=task)
        accuracy, loss, guard = axes[:, column]
        curves(accuracy, rows[rows.quantity == "accuracy"], "step", "kernel", order=KERNELS[:2])
        accuracy.axhline(select(table, "theory", task=task).value.iloc[0], **THEORY)
        accuracy.set(ylim=(0.42, 1.02), title=task, ylabel="held-out accuracy")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1))
        curves(loss, rows[rows.quantity == "loss"], "step", "kernel", order=KERNELS[:2])
        loss.set(ylabel="held-out loss", ylim=(0, None))
        curves(guard, rows[rows.quantity == "row sum"], "step", "kernel", order=KERNELS[:2])
        guard.set(ylabel="mean row sum of S", ylim=(0, None), xlabel="training step")
    legend(figure, axes[0][0], theory="guessing")
    return figure


def _plain_log(ax: Axes, values: pd.Series) -> None:
    """Ticks where there are points, written out."""
    at = sorted(values.unique())
    ax.set_xticks(at, [f"{x:g}" for x in at])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
