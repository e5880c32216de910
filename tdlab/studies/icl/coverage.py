"""Whether the coverage of patterns matters, or only the number of training tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from synthetic_tasks import InContextClassification
from synthetic_tasks.task_sets import Pair
from tdlab.results import tidy
from tdlab.studies.evaluation import evaluate, members, risks
from tdlab.studies.icl.setting import Setting
from tdlab.trajectory import Trained, final


def task_sets(count: int) -> dict[str, tuple[Pair, ...]]:
    """Task sets of equal size ``count`` (M1), by what they leave out.

    Returns:
        ``nothing``: the cycle over all patterns. ``a pattern``: the cycle over all but the last,
        and one of its tasks the other way round, so that the last pattern is never seen.
        ``a label``: every pattern is seen, but the last only as -1 and the one before it more often
        as +1.
    """
    cyclic = tuple((a, (a + 1) % count) for a in range(count))
    shorter = tuple((a, (a + 1) % (count - 1)) for a in range(count - 1))
    return {
        "nothing": cyclic,
        "a pattern": (*shorter, (1, 0)),
        "a label": (*cyclic[:-1], (count - 2, 0)),
    }


def coverage(setting: Setting, results: Mapping[str, Sequence[Trained]]) -> pd.DataFrame:
    """Final risk on the tasks that are in none of the sets, for task sets of equal size.

    ``results`` maps each name of ``task_sets`` to the runs trained on that set.

    Returns:
        A tidy table with column ``left_out`` (nothing, a pattern, a label).
    """
    return pd.concat(
        [_risk(setting, left_out, each) for left_out, each in results.items()],
        ignore_index=True,
    )


def coverage_tasks(setting: Setting) -> dict[str, InContextClassification]:
    """The training tasks to compare, by what their set leaves out."""
    return {
        left_out: replace(setting.task, tasks=pairs, coverage="violated")
        if left_out != "nothing"
        else setting.task
        for left_out, pairs in task_sets(setting.relevant).items()
    }


def unseen_by_all(setting: Setting) -> InContextClassification:
    """The tasks that are in none of the sets, so that all are tested on the same."""
    trained_on = {pair for pairs in task_sets(setting.relevant).values() for pair in pairs}
    everything = replace(setting.task, tasks="all").pairs
    rest = tuple(pair for pair in everything if pair not in trained_on)
    return replace(setting.task, tasks=rest, coverage="violated")


def _risk(setting: Setting, left_out: str, results: Sequence[Trained]) -> pd.DataFrame:
    runs = [result.run for result in results]
    numbers = evaluate(runs, [final(results)], [unseen_by_all(setting)], setting.prompts, risks)
    return pd.concat(
        [
            tidy(
                name,
                each[0, 0].mean(-1),
                "member",
                source="measured",
                step=setting.steps,
                left_out=left_out,
                **members(runs),
            )
            for name, each in numbers.items()
        ],
        ignore_index=True,
    )
