"""The tables of the study of attention kernels, planted.

Each function builds the table of its name as the study has it, in a world that differs from that of
the claims as said. What a rule must not look at holds the opposite.
"""

from itertools import product
from typing import Any

import numpy as np

from tdlab.models import KERNELS
from tdlab.studies.kernels.setting import SCALAR, SUBSETS
from tests.tdlab.claims.planted import COMMON, NOISE, OTHER, frame, rows, theory

TASKS = ("digits", "pathfinder 16x16", "text")
RATIOS = {4: 2.5, 1: 0.625, 2: 1.25}  # of heads


def phase(softmax=-6.5, gaussian=-6.7, fall=0.0, spread=0.001, **_):
    """Logarithms of the loss where all is trained with the most heads; elsewhere it stays."""
    parts = []
    logs = {"softmax": softmax + spread * NOISE, "gaussian": gaussian + spread * OTHER}
    for kernel, subset, (heads, ratio) in product(KERNELS, SUBSETS, RATIOS.items()):
        where: dict[str, Any] = {"kernel": kernel, "trained": subset, "heads": heads}
        where |= {"ratio": ratio, "step": 37}
        looked_at = subset == "all" and heads == 4 and kernel in logs
        value = 10 ** logs[kernel] if looked_at else 0.5
        its_fall = fall + spread * COMMON if looked_at else 3.0
        parts += [rows("relative loss", value, **where), rows("fall", its_fall, **where)]
    return frame(*parts)


def rates(straight=1.0, excess=0.3, gap=1e-5, worse=None, spread=0.001, **_):
    """Late over earlier rate, log10 of the rate over what is predicted, and of the solved curve.

    ``worse`` differ from these for the Gaussian kernel.
    """
    parts = []
    worse = worse or {}
    for kernel, subset in product(KERNELS, ("W_V", "all")):
        where: dict[str, Any] = {"kernel": kernel, "trained": subset}
        its = {"straight": straight, "excess": excess} | (worse if kernel == "gaussian" else {})
        if (kernel, subset) not in (("softmax", "all"), ("gaussian", "all")):
            its = {"straight": 0.2, "excess": -3.0}
        predicted = 0.01 * np.exp(COMMON)
        rate = predicted * 10 ** (its["excess"] + spread * NOISE)
        for step in (0, 5, 30):
            loss = np.exp(-0.1 * step) * np.exp(0.3 * COMMON)
            parts.append(rows("relative loss", loss, step=step, **where))
            if subset == "W_V":  # the farther off the later, and most for the last kernel
                off = gap * (step / 30) * (1.0 if kernel == KERNEL_OF_GAP else 0.4)
                solved = loss * 10 ** (-off * (1 + spread * OTHER))
                parts.append(rows("relative loss", solved, "theory", step=step, **where))
        parts += [
            rows("rate", rate, **where),
            rows("rate", predicted, "theory", **where),
            rows("straight", its["straight"] + spread * OTHER, **where),
            rows("sigma_min", 0.3, **where),
        ]
    return frame(*parts)


KERNEL_OF_GAP = "normalized gaussian"
QUERIES = (-2.5, -2.0, 0.5, 1.0, 1.04, 2.5, 5.0, 6.0)


def scalar(before=(1e-9, 0.9e-3), beyond=(0.2, 0.7), alive=(1e-9, 0.9e-3), fall=0.0, **_):
    """What lies in the range of the starts that a rule looks at.

    The losses of softmax left of the barrier, how far it moved right of it, the losses of the
    Gaussian kernel from -2 to 5; and how much the largest of the losses still falls.
    """
    parts = []
    for kernel, problem in product(KERNELS, SCALAR):
        where: dict[str, Any] = {"kernel": kernel, "problem": problem}
        first = problem == next(iter(SCALAR))
        losses = dict.fromkeys(QUERIES, 0.3)
        moved = dict.fromkeys(QUERIES, -0.4 if first else 0.0)
        if first and kernel == "softmax":
            losses |= {-2.5: before[0], -2.0: before[1], 0.5: before[0], 1.0: before[0]}
            moved |= {1.04: beyond[0], 2.5: beyond[1], 5.0: beyond[1], 6.0: beyond[1]}
        if first and kernel == "gaussian":
            losses |= dict.fromkeys(QUERIES[1:-1], alive[0]) | {2.5: alive[1]}
        falls = {q: fall if q in (-2.0, 2.5) else 0.5 for q in QUERIES}  # of the others it does
        parts += [theory("loss", 0.9, q=q, **where) for q in QUERIES]
        if first and kernel == "softmax":
            parts += [theory("barrier", 1.005, **where), theory("plateau", 0.045, **where)]
        ends = {q: q + away for q, away in moved.items()}
        for quantity, of_start in (("loss", losses), ("fall", falls), ("end", ends)):
            shared = {"seed": 0, "step": 400, "quantity": quantity, "source": "measured", **where}
            parts.append(
                [
                    {"run": f"run {place}", "member": place, "q": q, "value": value, **shared}
                    for place, (q, value) in enumerate(of_start.items())
                ]
            )
    return frame(*parts)


