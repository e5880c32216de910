import io
import math
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from synthetic_tasks import FullBatch, InContextClassification, OutOfDomain, TokenRegression, sample
from synthetic_tasks.threefry import stream
from tdlab import progress, train
from tdlab.ensemble import Members, data, worlds
from tdlab.ensemble import start as members_of
from tdlab.models import KernelLayer, OneLayer, Params
from tdlab.optimisers import SGD, Adam
from tdlab.run import Run
from tdlab.schedule import At, Every
from tdlab.train import Ending, Snapshot, Training

ROOT = Path(__file__).parents[2]
TASK = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
MODEL = OneLayer(width=9, label_width=3, neurons=6, query_width=8, value_width=10, xi=0.3)
RUN = Run(
    task=TASK, model=MODEL, batch=9, steps=12, dtype="float64", snapshots=Every(stride=4), seed=3
)
# An ensemble whose members differ in whatever members may differ in.
MEMBERS = [
    RUN,
    replace(RUN, seed=8, optimiser=SGD(lr=0.7)),
    replace(RUN, seed=2**40, task=replace(TASK, alpha=0.3, beta=1.9, kappa=0.1)),
    replace(RUN, model=replace(MODEL, delta=0.13, xi=0.1), optimiser=SGD(lr=0)),
]
DIVERGING = {"by a large loss": 1e4, "by a NaN loss": 1e160, "in its first update": math.inf}


def fit(runs: list[Run], **settings: Any) -> tuple[Training, list[Snapshot]]:
    training = Training(runs, path="eager", **settings)
    return training, list(training)


def assert_same(one: Params, other: Params) -> None:
    assert set(one) == set(other)
    assert all(one[name].equal(other[name]) for name in one)


def member(params: Params, place: int) -> Params:
    return {name: leaf[place] for name, leaf in params.items()}


# What a step does.


def by_hand(run: Run) -> tuple[list[Params], list[float]]:
    """The plain loop: one model, autograd, torch's own SGD, every sum of the model written out."""
    start = run.model.init(stream(run.seed, "init"))
    params = {name: leaf.clone().requires_grad_(name != "a") for name, leaf in start.items()}
    moving = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    assert isinstance(run.optimiser, SGD)
    optimiser = torch.optim.SGD(moving, lr=run.optimiser.lr)
    passed, losses = [], []
    for step in range(run.steps + 1):
        passed.append({name: leaf.detach().clone() for name, leaf in params.items()})
        batch = sample(
            run.task, seed=run.seed, size=run.batch, step=step, name="train", dtype=torch.float64
        )
        context, query = batch.prompt[:, :-1], batch.prompt[:, -1]
        keys = torch.einsum("ad, bld -> bla", params["W_K"], context)
        wanted = torch.einsum("ad, bd -> ba", params["W_Q"], query)
        attention = torch.einsum("bla, ba -> bl", keys, wanted).softmax(-1)
        values = torch.einsum("vd, bld -> blv", params["W_V"], context)
        neurons = torch.einsum("mv, blv, bl -> bm", params["W_O"], values, attention).relu()
        output = torch.einsum("m, bm -> b", params["a"], neurons)
        loss = torch.relu(1 - batch.target * output).sum() / run.batch
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return passed, losses[:-1]


def test_an_ensemble_takes_the_steps_of_a_plain_loop_with_autograd_and_torchs_sgd():
    runs = [replace(run, steps=4, snapshots=Every(stride=1)) for run in MEMBERS]
    training, snapshots = fit(runs)
    for place, run in enumerate(runs):
        passed, losses = by_hand(run)
        # Sums in another order: a few roundings of 1e-16 a step, on numbers up to 1.
        for snapshot, params in zip(snapshots, passed, strict=True):
            torch.testing.assert_close(member(snapshot.params, place), params, rtol=0, atol=1e-12)
        assert training.loss[place].tolist() == pytest.approx(losses, abs=1e-12)
        assert run.optimiser == SGD(lr=0) or not passed[0]["W_Q"].allclose(passed[-1]["W_Q"])


def checksum(leaf: Tensor) -> float:
    return float((leaf.flatten() * torch.arange(leaf.numel()).cos()).sum())


