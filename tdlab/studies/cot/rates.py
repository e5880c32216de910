"""How many steps training takes to a fixed loss, against alpha, K, M and the loss itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from synthetic_tasks import Reasoning
from tdlab.optimisers import SGD
from tdlab.probes import first_below
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.studies.cot.setting import Setting
from tdlab.studies.evaluation import members
from tdlab.sweep import Trained
from tdlab.theory import li2025

# Grids (ours), about even on a log axis; each holds the value of the preset or runs up to it.
ALPHAS = (0.2, 0.28, 0.4, 0.56, 0.8)
CHAINS = (2, 3, 4, 5, 6)
PATTERNS = (9, 12, 15, 20, 26)
LOSSES = (0.1, 0.05, 0.03, 0.02, 0.01)
LOSS = 0.02  # (ours) epsilon where another number is varied
ENOUGH = 8  # (ours) examples a relevant one: l >= 8 / alpha for every alpha
WINDOW = 9  # (ours) steps over which the training loss is averaged: one batch is noisy

Point = tuple[str, float]  # what is varied, and its value
T = TypeVar("T", int, float)


def rate_runs(setting: Setting) -> dict[Point, list[Run]]:
    """The runs to count steps in, by what is varied and its value."""
    longer = replace(setting.task, length=math.ceil(ENOUGH / min(ALPHAS)))
    tasks: dict[Point, Reasoning] = {}
    for x in chosen(setting, ALPHAS):
        tasks["alpha", x] = replace(longer, alpha=x)
    for steps in chosen(setting, CHAINS):
        tasks["steps", steps] = replace(setting.task, steps=steps)
    for patterns in chosen(setting, PATTERNS):
        tasks["patterns", patterns] = replace(setting.task, patterns=patterns)
    tasks["loss", LOSS] = setting.task
    return {
        point: setting.runs(
            task, optimiser=SGD(lr=setting.rate_lr), steps=setting.rate_steps, snapshots=At(at=())
        )
        for point, task in tasks.items()
    }


def rates(setting: Setting, results: Mapping[Point, Sequence[Trained]]) -> pd.DataFrame:
    """Steps until the training loss, averaged over ``WINDOW`` steps, is at most epsilon.

    Theory rows: power laws with the lowest and the highest exponent of the theorem's terms, which
    start where the measurement does.

    Returns:
        A tidy table of ``time`` with columns ``varied`` (alpha, steps, patterns, loss), ``at``, and
        ``exponent`` (of theory rows). NaN where ``rate_steps`` were not enough.
    """
    tables = []
    for (varied, at), each in results.items():
        if varied == "loss":
            tables += [_times(each, varied, x, x) for x in chosen(setting, LOSSES)]
        else:
            tables.append(_times(each, varied, at, LOSS))
    measured = pd.concat(tables, ignore_index=True)
    return pd.concat([measured, *_slopes(measured)], ignore_index=True)


def chosen(setting: Setting, grid: Sequence[T]) -> tuple[T, ...]:
    """As many values of a grid as the setting asks for, its ends among them."""
    places = np.linspace(0, len(grid) - 1, min(len(grid), setting.rate_points)).round()
    return tuple(grid[int(place)] for place in places)


def _times(results: Sequence[Trained], varied: str, at: float, loss: float) -> pd.DataFrame:
    runs = [result.run for result in results]
    losses = torch.stack([result.loss for result in results]).double()
    smooth = losses.unfold(-1, WINDOW, 1).mean(-1).numpy()
    middle = np.arange(smooth.shape[1]) + WINDOW // 2
    time = first_below(middle, smooth, loss)
    return tidy(
        "time", time, "member", source="measured", varied=varied, at=float(at), **members(runs)
    )


def _slopes(measured: pd.DataFrame) -> list[pd.DataFrame]:
    tables = []
    for varied, exponents in li2025.rate_exponents().items():
        rows = measured[measured.varied == varied]
        x = np.sort(rows["at"].unique())
        start = rows[rows["at"] == x[0]].value.median()
        tables += [
            tidy(
                "time",
                start * (x / x[0]) ** exponent,
                "at",
                source="theory",
                varied=varied,
                at=x,
                exponent=exponent,
            )
            for exponent in exponents
        ]
    return tables
