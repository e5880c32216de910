"""The risk after a fixed number of steps against the batch."""

from collections.abc import Mapping, Sequence

import pandas as pd

from tdlab.results import tidy
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.studies.evaluation import evaluate, members, risks
from tdlab.studies.icl.setting import Setting
from tdlab.trajectory import Trained, final

Point = tuple[str, int]  # regime, batch


def batch_runs(setting: Setting) -> dict[Point, list[Run]]:
    """The runs by regime and batch."""
    return {
        (regime, batch): its.runs(snapshots=At(at=()))
        for regime, base in setting.regimes.items()
        for batch, its in base.by_batch.items()
    }


def batches(setting: Setting, results: Mapping[Point, Sequence[Trained]]) -> pd.DataFrame:
    """Final risk on unseen tasks by batch.

    Returns:
        A tidy table of ``hinge`` and ``zero_one`` with columns ``regime`` and ``at``: the batch.
    """
    tables = []
    for (regime, batch), each in results.items():
        runs = [result.run for result in each]
        unseen = setting.regimes[regime].task.on_unseen()
        found = evaluate(runs, [final(each)], [unseen], setting.prompts, risks)
        where = {"step": runs[0].steps, "regime": regime, "at": float(batch), **members(runs)}
        tables += [
            tidy(name, numbers[0, 0].mean(-1), "member", source="measured", **where)
            for name, numbers in found.items()
        ]
    return pd.concat(tables, ignore_index=True)