def test_the_first_step_of_the_default_run_is_what_it_was():
    """Raise the revision of what changed its meaning, then write the new numbers here."""
    default = Run(task=InContextClassification(), model=OneLayer())
    run = replace(default, dtype="float64", steps=1, snapshots=At(at=(0, 1)))
    training, (before, after) = fit([run])
    gradient = {name: (before.params[name] - after.params[name])[0] / 0.1 for name in run.moving}
    assert training.loss[0, 0].item() == pytest.approx(0.9994835892529162, rel=1e-6)
    assert {name: checksum(leaf) for name, leaf in gradient.items()} == pytest.approx(
        {
            "W_Q": -0.0006549088071099688,
            "W_K": -0.0013209551396225596,
            "W_V": -0.0007194210848168797,
            "W_O": 0.010545792289969963,
        },
        rel=1e-6,
    )
    batch = sample(run.task, seed=0, size=100, name="train", dtype=torch.float64)
    assert checksum(batch.prompt) == pytest.approx(12.269687669823362, rel=1e-6)
    single, _ = fit([replace(run, dtype="float32")])
    assert single.loss[0, 0].item() == pytest.approx(0.9994835892529162, abs=1e-6)


@pytest.mark.parametrize("trained", [("W_O",), ("W_V", "W_K"), ("a",)])
def test_only_the_parameters_in_trained_move(trained):
    _, (first, *_, last) = fit([replace(run, trained=trained) for run in MEMBERS[:3]])
    for name in first.params:
        for place in range(3):
            moved = not first.params[name][place].equal(last.params[name][place])
            assert moved == (name in trained)


def test_by_default_the_models_choice_moves_and_a_stays():
    _, (first, *_, last) = fit(MEMBERS[:3])
    assert first.params["a"].equal(last.params["a"])
    assert all(
        not member(first.params, place)[name].allclose(member(last.params, place)[name])
        for name in MODEL.moving
        for place in range(3)
    )


def test_adam_trains_with_its_own_scalars():
    runs = [
        replace(run, optimiser=Adam(lr=lr, beta1=beta1))
        for run, lr, beta1 in zip(MEMBERS, (1e-3, 1e-2, 3e-3, 0), (0.9, 0.5, 0, 0.9), strict=True)
    ]
    _, together = fit(runs)
    for place, run in enumerate(runs):
        assert_same(member(together[-1].params, place), member(fit([run])[1][-1].params, 0))
    # Adam's first step has length lr in every coordinate whose gradient is well above eps.
    _, (before, after) = fit([replace(run, steps=1, snapshots=Every(stride=1)) for run in runs])
    step = (after.params["W_O"] - before.params["W_O"]).abs().amax(dim=(1, 2))
    torch.testing.assert_close(step.tolist(), [1e-3, 1e-2, 3e-3, 0.0], rtol=1e-4, atol=0)


def test_another_loss_is_another_training():
    losses = {
        name: fit([replace(RUN, loss=name, steps=2)])[0].loss for name in ("hinge", "logistic")
    }
    assert losses["logistic"][0, 0] == pytest.approx(math.log(2), abs=0.2)
    assert losses["hinge"][0, 0] == pytest.approx(1, abs=0.3)


# What is recorded, and when.


def test_every_loss_of_every_member_is_recorded():
    training, _ = fit(MEMBERS)
    assert training.loss.shape == (4, 12)
    assert training.loss.dtype == torch.float64
    assert training.loss.isfinite().all()
    assert len(training.loss.unique()) == 48
    assert training.endings == [Ending(12, "finished")] * 4


@pytest.mark.parametrize(
    "schedule", [Every(stride=5), At(at=(0, 3, 11)), At(at=(4,)), Every(stride=1)]
)
def test_snapshots_are_taken_exactly_on_schedule(schedule):
    every = fit([replace(RUN, snapshots=Every(stride=1))])[1]
    _, snapshots = fit([replace(RUN, snapshots=schedule)])
    assert tuple(snapshot.step for snapshot in snapshots) == schedule.steps(12)
    for snapshot in snapshots:
        assert_same(snapshot.params, every[snapshot.step].params)


def test_step_zero_is_the_init():
    _, (first, *_) = fit(MEMBERS)
    for place, run in enumerate(MEMBERS):
        assert_same(member(first.params, place), run.model.init(stream(run.seed, "init")))


def test_a_training_of_no_steps_is_its_init():
    training, (only,) = fit([replace(RUN, steps=0)])
    assert_same(member(only.params, 0), MODEL.init(stream(3, "init")))
    assert training.loss.shape == (1, 0)


def test_a_short_training_is_the_start_of_a_long_one():
    short, long = (fit([replace(run, steps=steps) for run in MEMBERS]) for steps in (8, 12))
    assert short[0].loss.equal(long[0].loss[:, :8])
    for one, other in zip(short[1], long[1], strict=False):
        assert_same(one.params, other.params)


