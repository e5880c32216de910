"""Lists of runs over any field."""

from dataclasses import replace

import pytest

from tdlab.grid import grid, with_seeds, zipped
from tdlab.optimisers import SGD
from tests.tdlab.runs import MODEL, RUN, TASK


def test_a_grid_has_every_combination_the_last_field_fastest():
    runs = grid([RUN, replace(RUN, seed=7)], {"task.alpha": (0.3, 0.6), "optimiser.lr": (0.1, 1)})
    points = [(0.3, 0.1), (0.3, 1), (0.6, 0.1), (0.6, 1)]
    assert runs == [
        replace(RUN, seed=seed, task=replace(TASK, alpha=alpha), optimiser=SGD(lr=lr))
        for seed in (0, 7)
        for alpha, lr in points
    ]


def test_fields_that_are_zipped_go_together():
    runs = zipped([RUN], {"batch": (3, 9), "model.xi": (0.1, 0.2)})
    assert runs == [
        replace(RUN, batch=3, model=replace(MODEL, xi=0.1)),
        replace(RUN, batch=9, model=replace(MODEL, xi=0.2)),
    ]
    with pytest.raises(ValueError, match=r"as many values each, but have {'batch': 1, 'seed': 2}"):
        zipped([RUN], {"batch": (3,), "seed": (1, 2)})


def test_seeds_are_those_of_the_runs_before_as_well_and_no_run_comes_twice():
    first = [replace(RUN, seed=seed) for seed in (4, 5)]
    runs = with_seeds([*first, *(replace(RUN, after=run, seed=run.seed) for run in first)], (0, 3))
    assert runs == [
        replace(RUN, seed=0),
        replace(RUN, after=replace(RUN, seed=0), seed=0),
        replace(RUN, seed=3),
        replace(RUN, after=replace(RUN, seed=3), seed=3),
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("task.alhpa", "InContextClassification has no 'alhpa'; did you mean 'alpha'?"),
        ("stepz", "Run has no 'stepz'; did you mean 'steps'?"),
        ("task.alpha.deep", "float has no 'deep'"),
    ],
)
def test_a_field_that_there_is_not_is_refused_by_naming_those_there_are(name, line):
    with pytest.raises(ValueError, match=f"^no field '{name}': ") as caught:
        grid([RUN], {name: (1,)})
    assert line in str(caught.value)


def test_a_value_that_a_field_refuses_is_refused():
    with pytest.raises(ValueError, match="alpha is 2, but must lie in"):
        grid([RUN], {"task.alpha": (2,)})
