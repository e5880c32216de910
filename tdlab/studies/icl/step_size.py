"""How the step size limits what attention reaches, at a fixed training time eta T."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from tdlab.results import tidy
from tdlab.run import Run
from tdlab.studies.evaluation import evaluate, members, risks_and_attention
from tdlab.studies.icl.setting import Setting
from tdlab.studies.regimes import OURS
from tdlab.trajectory import Trained, final


def step_size_runs(setting: Setting) -> dict[float, list[Run]]:
    """The runs to compare by step size eta; their number of steps keeps eta T as it is."""
    time, own = setting.lr * setting.steps, setting.regimes[OURS]
    return {
        lr: replace(own, lr=lr, steps=max(1, round(time / lr))).runs()
        for lr in (factor * setting.lr for factor in setting.lr_factors)
    }


def step_sizes(setting: Setting, results: Mapping[float, Sequence[Trained]]) -> pd.DataFrame:
    """One minus the final concentration on unseen tasks, ``concentration_gap``, by step size.

    ``results`` maps each step size to the runs trained with it. Column beside the tidy ones:
    ``lr``.

    Returns:
        One row for each step size and seed.
    """
    tables = []
    for lr, each in results.items():
        runs = [result.run for result in each]
        unseen = setting.task.on_unseen()
        numbers = evaluate(runs, [final(each)], [unseen], setting.prompts, risks_and_attention)
        gap = 1 - numbers["concentration"][0, 0].mean(-1)
        where = {"step": runs[0].steps, "lr": lr, **members(runs)}
        tables.append(tidy("concentration_gap", gap, "member", source="measured", **where))
    return pd.concat(tables, ignore_index=True)
