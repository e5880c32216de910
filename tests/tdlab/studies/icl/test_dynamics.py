"""Risks, attention and neurons over training, against plain loops and the theory."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest

from synthetic_tasks import sample
from synthetic_tasks.threefry import stream
from tdlab.studies.icl import dynamics, neurons, training_loss
from tdlab.theory import li2024
from tests.tdlab.studies.icl.naive import ROUNDING, assert_agree, naive
from tests.tdlab.studies.icl.settings import TINY
from tests.tdlab.studies.icl.tables import MEASURED, assert_tidy, number, where


def test_dynamics_has_a_row_for_each_quantity_seed_snapshot_and_task_set(tiny):
    table = dynamics(TINY, tiny)
    assert_tidy(table, "tasks", key=["tasks"])
    measured = where(table, source="measured")
    counts = Counter(measured["quantity"])
    assert counts == dict.fromkeys(MEASURED, len(tiny[0].steps) * 2 * 2)
    assert set(measured["step"]) == set(tiny[0].steps)
    assert set(zip(measured["seed"], measured["run"], strict=True)) == {
        (result.run.seed, result.run.id) for result in tiny
    }


@pytest.mark.parametrize("tasks", ["trained", "unseen"])
def test_dynamics_is_what_a_plain_loop_over_prompts_gives(tiny, tasks):
    table = where(dynamics(TINY, tiny), source="measured", tasks=tasks)
    everything = itertools.permutations(range(6), 2)
    cyclic = [(a, (a + 1) % 6) for a in range(6)]
    pairs = cyclic if tasks == "trained" else [p for p in everything if p not in cyclic]
    task = replace(TINY.task, tasks=tuple(pairs), coverage="violated")
    batch = sample(task, seed=4, size=TINY.prompts)
    for step in (0, tiny[1].steps[-2], 5):
        assert_agree(where(table, seed=4, step=step), naive(tiny[1].at(step), batch))


def test_dynamics_predicts_the_start_and_the_limits(tiny):
    theory = where(dynamics(TINY, tiny), source="theory")
    assert set(theory["tasks"]) == {"unseen"}
    assert len(theory) == 4
    start = number(theory, quantity="concentration", step=0)
    assert start == li2024.initial_concentration(0.7, 0.17, 2.5, 4)
    assert number(theory, quantity="concentration", step=5) == 1.0
    assert number(theory, quantity="hinge", step=5) == 0.0
    assert number(theory, quantity="zero_one", step=5) == 0.0


def test_training_loss_has_every_step_of_every_run(tiny):
    table = training_loss(tiny)
    assert_tidy(table, key=[])
    assert len(table) == 2 * 5
    assert set(table["quantity"]) == {"loss"}
    for result in tiny:
        its_own = where(table, seed=result.run.seed, run=result.run.id).sort_values("step")
        assert its_own["step"].tolist() == [0, 1, 2, 3, 4]
        assert its_own["value"].tolist() == result.loss.double().tolist()


def test_the_first_training_loss_is_the_mean_hinge_of_the_first_training_batch(tiny):
    batch = sample(TINY.task, seed=4, size=TINY.batch, step=0, name="train")
    expected = naive(tiny[1].at(0), batch).hinge
    assert number(training_loss(tiny), seed=4, step=0) == pytest.approx(expected, abs=ROUNDING)


def degrees_between(one, other):
    cosine = one @ other / math.sqrt((one @ one) * (other @ other))
    return math.degrees(math.acos(cosine))


def test_neurons_has_angle_and_norm_of_both_parts_of_every_row(tiny):
    table = neurons(tiny)
    assert_tidy(table, "neuron", "sign", "part", key=["neuron", "part"])
    measured = where(table, source="measured")
    assert len(measured) == 2 * 2 * 2 * len(tiny[0].steps) * 48
    world = TINY.task.world(stream(4, "world"))
    for step, neuron in ((0, 7), (5, 0), (5, 31), (5, 47)):
        params = {name: leaf.double().numpy() for name, leaf in tiny[1].at(step).items()}
        row, sign = params["W_O"][neuron] @ params["W_V"], math.copysign(1, params["a"][neuron])
        here = where(measured, seed=4, step=step, neuron=neuron)
        feature, label = (where(here, part=part) for part in ("feature", "label"))
        assert set(here["sign"]) == {sign}
        mean_pattern = world.relevant.numpy().mean(0)
        # 1e-3 degrees are 2e-5 of a unit vector: float32 on either side.
        assert number(feature, quantity="angle") == pytest.approx(
            degrees_between(row[:30], mean_pattern), abs=1e-3
        )
        assert number(label, quantity="angle") == pytest.approx(
            degrees_between(row[30:], sign * world.label.numpy()), abs=1e-3
        )
        for part, piece in ((feature, row[:30]), (label, row[30:])):
            assert number(part, quantity="norm") == pytest.approx(math.hypot(*piece), rel=1e-5)


def test_neurons_are_predicted_to_point_along_both_directions(tiny):
    theory = where(neurons(tiny), source="theory")
    assert theory[["quantity", "part", "step", "value"]].to_numpy().tolist() == [
        ["angle", "feature", 5, 0.0],
        ["angle", "label", 5, 0.0],
    ]
