import math
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from synthetic_tasks import InContextClassification, OutOfDomain, sample
from synthetic_tasks.threefry import stream
from tdlab.models import OneLayer, Params, PolyNorm, Transformer
from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.run import Run
from tdlab.schedule import At, Every
from tdlab.train import Training, training
from tdlab.trajectory import Ending
from tests.tdlab.members import MEMBERS, MODEL, RUN, TASK, assert_same, fit, member

ROOT = Path(__file__).parents[2]


# What a step does.


def by_hand(run: Run) -> tuple[list[Params], list[float]]:
    """The plain loop: one model, autograd, an optimiser of torch, every sum written out."""
    start = run.model.init(stream(run.seed, "init"))
    params = {name: leaf.clone().requires_grad_(name != "a") for name, leaf in start.items()}
    moving = [params[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    assert isinstance(run.optimiser, SGD | Adam)
    theirs = torch.optim.SGD if isinstance(run.optimiser, SGD) else torch.optim.Adam
    optimiser = theirs(moving, lr=run.optimiser.lr)
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
        for name, since in run.frozen:
            if step >= since:
                params[name].grad = None  # torch leaves it alone
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


@pytest.mark.parametrize("optimiser", [SGD(lr=0.7), Adam(lr=0.03)], ids=["SGD", "Adam"])
def test_a_parameter_is_frozen_from_a_step_in_some_members_and_the_others_go_on(optimiser):
    run = replace(RUN, optimiser=optimiser, steps=6, snapshots=Every(stride=1))
    some = run.frozen_from(2, "W_Q", "W_O").frozen_from(4, "W_V")
    runs = [run, some, replace(run, seed=8).frozen_from(0, "W_Q")]
    _, snapshots = fit(runs)
    for place, its in enumerate(runs):
        for snapshot, params in zip(snapshots, by_hand(its)[0], strict=True):
            torch.testing.assert_close(member(snapshot.params, place), params, rtol=0, atol=1e-12)
    at = [snapshot.params for snapshot in snapshots]
    for name, step in some.frozen:
        assert all(params[name][1].equal(at[step][name][1]) for params in at[step:])
        assert not at[step][name][1].equal(at[step - 1][name][1])
    (_, *_, alone) = fit([some])[1]
    assert_same(member(at[-1], 1), member(alone.params, 0))


def test_the_gradient_of_a_frozen_parameter_does_not_count_towards_a_step_size():
    """In an ensemble it is computed all the same, because it moves in other members."""
    run = replace(RUN, optimiser=Backtracking(lr=32.0), steps=3)
    frozen = run.frozen_from(0, "W_O", "W_V")
    _, (*_, both) = fit([run, frozen])
    _, (*_, alone) = fit([frozen])
    torch.testing.assert_close(member(both.params, 1), member(alone.params, 0), rtol=0, atol=1e-12)
    assert not alone.params["W_Q"][0].allclose(both.params["W_Q"][0])


def checksum(leaf: Tensor) -> float:
    return float((leaf.flatten() * torch.arange(leaf.numel()).cos()).sum())


def first_step(run: Run) -> tuple[float, dict[str, float]]:
    """The first loss of a run of SGD, and a checksum of each gradient."""
    assert isinstance(run.optimiser, SGD)
    training, (before, after) = fit([replace(run, steps=1, snapshots=At(at=(0, 1)))])
    steps = {name: (before.params[name] - after.params[name])[0] for name in run.moving}
    gradient = {name: checksum(step) / run.optimiser.lr for name, step in steps.items()}
    return training.loss[0, 0].item(), gradient


def test_the_first_step_of_the_default_run_is_what_it_was():
    """Raise the revision of what changed its meaning, then write the new numbers here."""
    run = Run(task=InContextClassification(), model=OneLayer(), dtype="float64")
    loss, gradient = first_step(run)
    assert loss == pytest.approx(0.9994835892529162, rel=1e-6)
    assert gradient == pytest.approx(
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
    single, _ = first_step(replace(run, dtype="float32"))
    assert single == pytest.approx(0.9994835892529162, abs=1e-6)


def test_the_first_step_of_a_transformer_is_what_it_was():
    """As above. Wide initialization, so that every gradient is well above rounding."""
    model = Transformer(hidden=32, activation=PolyNorm(), xi=0.3)
    loss, gradient = first_step(
        Run(task=InContextClassification(), model=model, batch=12, dtype="float64")
    )
    assert loss == pytest.approx(1.7157856239347948, rel=1e-6)
    was = {
        "E": 1.3463375384679548,
        "P": -0.16064068177938157,
        "W_Q": 1.849628297102989,
        "W_O": -7.752208584122948,
        "gain_1": -1.8104862420903192,
        "W_1": 0.21535256868823463,
        "phi": 0.011873261207229075,
        "U": -0.7736572520269821,
    }
    assert {name: gradient[name] for name in was} == pytest.approx(was, rel=1e-6)


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


def test_training_warns_of_nothing_when_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit([RUN])


# The compiled path.


def test_the_work_is_compiled_where_it_is_long_enough_to_pay_and_there_is_a_compiler(monkeypatch):
    numbers = RUN.batch * TASK.columns * TASK.token_width
    monkeypatch.setattr(training, "_COMPILE_PAYS", 60_000 * numbers)
    long = [replace(RUN, seed=seed, steps=30_000) for seed in range(2)]
    monkeypatch.setattr(training.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert Training(long).path == "compiled"
    assert Training(long, path="eager").path == "eager"
    assert Training(long[:1]).path == "eager"
    assert Training([RUN], path="compiled").path == "compiled"
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    assert Training(long).path == "eager"


COMPILED = """
import sys, warnings
from dataclasses import replace
import torch
from synthetic_tasks import InContextClassification
from tdlab.models import OneLayer
from tdlab.optimisers import SGD
from tdlab.train.program import programs
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
