"""Runs that start where others ended: each is trained once, and before those after it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tdlab.models import Params
from tdlab.optimisers import SGD, Adam
from tdlab.run import Run
from tdlab.schedule import At, Every
from tdlab.sweep import job
from tdlab.trajectory import Ending, Trained
from tests.tdlab.runs import LAYER, MODEL, RUN, WILD, anew, assert_same, different, enough


@pytest.fixture
def ensembles(monkeypatch):
    """The (seed, steps) of every member of every ensemble that is trained."""
    seen = []
    plain = job.Training

    def spy(runs, **settings):
        seen.append([(run.seed, run.steps) for run in runs])
        return plain(runs, **settings)

    monkeypatch.setattr(job, "Training", spy)
    return seen


FIRST = [replace(RUN, seed=seed, steps=7) for seed in (0, 1)]
SECOND = [replace(RUN, seed=seed, steps=5, after=run) for seed, run in enumerate(FIRST)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_seven_steps_and_five_after_them_are_twelve_bit_for_bit(dtype):
    runs = [replace(LAYER, dtype=dtype, seed=seed, optimiser=SGD(lr=0.02)) for seed in (0, 1)]
    for whole, before, after in seven_and_five(runs):
        assert torch.cat([before.loss, after.loss]).equal(whole.loss)
        assert all(after.final[name].equal(leaf) for name, leaf in whole.final.items())


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-6), ("float64", 1e-14)])
def test_in_coordinates_they_are_twelve_up_to_rounding(dtype, rounding):
    for whole, before, after in seven_and_five(different(dtype, "logistic")):
        close = partial(torch.testing.assert_close, rtol=0, atol=rounding)
        close(torch.cat([before.loss, after.loss]), whole.loss)
        close(after.final, whole.final)
        assert all(after.at(0)[name].equal(leaf) for name, leaf in before.final.items())


def seven_and_five(runs: list[Run]) -> Iterator[tuple[Trained, Trained, Trained]]:
    firsts = [replace(run, steps=7) for run in runs]
    lasts = [replace(run, steps=5, after=run) for run in firsts]
    wholes = anew([replace(run, steps=12) for run in runs])
    return zip(wholes, anew(firsts), anew(lasts), strict=True)


def test_earlier_runs_are_trained_first_and_each_once(ensembles):
    seen = replace(FIRST[0], snapshots=At(at=(3,)))  # the same trajectory, looked at elsewhere
    runs = [
        SECOND[1],
        SECOND[0],
        replace(SECOND[0], optimiser=Adam()),
        replace(SECOND[1], after=seen),
    ]
    results = anew(runs)
    assert [result.run for result in results] == runs
    members = [each for ensemble in ensembles for each in ensemble]
    assert sorted(members[:2]) == [(0, 7), (1, 7)]
    assert sorted(members[2:]) == [(0, 5), (0, 5), (1, 5), (1, 5)]
    for result in results:
        assert result.run.after is not None
        (before,) = anew([result.run.after])
        assert result.at(0)["W_O"].equal(before.final["W_O"])


def test_earlier_results_that_are_given_are_not_trained_again(ensembles):
    earlier = anew(FIRST[:1])
    # Of another length is another run, and so is another seed.
    others = anew([replace(FIRST[1], steps=6), replace(FIRST[1], seed=2)])
    ensembles.clear()
    results = anew(SECOND, earlier=[*earlier, *others])
    assert ensembles == [[(1, 7)], [(0, 5), (1, 5)]]
    for one, other in zip(results, anew(SECOND), strict=True):
        assert_same(one, other)
    # What is started from is what was given.
    marked = replace(earlier[0], params={k: 2 * leaf for k, leaf in earlier[0].params.items()})
    (result,) = anew(SECOND[:1], earlier=[marked])
    assert result.at(0)["W_O"].equal(2 * earlier[0].final["W_O"])


def test_a_chain_of_three_is_trained_from_its_first_link_that_is_missing(ensembles):
    first = replace(RUN, steps=4)
    middle = replace(RUN, steps=3, after=first)
    last = replace(RUN, steps=5, after=middle)
    (whole,) = anew([replace(RUN, steps=12)])
    ensembles.clear()
    (result,) = anew([last])
    assert ensembles == [[(0, 4)], [(0, 3)], [(0, 5)]]
    torch.testing.assert_close(result.final, whole.final)
    earlier = anew([middle])
    for given, missing in ((earlier, []), (anew([first]), [[(0, 3)]])):
        ensembles.clear()
        assert_same(anew([last], earlier=given)[0], result)
        assert ensembles == [*missing, [(0, 5)]]


def test_members_with_different_earlier_runs_are_one_ensemble_in_their_own_order(ensembles):
    befores = [
        replace(RUN, steps=3, optimiser=Adam(), seed=4),
        replace(RUN, steps=3, loss="logistic"),
        replace(RUN, steps=3, model=replace(MODEL, xi=0.1)),
        replace(RUN, steps=2, after=replace(RUN, steps=1)),
    ]
    runs = [replace(RUN, steps=2, after=before) for before in befores]
    results = anew(runs)
    assert ensembles[-1] == [(0, 2)] * 4
    for before, result in zip(befores, results, strict=True):
        earlier = anew([before])
        assert result.at(0)["W_O"].equal(earlier[0].final["W_O"])
        assert_same(result, anew([result.run], earlier=earlier)[0])
    # A run by itself, and one after no step at all, are apart.
    alone, after_none = anew([RUN, replace(RUN, after=replace(RUN, steps=0, seed=1))])
    assert not alone.at(0)["W_O"].equal(after_none.at(0)["W_O"])


def test_runs_after_others_of_another_shape_are_refused_and_the_line_names_the_leaf():
    run = replace(RUN, model=replace(MODEL, query_width=8), after=RUN)
    line = r"do not fit: W_Q is \(12, 12\) there, but \(8, 12\) here$"
    with pytest.raises(ValueError, match=line):
        anew([run])


def test_nothing_starts_from_a_run_that_diverged():
    line = f"^run {WILD.id} diverged at step "
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match=line):
        anew([replace(RUN, after=WILD)])


def test_nothing_starts_from_a_run_that_was_stopped_on_the_way():
    stopped = anew([RUN], observe=enough(0, 5), observe_at=Every(stride=5))
    line = (
        f"^run {RUN.id} was stopped at step 5, but the runs after it start where its 10 steps end$"
    )
    with pytest.raises(ValueError, match=line):
        anew([replace(RUN, after=RUN)], earlier=stopped)
    # One that was stopped at its last step has taken all of them.
    at_last = anew([RUN], observe=enough(0, 10), observe_at=Every(stride=5))
    assert at_last[0].ending == Ending(10, "observed")
    (result,) = anew([replace(RUN, after=RUN)], earlier=at_last)
    assert_same(result, anew([result.run])[0])


def test_only_the_runs_asked_for_are_observed():
    seen = []

    def observe(step: int, params: Params) -> dict[str, Tensor]:
        seen.append((step, params["a"].shape[0]))
        return {}

    anew(SECOND, observe=observe, observe_at=At(at=(0, 5)))
    assert seen == [(0, 2), (5, 2)]
