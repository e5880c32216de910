"""The small figures of the claims on attention kernels."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from tdlab.figures.small.panel import DASHED, Draw, Tables, estimates, key, lines
from tdlab.figures.style import COLOURS, select

_KERNELS = ("softmax", "gaussian")
_FLOOR = 1e-20  # a relative loss below is drawn there


def convergence(ax: Axes, tables: Tables) -> None:
    """Loss over gradient descent by kernel, beside the slowest linear rate expected (dashed)."""
    table = tables["rates"]
    table = table[table.trained == "all"]
    loss = select(table, quantity="relative loss")
    loss = loss.assign(value=loss.value.clip(lower=_FLOOR))
    lines(ax, loss, "step", "kernel", order=_KERNELS)
    last = loss.step.max()
    for kernel in _KERNELS:
        rate = select(table, "theory", quantity="rate", kernel=kernel).value.median()
        start = loss[(loss.kernel == kernel) & (loss.step == loss.step.min())].value.median()
        ends = [start, start * np.exp(-rate * last)]
        ax.plot([0, last], ends, **(DASHED | {"color": COLOURS[kernel]}))
    ax.set(yscale="log", xlabel="training step", ylabel="loss / loss of predicting 0")
    key(ax, "theory: no slower")


def bad_basin(ax: Axes, tables: Tables) -> None:
    """Loss after training one scalar query, by its start; dashed: softmax, with a barrier."""
    table = tables["scalar"]
    table = table[table.problem == table.problem.iloc[0]]
    rows = select(table, quantity="loss")
    for kernel, (marker, size) in zip(_KERNELS, (("o", 5), ("s", 2.5)), strict=True):
        its = rows[rows.kernel == kernel]
        look = {"color": COLOURS[kernel], "linestyle": "", "markersize": size, "label": kernel}
        ax.plot(its.q, its.value, marker, **look)
    barrier, plateau = (
        select(table, "theory", quantity=name).value.iloc[0] for name in ("barrier", "plateau")
    )
    its_look = DASHED | {"color": COLOURS["softmax"]}
    starts = [rows.q.min(), barrier, barrier, rows.q.max()]
    ax.plot(starts, [0, 0, plateau, plateau], label="theory of softmax", **its_look)
    ax.set(xlabel="query q at the start", ylabel="loss after training")
    key(ax)


def landscape(ax: Axes, tables: Tables) -> None:
    """log2 of Gaussian over softmax of three measures of curvature, and no difference (dashed)."""
    eigenvalues = select(tables["curvature"], quantity="eigenvalue", rank=0)
    last = eigenvalues.step == eigenvalues.groupby("stage_one").step.transform("max")
    parts = {
        "top eigenvalue, end": eigenvalues[last],
        "top eigenvalue, path": eigenvalues[eigenvalues.step > 0],
        "gradient's variation": select(tables["variation"], quantity="variation"),
    }
    rows = pd.concat([_ratios(each).assign(part=part) for part, each in parts.items()])
    rows = rows.assign(stage_one="after " + rows.stage_one)
    palette = {f"after {kernel}": COLOURS[kernel] for kernel in _KERNELS}
    estimates(ax, rows, "value", "part", "stage_one", palette)
    ax.axvline(0, **DASHED)
    ax.set(xlabel=r"$\log_2$ of Gaussian over softmax", ylabel="")
    key(ax, "theory: left of 0", columns=3)


def classification(ax: Axes, tables: Tables) -> None:
    """Held-out accuracy over training by task and kernel, and guessing (dashed)."""
    table = tables["classification"]
    rows = select(table, quantity="accuracy")
    tasks = sorted(rows.task.unique())
    for place, task in enumerate(tasks):
        its = rows[rows.task == task]
        share = 1.2 * place + its.step.astype(float) / its.step.max()
        lines(ax, its.assign(share=share), "share", "kernel", order=_KERNELS, marker="o")
    ax.axhline(select(table, "theory").value.iloc[0], **DASHED)
    ax.set_xticks([1.2 * place + 0.5 for place in range(len(tasks))], tasks)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set(xlabel="each task from start to end of training", ylabel="held-out accuracy")
    key(ax, "guessing")


def _ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """log2 of Gaussian over softmax, the mean over steps or places, of each seed."""
    logs = rows.assign(value=np.log2(rows.value))
    means = logs.groupby(["stage_one", "seed", "kernel"]).value.mean().unstack("kernel")
    return (means["gaussian"] - means["softmax"]).rename("value").reset_index()


FIGURES: dict[str, Draw] = {
    "kernels.global": convergence,
    "kernels.bad_basin": bad_basin,
    "kernels.landscape": landscape,
    "kernels.classification": classification,
}