def test_a_member_out_of_domain_can_be_trained_too():
    task = OutOfDomain(trained=replace(TASK, relevant=6, irrelevant=3 + 4))
    model = replace(MODEL, width=13)
    runs = [replace(RUN, task=replace(task, outside=r), model=model) for r in (0, 0.4)]
    together, _ = fit(runs)
    assert together.loss[1].equal(fit(runs[1:])[0].loss[0])


def test_no_generator_is_used_or_stored():
    before = torch.get_rng_state()
    _, snapshots = fit(MEMBERS)
    _, with_state = fit([replace(RUN, optimiser=Adam())])
    assert torch.get_rng_state().equal(before)
    assert all(snapshot.state == {} for snapshot in snapshots)
    assert set(with_state[-1].state) == {"m", "v", "t"}
    assert with_state[-1].state["t"]["t"].tolist() == [12]


# Worlds that members share.


def test_what_all_members_share_is_kept_once():
    seeds = [1, 1, 1]
    tasks = [replace(TASK, alpha=alpha) for alpha in (0.2, 0.5, 0.9)]
    made = worlds(tasks, seeds, torch.float64)
    assert made.axes == type(made.world)(None, None, None, None, 0, None)
    assert made.world.alpha.tolist() == [0.2, 0.5, 0.9]
    assert made.world.relevant.shape == (4, 9)
    own = worlds([TASK] * 2, [1, 2], torch.float64)
    assert own.axes == type(made.world)(0, 0, 0, None, None, None)


def test_the_optimisers_scalars_and_the_keys_have_a_member_axis():
    its, axes = data(MEMBERS, torch.device("cpu"))
    assert its.scalars["lr"].tolist() == [0.1, 0.7, 0.1, 0]
    assert its.key.equal(torch.stack([stream(run.seed, "train") for run in MEMBERS]))
    assert axes.key == 0
    assert axes.scalars == {"lr": 0}


def test_members_start_in_the_dtype_of_their_runs():
    started = members_of([replace(RUN, dtype="float32")], torch.device("cpu"))
    assert isinstance(started, Members)
    assert {leaf.dtype for leaf in started.params.values()} == {torch.float32}


# Starting where others ended.


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


# Bad input.


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"device": "tpu"}, "device is 'tpu', but must be one of cpu, cuda"),
        ({"path": "fast"}, "path is 'fast', but must be one of auto, eager, compiled"),
    ],
)
def test_an_unknown_setting_is_refused_by_naming_the_known_ones(settings, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        Training([RUN], **settings)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=r"^device is 'cuda', but torch sees no CUDA .* use 'cpu'$"
    ):
        Training([RUN], device="cuda")


@pytest.mark.parametrize("trained", [("W_X",), ("W_O", "W_X"), ()])
def test_unknown_parameters_are_refused_by_naming_the_known_ones(trained):
    with pytest.raises(
        ValueError, match=r"^trained is \(.*must name some of W_K, W_O, W_Q, W_V, a$"
    ):
        fit([replace(RUN, trained=trained)])


def test_runs_of_different_programs_are_no_ensemble():
    other = replace(RUN, task=replace(TASK, length=8))
    with pytest.raises(ValueError, match=f"^runs {RUN.id} and {other.id} differ .*sweep.trained"):
        Training([RUN, MEMBERS[1], other])
    with pytest.raises(ValueError, match=r"^there are no runs"):
        Training([])


def test_outputs_of_another_shape_than_the_targets_are_refused_and_not_broadcast():
    task = FullBatch(of=TokenRegression(samples=3, tokens=2, width=5, outputs=3))
    model = KernelLayer(width=5, heads=2, outputs=1)
    line = (
        r"^the model's outputs have shape \(3, 2, 1\) on a batch, but the task's targets "
        r"\(3, 2, 3\)$"
    )
    with pytest.raises(ValueError, match=line):
        fit([Run(task=task, model=model, loss="token_squared", batch=3, steps=2)])


@pytest.mark.parametrize("batch", [1, 9])
def test_a_loss_that_is_not_one_number_a_prompt_is_refused_in_one_line(batch):
    # The squared loss sums over the last axis, which with one output a prompt is the prompts.
    run = replace(RUN, loss="squared", batch=batch)
    line = (
        rf"^loss 'squared' has shape \(\) on a batch of {batch}, but must be one number a prompt; "
        r"try another of hinge, logistic, squared, token_squared with this model$"
    )
    with pytest.raises(ValueError, match=line):
        fit([run])
    for loss in ("hinge", "logistic"):
        assert fit([replace(run, loss=loss)])[0].loss.isfinite().all()


