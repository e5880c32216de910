"""Trainings that start where others ended."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from tdlab.optimisers import Adam
from tdlab.schedule import Every
from tdlab.train import Training
from tests.tdlab.members import MEMBERS, RUN, assert_same, fit


def test_two_runs_one_after_the_other_are_the_run_of_all_their_steps():
    whole, snapshots = fit([replace(run, snapshots=Every(stride=1)) for run in MEMBERS])
    earlier = [replace(run, steps=7) for run in MEMBERS]
    first, _ = fit(earlier)
    runs = [
        replace(run, steps=5, after=before, snapshots=Every(stride=1))
        for run, before in zip(MEMBERS, earlier, strict=True)
    ]
    second, later = fit(runs, start=first.params)
    # Between the two they leave their coordinates and come back into them, which rounds.
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-14)
    close(torch.cat([first.loss, second.loss], dim=1), whole.loss)
    assert [snapshot.step for snapshot in later] == [0, 1, 2, 3, 4, 5]
    for snapshot in later:
        close(snapshot.params, snapshots[7 + snapshot.step].params)


def test_the_optimiser_starts_anew():
    earlier = replace(RUN, optimiser=Adam(), steps=7)
    first, _ = fit([earlier])
    run = replace(earlier, after=earlier, steps=1, snapshots=Every(stride=1))
    _, (before, after) = fit([run], start=first.params)
    assert before.state["t"]["t"].tolist() == [0]
    assert all(leaf.count_nonzero() == 0 for leaf in before.state["m"].values())
    # So its first step has length lr in every coordinate whose gradient is well above eps.
    step = (after.params["W_O"] - before.params["W_O"]).abs().max().item()
    assert step == pytest.approx(1e-3, rel=1e-4)


def test_what_did_not_move_before_may_move_after_and_in_another_dtype():
    first, _ = fit([replace(RUN, trained=("W_O",))])
    run = replace(RUN, after=RUN, trained=("a", "W_V"), dtype="float32")
    _, (before, *_, after) = fit([run], start=first.params)
    for name, leaf in before.params.items():
        assert leaf.dtype == torch.float32
        assert leaf.equal(first.params[name].float())
        assert leaf.equal(after.params[name]) == (name not in ("a", "W_V"))


def test_a_training_leaves_the_parameters_it_starts_from_as_they_are():
    first, _ = fit(MEMBERS)
    before = {name: leaf.clone() for name, leaf in first.params.items()}
    fit([replace(run, after=run) for run in MEMBERS], start=first.params)
    assert_same(first.params, before)


def test_parameters_to_start_from_are_given_exactly_to_runs_after_others():
    after = replace(RUN, after=RUN)
    params = fit([RUN])[0].params
    line = (
        f"^run {after.id} starts after another, so start must hold the parameters it starts from$"
    )
    with pytest.raises(ValueError, match=line):
        Training([after])
    line = f"^run {RUN.id} starts by itself, so start must be None$"
    with pytest.raises(ValueError, match=line):
        Training([RUN], start=params)
    for runs in ([RUN, after], [after, RUN], [RUN, replace(RUN, after=replace(RUN, steps=0))]):
        with pytest.raises(ValueError, match=r"^runs .* differ in more than an ensemble"):
            Training(runs, start=params)


def test_parameters_that_do_not_fit_are_refused_and_the_line_names_the_leaf():
    params, after = fit([RUN])[0].params, replace(RUN, after=RUN)
    without = {name: leaf for name, leaf in params.items() if name != "W_O"}
    wrong = [
        ({**params, "W_V": params["W_V"][:, :9]}, r"W_V is \(9, 12\) there, but \(10, 12\) here"),
        (without, r"W_O is missing there, but \(6, 10\) here"),
        ({**params, "c": params["a"][:, :4]}, r"c is \(4,\) there, but missing here"),
    ]
    for start, line in wrong:
        with pytest.raises(ValueError, match=f"^the runs start .* do not fit: {line}$"):
            fit([after], start=start)
