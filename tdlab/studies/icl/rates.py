"""How many steps training takes to a fixed risk, against eta, alpha, beta and M1."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from tdlab.probes import first_below
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.studies.evaluation import evaluate, members, risks
from tdlab.studies.icl.setting import Setting
from tdlab.theory import li2024
from tdlab.trajectory import Trained, at_each_step

RISK = 0.1  # (ours) the hinge risk on unseen tasks ...
ALPHA = 0.8  # ... of prompts with this alpha', whatever the training alpha, that is to be reached
SNAPSHOTS = 20  # (ours) evenly spaced on a log axis, over ...
DECADE = 10  # ... the last of it

Point = tuple[str, str, float]  # regime, what is varied, its value


def rate_runs(setting: Setting) -> dict[Point, list[Run]]:
    """The runs to count steps in, by regime, what is varied (a field of the setting), its value."""
    return {
        point: its.runs(snapshots=_snapshots(its.steps)) for point, its in _points(setting).items()
    }


def rates(setting: Setting, results: Mapping[Point, Sequence[Trained]]) -> pd.DataFrame:
    """Steps until the hinge risk on unseen tasks is at most ``RISK``, at alpha' = ``ALPHA``.

    Between snapshots the risk is taken to be straight. Theory rows: the theorem's law, which starts
    where the measurement does.

    Returns:
        A tidy table of ``time`` with columns ``regime``, ``varied``, ``at`` and ``limit``: how many
        steps there were. NaN where they were not enough.
    """
    points = _points(setting)
    tables = [_times(setting, points[point], point, each) for point, each in results.items()]
    measured = pd.concat(tables, ignore_index=True)
    return pd.concat([measured, *_laws(points, measured)], ignore_index=True)


def predicted(setting: Setting) -> float:
    """The theorem's number of steps at a setting, with one for its constant."""
    return li2024.rate_iterations(setting.lr, setting.relevant, setting.alpha, setting.beta)


def _points(setting: Setting) -> dict[Point, Setting]:
    return {
        (regime, *point): its
        for regime, points in setting.regime_points.items()
        for point, its in points.items()
    }


def _times(
    setting: Setting, its: Setting, point: Point, results: Sequence[Trained]
) -> pd.DataFrame:
    regime, varied, at = point
    runs = [result.run for result in results]
    steps, params = at_each_step(results)
    variants = [{k: v[:, place] for k, v in params.items()} for place in range(len(steps))]
    unseen = replace(its.task.on_unseen(), alpha=ALPHA)
    hinge = evaluate(runs, variants, [unseen], setting.law_prompts, risks)["hinge"]
    time = first_below(steps, hinge[:, 0].double().mean(-1).T.numpy(), RISK)
    where = {"regime": regime, "varied": varied, "at": at, "limit": float(steps[-1])}
    return tidy("time", time, "member", source="measured", **where, **members(runs))


def _snapshots(steps: int) -> At:
    late = np.geomspace(max(1, steps / DECADE), steps, SNAPSHOTS)
    return At(at=(0, *sorted({round(step) for step in late})))


def _laws(points: Mapping[Point, Setting], measured: pd.DataFrame) -> list[pd.DataFrame]:
    tables = []
    for (regime, varied), rows in measured.groupby(["regime", "varied"], sort=False):
        x = np.sort(rows["at"].unique())
        law = np.array([predicted(points[str(regime), str(varied), at]) for at in x])
        first = rows[rows["at"] == x[0]]
        start = first.value.fillna(first.limit).median()
        where = {"regime": regime, "varied": varied, "at": x}
        tables.append(tidy("time", start * law / law[0], "at", source="theory", **where))
    return tables
