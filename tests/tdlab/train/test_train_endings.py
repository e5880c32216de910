"""How the training of a member ends: with its steps, when it is told to, or by diverging."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tdlab.models import Params
from tdlab.optimisers import SGD
from tdlab.schedule import At, Every
from tdlab.trajectory import Ending
from tests.tdlab.members import MEMBERS, RUN, assert_same, fit, member

DIVERGING = {"by a large loss": 1e4, "by a NaN loss": 1e160, "in its first update": math.inf}


# Observing, and stopping what has been trained enough.


def test_observe_sees_step_and_stacked_parameters_at_its_steps_and_its_numbers_are_kept():
    seen = {}

    def observe(step: int, params: Params) -> dict[str, Tensor]:
        seen[step] = params
        return {"norm": params["W_O"].norm(dim=(1, 2)), "first": params["W_K"][:, 0]}

    every = fit([replace(run, snapshots=Every(stride=1)) for run in MEMBERS])[1]
    training, snapshots = fit(MEMBERS, observe=observe, observe_at=At(at=(0, 5, 7, 12)))
    assert list(seen) == list(training.observed) == [0, 5, 7, 12]
    for step, params in seen.items():
        assert_same(params, every[step].params)
        assert set(training.observed[step]) == {"norm", "first"}
        assert training.observed[step]["norm"].equal(params["W_O"].norm(dim=(1, 2)))
    assert [snapshot.step for snapshot in snapshots] == [0, 4, 8, 12]
    assert_same(snapshots[-1].params, every[-1].params)


def test_observe_looks_when_snapshots_are_taken_unless_told_otherwise():
    training, _ = fit([RUN], observe=lambda step, params: {"a": params["a"][:, 0]})
    assert list(training.observed) == [0, 4, 8, 12]


def stopping(place: int, at: int, count: int = 4):
    """An observation that has enough of one member from some step on."""

    def observe(step: int, params: Params) -> dict[str, Tensor]:
        enough = torch.zeros(count, dtype=torch.bool)
        enough[place] = step >= at
        return {"stop": enough, "norm": params["W_O"].norm(dim=(1, 2))}

    return observe


def test_stop_ends_that_member_only():
    runs = [replace(run, snapshots=Every(stride=1)) for run in MEMBERS]
    free, unstopped = fit(runs)
    training, snapshots = fit(runs, observe=stopping(1, 5), observe_at=Every(stride=1))
    assert training.endings == [Ending(12, "finished"), Ending(5, "observed"), *free.endings[2:]]
    assert training.loss[1, :5].equal(free.loss[1, :5])
    assert training.loss[1, 5:].isnan().all()
    assert all("stop" not in numbers for numbers in training.observed.values())
    for snapshot in snapshots:
        frozen = min(snapshot.step, 5)
        assert_same(member(snapshot.params, 1), member(unstopped[frozen].params, 1))
        for place in (0, 2, 3):
            assert_same(
                member(snapshot.params, place), member(unstopped[snapshot.step].params, place)
            )
    for place in (0, 2, 3):
        assert training.loss[place].equal(free.loss[place])


def test_training_ends_when_every_member_was_stopped():
    steps = []

    def observe(step: int, params: Params) -> dict[str, Tensor]:
        steps.append(step)
        return {"stop": torch.tensor([step >= 2, step >= 6])}

    training, snapshots = fit(
        [replace(run, snapshots=Every(stride=2)) for run in MEMBERS[:2]],
        observe=observe,
        observe_at=Every(stride=2),
    )
    assert training.endings == [Ending(2, "observed"), Ending(6, "observed")]
    assert steps == [0, 2, 4, 6]
    assert [snapshot.step for snapshot in snapshots] == [0, 2, 4, 6]
    assert training.loss.isfinite().sum(1).tolist() == [2, 6]


# Diverging.


@pytest.mark.parametrize("lr", DIVERGING.values(), ids=DIVERGING)
def test_a_member_that_diverges_stops_says_so_and_leaves_the_others_alone(lr):
    diverging = replace(RUN, seed=5, snapshots=Every(stride=1))
    # An infinite rate is refused in a description, so it is put where the step reads it.
    object.__setattr__(diverging, "optimiser", SGD(lr=0.2))
    object.__setattr__(diverging.optimiser, "lr", lr)
    others = [replace(run, snapshots=Every(stride=1)) for run in (MEMBERS[1], MEMBERS[2])]
    with pytest.warns(RuntimeWarning) as caught:
        training, snapshots = fit([others[0], diverging, others[1]])
    (ending,) = {ending for ending in training.endings if ending.reason != "finished"}
    assert training.endings[1] is ending
    assert ending.reason == "diverged"
    assert ending.step < 12
    (warning,) = caught
    assert str(warning.message).startswith(
        f"run {diverging.id} (seed 5) diverged at step {ending.step}: training loss "
    )
    last = training.loss[1, ending.step]
    assert str(warning.message).endswith(f" {last.item():.3g}")
    assert training.loss[1, : ending.step].isfinite().all()
    assert training.loss[1, ending.step + 1 :].isnan().all()
    assert {1e4: 1e8 < last < math.inf, 1e160: last.isnan(), math.inf: ending.step == 0}[lr]
    for snapshot in snapshots:
        assert all(leaf.isfinite().all() for leaf in snapshot.params.values())
        frozen = snapshots[min(snapshot.step, ending.step)].params
        assert_same(member(snapshot.params, 1), member(frozen, 1))
    alone, undisturbed = fit(others)
    for place, its in ((0, 0), (2, 1)):
        assert training.loss[place].equal(alone.loss[its])
        assert_same(member(snapshots[-1].params, place), member(undisturbed[-1].params, its))


def test_a_loss_up_to_the_limit_is_no_divergence():
    wild = replace(RUN, optimiser=SGD(lr=1e4), steps=5)
    with pytest.warns(RuntimeWarning):
        ended = fit([wild])[0].endings[0].step
    tame, _ = fit([replace(wild, steps=ended)])
    assert tame.endings == [Ending(ended, "finished")]
    assert tame.loss.max() > 100


def test_a_member_that_diverged_is_not_stopped_once_more():
    wild = replace(RUN, optimiser=SGD(lr=1e4))
    with pytest.warns(RuntimeWarning):
        training, _ = fit([RUN, wild], observe=stopping(1, 8, 2), observe_at=At(at=(8,)))
    assert training.endings[0] == Ending(12, "finished")
    assert training.endings[1].reason == "diverged"
    assert training.endings[1].step < 8
