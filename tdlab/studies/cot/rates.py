"""How many steps training takes to a fixed loss, against alpha, K, M and the loss itself."""

from collections.abc import Mapping, Sequence

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
    return {
        point: setting.runs(
            task, optimiser=SGD(lr=setting.rate_lr), steps=setting.rate_steps, snapshots=At(at=())
        )
        for point, task in setting.rate_tasks.items()
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
            tables += [_times(each, varied, loss, loss) for loss in setting.rate_losses]
        else:
            tables.append(_times(each, varied, at, setting.rate_loss))
    measured = pd.concat(tables, ignore_index=True)
    return pd.concat([measured, *_slopes(measured)], ignore_index=True)


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
