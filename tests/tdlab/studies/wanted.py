"""Which results a study's tables are given, and which runs are trained for them.

What each table needs is given as its calls: for each time that its function is called the runs, or
the groups of runs by point, that stand for the results that it is given after the setting.
"""

from itertools import chain
from typing import Any

from tdlab.run import Run

Needs = dict[str, list[tuple[Any, ...]]]


def runs_of(given):
    """Runs, or the runs of results; in a mapping as they are."""
    if isinstance(given, dict):
        return {point: runs_of(some) for point, some in given.items()}
    return [each if isinstance(each, Run) else each.run for each in given]


def named(runs):
    return [(run.id, run.seed, run.steps) for run in runs]


def needed(needs: Needs, *names):
    """The runs behind these tables by name, as often as they are needed."""
    groups = chain(*chain(*(needs[name] for name in names)))
    lists = chain(*(each.values() if isinstance(each, dict) else [each] for each in groups))
    return named(chain(*lists))


def assert_measured_once(made, name, needs: Needs, told, trainings):
    """The table is made when it is asked for, on what it needs, and nothing else is trained."""
    assert not trainings
    table = getattr(made, name)
    assert set(table["table"]) == {name}
    assert getattr(made, name) is table
    assert [[runs_of(each) for each in results] for _, *results in told[name]] == [
        [runs_of(each) for each in results] for results in needs[name]
    ]
    assert sorted(named(trainings)) == sorted(set(needed(needs, name)))
    assert sum(map(len, told.values())) == len(needs[name])


def assert_trained_once(measurements, setting, needs: Needs, names, trainings):
    """Whichever of these tables are asked for, no run is trained twice, and none that is known."""
    made = measurements(setting)
    for name in names:
        getattr(made, name)
    assert sorted(named(trainings)) == sorted(set(needed(needs, *names)))
    again = measurements(setting, known=made.results(trainings))
    trainings.clear()
    for name in names:
        getattr(again, name)
    assert not trainings