# The compiled path.


def test_the_work_is_compiled_where_it_is_long_enough_to_pay_and_there_is_a_compiler(monkeypatch):
    numbers = RUN.batch * TASK.columns * TASK.token_width
    monkeypatch.setattr(train, "_COMPILE_PAYS", 60_000 * numbers)
    long = [replace(RUN, seed=seed, steps=30_000) for seed in range(2)]
    monkeypatch.setattr(train.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert Training(long).path == "compiled"
    assert Training(long, path="eager").path == "eager"
    assert Training(long[:1]).path == "eager"
    assert Training([RUN], path="compiled").path == "compiled"
    monkeypatch.setattr(train.shutil, "which", lambda name: None)
    assert Training(long).path == "eager"


COMPILED = """
import sys, warnings
from dataclasses import replace
import torch
from synthetic_tasks import InContextClassification
from tdlab.models import OneLayer
from tdlab.optimisers import SGD
from tdlab.program import programs
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.train import Training
dtype, tolerance = sys.argv[1], float(sys.argv[2])
task = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
model = OneLayer(width=9, label_width=3, neurons=6, xi=0.3)
base = Run(task=task, model=model, batch=9, steps=20, dtype=dtype, snapshots=At(at=(1, 20)))
runs = [
    replace(base, seed=4),
    replace(base, seed=5, optimiser=SGD(lr=0.6), task=replace(task, alpha=0.4, beta=2.1)),
    replace(base, seed=6, optimiser=SGD(lr=1e6)),
]
warnings.simplefilter("ignore", RuntimeWarning)
both = []
for path in ("eager", "compiled"):
    training = Training(runs, path=path)
    assert training.path == path
    both.append((list(training), training))
(eager, one), (compiled, other) = both
assert len(list(programs().glob("*.so"))) == 3, "not three compiled programs"
assert one.endings == other.endings and one.endings[2].reason == "diverged", other.endings
torch.testing.assert_close(one.loss[:2], other.loss[:2], rtol=0, atol=tolerance)
for a, b in zip(eager, compiled, strict=True):
    for name in a.params:  # a diverging member amplifies any rounding
        left, right = a.params[name][:2], b.params[name][:2]
        torch.testing.assert_close(left, right, rtol=0, atol=tolerance)
print("equal")
"""


@pytest.mark.slow  # half a minute of compiler for each
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-5)])
def test_the_compiled_path_is_the_eager_one(dtype, tolerance, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, dtype, str(tolerance)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TDLAB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr


# The progress line.


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("tqdm.std.time", clock := Clock())
    return clock


class Log(io.StringIO):
    """A file in memory, with all that ``typing.IO`` asks of one."""

    mode, name = "w", "log"


@pytest.fixture
def log():
    return Log()


def written(log: io.StringIO) -> list[str]:
    return [line for line in log.getvalue().split("\r") if line.strip()]


def test_long_work_leaves_a_line_now_and_then_in_a_log(clock, log):
    with progress.bar(100, "training 3 members", unit="step", out=log) as bar:
        for _ in range(50):
            clock.now += 1
            bar.update()
        lines = written(log)
    assert 1 <= len(lines) <= 3
    assert "training 3 members" in lines[-1]
    assert "/100" in lines[-1]
    assert "".join(lines).isascii()


def test_short_work_leaves_no_line_in_a_log(clock, log):
    with progress.bar(100, "training", unit="step", out=log) as bar:
        for _ in range(100):
            clock.now += 0.1
            bar.update()
    assert not written(log)


def test_a_terminal_sees_a_bar_at_once(monkeypatch, clock, log):
    monkeypatch.setattr(log, "isatty", lambda: True)
    with progress.bar(10, "training", unit="step", out=log) as bar:
        clock.now += 1
        bar.update()
        assert "1/10" in written(log)[-1]


def test_training_moves_the_progress_line_by_one_for_each_step_of_each_member(monkeypatch, log):
    bars = []

    def bar(total, label, *, unit):
        bars.append(progress.bar(total, label, unit=unit, out=log))
        return bars[-1]

    monkeypatch.setattr(train, "bar", bar)
    fit(MEMBERS[:2])
    (only,) = bars
    assert (only.total, only.n, only.desc) == (24, 24, "training 2 members")


def test_training_warns_of_nothing_when_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit([RUN])
