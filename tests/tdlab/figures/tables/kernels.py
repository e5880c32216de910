"""Planted tables of the attention-kernel study."""

from itertools import product

import pandas as pd

from tests.tdlab.figures.planted import level, measured, table, theory

KERNELS = ("softmax", "gaussian", "normalized gaussian")
PAIR = KERNELS[:2]
SUBSETS = ("all", "W_V", "W_Q")
RATIOS, SCALES, STEPS = (0.5, 1.0, 2.5), (0.1, 2.0), (0, 3, 40)
PROBLEMS = ("values (1, 0, 1/2), target 0.8", "values (1, 1, 1), target 2")
STARTS, CURVE = (-1.0, 0.3, 2.0), (-2.0, -1.0, 0.0, 1.0, 3.0)
STAGES, TASKS = ("gaussian", "softmax"), ("text", "digits")
GRID = {"random": (-1.0, 0.0, 0.7), "runs": (-0.4, 0.5, 1.6)}
DEEP = ("gaussian", "all", 2.5)  # where the loss lies below the floor


def phase() -> pd.DataFrame:
    rows = []
    for kernel, subset, ratio in product(KERNELS, SUBSETS, RATIOS):
        where = {"kernel": kernel, "trained": subset, "ratio": ratio, "heads": 2 * ratio}
        its = 1e-25 if (kernel, subset, ratio) == DEEP else level(kernel, subset, ratio)
        rows += [measured("relative loss", its, **where), measured("fall", 0.9, **where)]
    return table(*rows)


def rates() -> pd.DataFrame:
    rows = []
    for kernel, subset in product(KERNELS, ("W_V", "all")):
        where = {"kernel": kernel, "trained": subset}
        for step in STEPS:
            its = level(kernel, subset, step)
            rows.append(measured("relative loss", its, **where | {"step": step}))
            if subset == "W_V":
                solved = measured("relative loss", its / 2, **where | {"step": step})
                rows.append([{**row, "source": "theory"} for row in solved])
        rows.append(measured("rate", level("rate", kernel, subset), **where))
        predicted = measured("rate", level("law", kernel, subset) / 10, **where)
        rows.append([{**row, "source": "theory"} for row in predicted])
        rows += [measured("straight", 0.3, **where), measured("sigma_min", 0.2, **where)]
    return table(*rows)


def guards() -> pd.DataFrame:
    rows = []
    for kernel, scale in product(KERNELS, SCALES):
        where = {"kernel": kernel, "scale": scale}
        for quantity in ("row sum", "sigma_min", "entropy"):
            dead = (kernel, scale, quantity) == ("gaussian", SCALES[-1], "sigma_min")
            its = 1e-9 if dead else level(quantity, kernel, scale)
            if (quantity, kernel) != ("entropy", "gaussian"):
                rows.append(measured(quantity, its, matrix="", **where))
        for matrix in ("W_Q", "W_K", "W_V", "W_O"):
            its = level(matrix, kernel, scale)
            rows.append(measured("gradient", its, matrix=matrix, **where))
    return table(*rows)


def scalar() -> pd.DataFrame:
    rows = []
    for kernel, problem in product(KERNELS, PROBLEMS):
        where = {"kernel": kernel, "problem": problem}
        rows += [theory("loss", level(kernel, problem, q), q=q, **where) for q in CURVE]
        for place, q in enumerate(STARTS):
            end = 9.0 if place == 2 else q + level("end", kernel, problem, q)
            loss = level("loss", kernel, problem, q)
            for quantity, value in (("loss", loss), ("end", end)):
                row = {"quantity": quantity, "source": "measured", "step": 40, "seed": 0}
                rows.append([{**row, "value": value, "q": q, "member": place, **where}])
        if (kernel, problem) == (KERNELS[0], PROBLEMS[0]):
            rows += [theory("barrier", 1.2, **where), theory("plateau", 0.07, **where)]
    return table(*rows)


POINTS = [("teacher", 0.1, 1.0), ("teacher", 3.0, 1.0), ("teacher", 3.0, 3.0), ("random", 1.0, 1.0)]


def query_only() -> pd.DataFrame:
    rows = []
    for kernel, (targets, scale, key_scale) in product(KERNELS, POINTS):
        where = {"kernel": kernel, "targets": targets, "scale": scale, "key_scale": key_scale}
        share = level("solved", kernel, targets, scale, key_scale)
        rows.append(measured("solved", share, **where))
        its = 1e-23 if where == DEEPEST else level("loss", kernel, targets, scale, key_scale)
        rows.append(measured("relative loss", its, **where))
    return table(*rows)


DEEPEST = {"kernel": "softmax", "targets": "teacher", "scale": 3.0, "key_scale": 1.0}
PATH = {0: (0.0, 0.0), 30: (0.6, 0.2), 200: (1.0, 0.0)}


def surfaces() -> pd.DataFrame:
    rows = []
    for kernel, (kind, at) in product(PAIR, GRID.items()):
        where = {"kernel": kernel, "kind": kind, "seed": 0, "source": "measured"}
        for x, y in product(at, at):
            value = level(kernel, kind, x, y)
            rows.append([{**where, "quantity": "loss", "x": x, "y": y, "value": value}])
        if kind == "runs":
            for step, (x, y) in reversed(PATH.items()):
                row = {"quantity": "path", "value": step, "step": step, "x": x, "y": y}
                rows.append([{**where, **row}])
    return table(*rows)


def curvature() -> pd.DataFrame:
    rows = []
    for stage_one, kernel, step, rank in product(STAGES, PAIR, STEPS, (1, 0)):
        where = {"stage_one": stage_one, "kernel": kernel, "step": step}
        its = level("top", stage_one, kernel, step, rank)
        rows.append(measured("eigenvalue", its, rank=rank, **where))
        if not rank:
            rows.append(measured("loss", level("loss", stage_one, kernel, step), **where))
    return table(*rows)


def variation() -> pd.DataFrame:
    rows = []
    for stage_one, kernel, at in product(STAGES, PAIR, (0.25, 0.75)):
        where = {"stage_one": stage_one, "kernel": kernel, "at": at}
        rows.append(measured("variation", level(stage_one, kernel, at), **where))
    return table(*rows)


def classification() -> pd.DataFrame:
    rows = []
    for task, kernel, step in product(TASKS, PAIR, STEPS):
        where = {"task": task, "kernel": kernel, "step": step}
        for quantity in ("accuracy", "loss", "row sum"):
            rows += [measured(quantity, level(quantity, *where.values()), **where)]
        if kernel == "softmax":
            rows.append(measured("entropy", 0.9, **where))
        rows.append(theory("accuracy", 0.5, **where))
    return table(*rows)