# Targets, scale of W_K and of W_Q: in the order in which they are judged.
POINTS = (
    *(("random", 1.3, 1.0), ("teacher", 1.3, 0.5)),
    *(("teacher", 1.3, 2.0), ("teacher", 2.0, 2.0)),
)
ALL, NONE = (1,) * 8, (0,) * 8
HALF = (1, 0, 1, 0, 1, 1, 0, 0)
OPPOSITE = (0, 1, 0, 1, 0, 0, 1, 1)


def some(count):
    """That many problems of eight."""
    return (1,) * count + (0,) * (8 - count)


def query_only(solved=None, **_):
    """Which problems softmax solves, and which the Gaussian kernel, at the points in order."""
    solved = solved or {}
    parts = []
    for place, (targets, key_scale, scale) in enumerate(POINTS):
        softmax, gaussian = solved.get(place, (NONE, ALL))
        of_kernel = {"softmax": softmax, "gaussian": gaussian, "normalized gaussian": NONE}
        for kernel, values in of_kernel.items():
            where: dict[str, Any] = {"kernel": kernel, "targets": targets, "scale": scale}
            where |= {"key_scale": key_scale, "step": 37}
            parts += [
                rows("solved", values, **where),
                rows("relative loss", 1e-9 if kernel == "softmax" else 0.8, **where),
            ]
    return frame(*parts)


STAGE_ONE = ("gaussian", "softmax")  # in the order in which they are judged


def curvature(end=-0.5, middle=-0.5, spread=0.001, after_softmax=None, **_):
    """log2 of the ratio of top eigenvalues at the last step, and at the one before it.

    ``after_softmax`` differ from these where stage one had that kernel.
    """
    parts = []
    for stage_one in STAGE_ONE:
        its = {"end": end, "middle": middle}
        its |= (after_softmax or {}) if stage_one == "softmax" else {}
        last, before = its["end"] + spread * NOISE, its["middle"] + spread * OTHER
        ratios = {0: np.full(8, 3.0), 20: before, 60: last}
        for (step, log2), kernel in product(ratios.items(), ("softmax", "gaussian")):
            where: dict[str, Any] = {"stage_one": stage_one, "kernel": kernel, "step": step}
            where |= {"member": False}
            value = 2 ** (2 + COMMON + (log2 if kernel == "gaussian" else 0))
            parts += [
                rows("eigenvalue", value, rank=0, **where),
                rows("eigenvalue", 0.3 / value, rank=1, **where),
                rows("residual", -1.0, rank=0, **where),
                rows("loss", 1 / value, **where),
            ]
    return frame(*parts)


def variation(varies=-0.4, spread=0.001, after_softmax=None, **_):
    """log2 of the ratio of the gradient's variation: the mean over a segment."""
    parts = []
    for stage_one, at, kernel in product(STAGE_ONE, (0.25, 0.75), ("softmax", "gaussian")):
        its = {"varies": varies} | ((after_softmax or {}) if stage_one == "softmax" else {})
        log2 = its["varies"] + 10 * (at - 0.5) + spread * NOISE
        value = 2 ** (1 + COMMON + (log2 if kernel == "gaussian" else 0))
        parts.append(rows("variation", value, stage_one=stage_one, kernel=kernel, at=at))
    return frame(*parts)


def classification(accuracy=None, loss=None, level=0.8, spread=0.001, **_):
    """By how much the Gaussian kernel is more accurate at the end, and its loss less, by task."""
    accuracy, loss = accuracy or {}, loss or {}
    parts = []
    levels = level if isinstance(level, dict) else dict.fromkeys(TASKS, level)
    for task, kernel, step in product(TASKS, ("softmax", "gaussian"), (0, 40, 80)):
        where: dict[str, Any] = {"task": task, "kernel": kernel, "step": step}
        gaussian = kernel == "gaussian"
        gain = accuracy.get(task, 0.05) + spread * NOISE if step == 80 else -0.2
        faster = loss.get(task, 0.1) + spread * OTHER if step else -2.0
        uneven = 0.3 * (step - 60) / 20  # so that it is the mean over steps that counts
        parts += [
            rows("accuracy", levels[task] + 0.002 * COMMON + gaussian * gain, **where),
            rows("loss", 0.7 + uneven + 0.1 * COMMON - gaussian * faster, **where),
            rows("row sum", 1.0, **where),
            theory("accuracy", 0.5, **where),
        ]
        if not gaussian:
            parts.append(rows("entropy", 2.0, **where))
    return frame(*parts)


TABLES: dict[str, Any] = {
    "phase": phase,
    "rates": rates,
    "scalar": scalar,
    "query_only": query_only,
    "curvature": curvature,
    "variation": variation,
    "classification": classification,
}
