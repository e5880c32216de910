"""How many steps training takes to a fixed loss, against alpha, K, M and the loss itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from tdlab.optimisers import SGD
from tdlab.probes import first_below
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.studies.cot.setting import Setting
from tdlab.studies.evaluation import members
from tdlab.theory import li2025
from tdlab.trajectory import Trained

WINDOW = 9  # (ours) steps over which the training loss is averaged: one batch is noisy

Point = tuple[str, float]  # what is varied, and its value


def rate_runs(setting: Setting) -> dict[Point, list[Run]]:
    """The runs to count steps in, by what is varied and its value."""
    its = replace(setting, seeds=setting.rate_seeds)
    changes = {"optimiser": SGD(lr=its.rate_lr), "steps": its.rate_steps, "snapshots": At(at=())}
    return {point: its.runs(task, **changes) for point, task in its.rate_tasks.items()}


def rates(setting: Setting, results: Mapping[Point, Sequence[Trained]]) -> pd.DataFrame:
    """Steps until the training loss, averaged over ``WINDOW`` steps, is at most epsilon.

    Nearer the theorem the losses to be reached are smaller. Theory rows: power laws with the lowest
    and the highest exponent of the theorem's terms, which start where the measurement does.

    Returns:
        A tidy table of ``time`` with columns ``regime``, ``varied`` (alpha, steps, patterns, loss),
        ``at``, ``limit``: the last step at which it could be reached, and ``exponent`` (of theory
        rows). NaN where it was not.
    """
    tables = []
    for regime, (own, losses) in setting.regime_losses.items():
        for (varied, at), each in results.items():
            if varied == "loss":
                tables += [_times(each, regime, varied, loss, loss) for loss in losses]
            else:
                tables.append(_times(each, regime, varied, at, own))
    measured = pd.concat(tables, ignore_index=True)
    return pd.concat([measured, *_slopes(measured)], ignore_index=True)


def _times(
    results: Sequence[Trained], regime: str, varied: str, at: float, loss: float
) -> pd.DataFrame:
    runs = [result.run for result in results]
    losses = torch.stack([result.loss for result in results]).double()
    smooth = losses.unfold(-1, WINDOW, 1).mean(-1).numpy()
    middle = np.arange(smooth.shape[1]) + WINDOW // 2
    time = first_below(middle, smooth, loss)
    where = {"regime": regime, "varied": varied, "at": float(at), "limit": float(middle[-1])}
    return tidy("time", time, "member", source="measured", **where, **members(runs))


def _slopes(measured: pd.DataFrame) -> list[pd.DataFrame]:
    tables = []
    for regime in dict.fromkeys(measured.regime):
        for varied, exponents in li2025.rate_exponents().items():
            rows = measured[(measured.varied == varied) & (measured.regime == regime)]
            x = np.sort(rows["at"].unique())
            first = rows[rows["at"] == x[0]]
            start = first.value.fillna(first.limit).median()
            tables += [
                tidy(
                    "time",
                    start * (x / x[0]) ** exponent,
                    "at",
                    source="theory",
                    regime=regime,
                    varied=varied,
                    at=x,
                    exponent=exponent,
                )
                for exponent in exponents
            ]
    return tables
