"""What happens during training: the loss, and the two phases of attention."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from synthetic_tasks import Batch
from tdlab.losses import squared
from tdlab.probes import by_step_and_pattern, first_below
from tdlab.results import tidy
from tdlab.studies.cot.setting import Setting
from tdlab.studies.evaluation import evaluate, members
from tdlab.theory import li2025
from tdlab.trajectory import Trained, at_each_step

# What a mass of attention is on: (has the query's step, has the query's pattern).
PLACES = {
    "other step, other pattern": (False, False),
    "other step, same pattern": (False, True),
    "same step, other pattern": (True, False),
    "same step, same pattern": (True, True),
}
GONE = 0.1  # (ours) a mass of attention that is over


def dynamics(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Squared loss and attention mass at every snapshot, on prompts like those of training.

    Theory rows: the mass before training (step 0) and its limit.

    Returns:
        A tidy table with columns ``alpha`` (of the prompts: that of training and that of testing)
        and, for a ``mass``, ``place`` (a key of ``PLACES``).
    """
    alphas = list(dict.fromkeys((setting.alpha, setting.test_alpha)))
    tables = [over_training(setting, results, alphas)]
    for alpha in alphas:
        tables += _predictions(setting, alpha, results[0].steps[-1])
    return pd.concat(tables, ignore_index=True)


def over_training(
    setting: Setting, results: Sequence[Trained], alphas: Sequence[float]
) -> pd.DataFrame:
    """Squared loss and attention mass at every snapshot, on training prompts of these alphas.

    Returns:
        The measured rows of ``dynamics``.
    """
    runs = [result.run for result in results]
    steps, params = at_each_step(results)
    variants = [{k: v[:, at] for k, v in params.items()} for at in range(len(steps))]
    tasks = [replace(setting.task, alpha=alpha) for alpha in alphas]
    numbers = evaluate(runs, variants, tasks, setting.prompts, _loss_and_masses)
    shared = {"source": "measured", "step": steps, "alpha": alphas, **members(runs)}
    loss = tidy("loss", numbers.pop("loss").mean(-1), "step alpha member", **shared)
    masses = [
        tidy("mass", each.mean(-1), "step alpha member", place=place, **shared)
        for place, each in numbers.items()
    ]
    return pd.concat([loss, *masses], ignore_index=True)


def phases(dynamics: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """When each phase of training is over, on prompts of this alpha.

    ``position`` is learned when the mass on other steps, whatever their pattern, has fallen to
    ``GONE``; ``pattern`` when the mass on other patterns has, whatever their step. Either may come
    first.

    Returns:
        A tidy table: quantity ``time`` with column ``phase``, NaN where it never came, and quantity
        ``shared``, the mass on other patterns of the query's step at the time of ``position``.
    """
    mass = dynamics[
        (dynamics.quantity == "mass") & (dynamics.source == "measured") & (dynamics.alpha == alpha)
    ]
    tables = []
    for (run, seed), rows in mass.groupby(["run", "seed"]):
        curves = rows.pivot(index="step", columns="place", values="value").sort_index()
        steps = curves.index.to_numpy(dtype=np.int64)
        both_other, shared = curves["other step, other pattern"], curves["same step, other pattern"]
        other_step = both_other + curves["other step, same pattern"]
        position = float(first_below(steps, other_step.to_numpy(), GONE))
        pattern = float(first_below(steps, (both_other + shared).to_numpy(), GONE))
        times = np.array([position, pattern])
        where = {"source": "measured", "run": run, "seed": seed, "alpha": alpha}
        tables += [
            tidy("time", times, "phase", phase=("position", "pattern"), **where),
            tidy("shared", np.interp(position, steps, shared), "", phase="position", **where),
        ]
    return pd.concat(tables, ignore_index=True)


def _loss_and_masses(trace: Any, batch: Batch) -> dict[str, Tensor]:
    latent = batch.latent
    masses = by_step_and_pattern(trace.attention, latent.same_step, latent.same_pattern)
    return {
        "loss": squared(trace.output, batch.target),
        **{
            place: masses[..., int(step), int(pattern)] for place, (step, pattern) in PLACES.items()
        },
    }


def _predictions(setting: Setting, alpha: float, last: int) -> list[pd.DataFrame]:
    other, same = li2025.initial_mass(alpha, setting.chain, setting.length)
    mass = partial(tidy, "mass", axes="", source="theory", alpha=alpha)
    return [
        mass(other, step=0, place="same step, other pattern"),
        mass(same, step=0, place="same step, same pattern"),
        mass(li2025.limit_mass(), step=last, place="same step, same pattern"),
    ]
