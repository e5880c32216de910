"""The engine: however it draws and whatever it traces, an ensemble goes the same way, bit for bit.

What runs directly, one step at a time, is the reference; ``test_train`` holds that against a plain
loop.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from synthetic_tasks import FullBatch, InContextClassification, Reasoning, TokenRegression
from tdlab.models import KernelLayer, OneHead, OneLayer, Params
from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.run import Run
from tdlab.train import engine
from tdlab.train.engine import COMPILED, Engine
from tdlab.train.ensemble import MOVING
from tdlab.train.program import Traced, direct
from tests.tdlab.train.tensors import assert_same

CPU = torch.device("cpu")
STEPS = 7
ICL = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
LAYER = OneLayer(width=9, label_width=3, neurons=6, query_width=8, value_width=10, xi=0.3)
POOL = TokenRegression(samples=6, tokens=3, width=5)
ONE_LAYER = Run(task=ICL, model=LAYER, loss="logistic", batch=9, dtype="float64", steps=STEPS)
MINI_BATCH = replace(
    ONE_LAYER, task=POOL, model=KernelLayer(width=5, heads=2), loss="token_squared", batch=4
)
RUNS = {
    "in coordinates": ONE_LAYER,
    "in single precision": replace(ONE_LAYER, dtype="float32"),
    "one head": replace(
        ONE_LAYER,
        task=Reasoning(width=9, patterns=4, steps=2, length=3),
        model=OneHead(width=9, xi=0.3),
        loss="squared",
        batch=16,
    ),
    "from a pool": MINI_BATCH,
    "the whole pool, backtracking": replace(
        MINI_BATCH, task=FullBatch(of=POOL), batch=6, optimiser=Backtracking()
    ),
    "in tokens, with Adam": replace(ONE_LAYER, optimiser=Adam(lr=0.01)),
}
LEAVES = 6  # of the members of ``ONE_LAYER``: its parameters, and where they ended
DRAWING = [name for name, run in RUNS.items() if run.task.uniforms]


@pytest.fixture(autouse=True)
def new_process():
    """No program is left from another test."""
    engine.forget()
    yield
    engine.forget()


@pytest.fixture
def tracing(monkeypatch):
    """Has everything traced, however few steps there are; lists who made what was traced."""

    def by(trace: Any) -> list[str]:
        made: list[str] = []

        def noting(function: Any, *examples: Any) -> Any:
            made.append(function.__qualname__.partition(".")[0])
            return trace(function, *examples)

        monkeypatch.setattr(engine, "_TRACE_LEARNING", 0)
        monkeypatch.setattr(engine, "_TRACE_DRAWING", 0)
        monkeypatch.setattr(engine, "Traced", noting)
        return made

    return by


@pytest.fixture
def traces(tracing):
    """What was traced."""
    return tracing(Traced)


@pytest.fixture
def asked(tracing):
    """What would have been traced; it runs directly, which takes less time."""
    return tracing(direct)


@pytest.fixture
def blocks(monkeypatch):
    """The numbers of the steps that chance is asked for, block by block."""
    asked: list[list[int]] = []
    plain = engine.chance

    def noting(run: Run) -> Any:
        of_run = plain(run)

        def chance(data: Any, numbers: Tensor) -> Tensor:
            asked.append(numbers.tolist())
            return of_run(data, numbers)

        return chance

    monkeypatch.setattr(engine, "chance", noting)
    return asked


def ensemble(run: Run, seeds: Sequence[int] = (3, 8, 2**40)) -> list[Run]:
    """Members that differ in their seed and their learning rate."""
    assert isinstance(run.optimiser, SGD | Adam | Backtracking)
    rate = run.optimiser.lr
    return [
        replace(run, seed=seed, optimiser=replace(run.optimiser, lr=rate / (1 + place)))
        for place, seed in enumerate(seeds)
    ]


def way(its: Engine, first: int = 0, steps: int = STEPS) -> list[Tensor]:
    """All losses, parameters, states and endings that an ensemble passes."""
    passed = tree_leaves(its.members)
    for step in range(first, first + steps):
        passed += [its.step(step), *tree_leaves(its.members)]
    return passed


def directly(runs: Sequence[Run]) -> list[Tensor]:
    """The way of these runs where nothing is traced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_TRACE_LEARNING", STEPS + 1)
        patch.setattr(engine, "_TRACE_DRAWING", 1 << 30)
        return way(Engine(runs, CPU, "eager"))


# Drawing ahead.


@pytest.mark.parametrize("name", DRAWING)
def test_batches_drawn_ahead_are_those_drawn_step_by_step(name, monkeypatch, blocks):
    runs = ensemble(RUNS[name])
    ways, asked = [], []
    monkeypatch.setattr(engine, "_AHEAD", 1)
    for limit in (1, 3 * of_a_step(runs), 1 << 40):
        monkeypatch.setattr(engine, "_AHEAD", limit)
        its = Engine(runs, CPU, "eager")
        blocks.clear()
        ways.append(way(its))
        asked.append(list(blocks))
    assert asked[0] == [[step] for step in range(STEPS)]
    assert asked[1] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert asked[2] == [list(range(STEPS))]
    for other in ways[1:]:
        assert_same(ways[0], other)
    assert not ways[0][1].equal(ways[0][-1])


def of_a_step(runs: list[Run]) -> int:
    """The bytes of what is drawn for one step; whoever knows it could have drawn the chunks."""
    its = Engine(runs, CPU, "eager")
    its.step(0)
    return sum(leaf.nbytes for leaf in its._batch(0))


def test_a_step_taken_again_draws_its_batch_again(blocks):
    """What is drawn depends on the number of the step alone."""
    runs = ensemble(replace(ONE_LAYER, optimiser=SGD(lr=0), steps=3))
    its = Engine(runs, CPU, "eager")
    # With a learning rate of 0 the loss is a function of the batch.
    losses = [its.step(step) for step in (0, 1, 2, 5, 1, 0)]
    assert losses[4].equal(losses[1])
    assert losses[5].equal(losses[0])
    assert len({tuple(loss.tolist()) for loss in losses}) == 4


@pytest.mark.parametrize("limit", [1, 1 << 40], ids=["step by step", "ahead"])
@pytest.mark.parametrize("name", DRAWING)
def test_a_run_after_another_goes_on_in_its_stream(name, limit, monkeypatch, blocks):
    monkeypatch.setattr(engine, "_AHEAD", limit)
    earlier = [replace(run, steps=4) for run in ensemble(RUNS[name])]
    first = Engine(earlier, CPU, "eager")
    way(first, steps=4)
    runs = [replace(run, after=run, steps=3) for run in earlier]
    second = Engine(runs, CPU, "eager", first.members.params)
    blocks.clear()
    way(second, steps=3)
    assert [number for block in blocks for number in block] == [4, 5, 6]
    if not isinstance(RUNS[name].optimiser, Adam):  # which starts anew
        whole = Engine(ensemble(RUNS[name]), CPU, "eager")
        way(whole)
        # Between the two they leave their coordinates and come back into them, which rounds.
        rounding = 100 * torch.finfo(RUNS[name].torch_dtype).eps
        torch.testing.assert_close(
            second.members.params, whole.members.params, rtol=0, atol=rounding
        )


# Traces.


@pytest.mark.parametrize("name", RUNS)
def test_a_traced_engine_is_the_direct_one_bit_for_bit(name, traces):
    runs = ensemble(RUNS[name])
    traced = way(Engine(runs, CPU, "eager"))
    # A full batch lies in the world: nothing is drawn.
    assert traces == (["chance", "draw", "learn"] if name in DRAWING else ["learn"])
    assert_same(traced, directly(runs))
    assert not traced[1].equal(traced[-1])


def test_a_member_diverges_in_a_trace_as_it_does_directly(traces):
    runs = ensemble(ONE_LAYER)
    runs[1] = replace(runs[1], optimiser=SGD(lr=300))
    its = Engine(runs, CPU, "eager")
    traced = way(its)
    passed = [its_weights[1] for its_weights in traced[:: LEAVES + 1]]
    moved = [not one.equal(other) for one, other in pairwise(passed)]
    last = sum(moved)
    assert its.ended.tolist() == [MOVING, last, MOVING]
    assert moved == [True] * last + [False] * (STEPS - last)
    assert 1 < last < STEPS
    for one, other in zip(traced, directly(runs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_few_steps_are_not_traced_and_many_are(asked, monkeypatch):
    monkeypatch.setattr(engine, "_TRACE_LEARNING", 5)
    monkeypatch.setattr(engine, "_TRACE_DRAWING", 12)
    for steps, members, wanted in (
        (3, 3, []),
        (4, 3, ["chance", "draw"]),
        (5, 2, ["learn"]),
        (5, 3, ["chance", "draw", "learn"]),
    ):
        engine.forget()
        asked.clear()
        Engine(ensemble(replace(ONE_LAYER, steps=steps), range(members)), CPU, "eager")
        assert asked == wanted


def others() -> dict[str, list[Run]]:
    """Ensembles whose members do all the same arithmetic, on other numbers."""
    runs = ensemble(ONE_LAYER)
    return {
        "other seeds": [replace(run, seed=run.seed + 1) for run in runs],
        "another lr": [replace(run, optimiser=SGD(lr=1.3)) for run in runs],
        "another alpha, kappa and beta": [
            replace(run, task=replace(ICL, alpha=0.3, kappa=0.1, beta=1.7)) for run in runs
        ],
        "another init": [replace(run, model=replace(LAYER, delta=0.1, xi=0.1)) for run in runs],
    }


def test_a_trace_serves_every_ensemble_of_the_same_arithmetic(traces):
    first = way(Engine(ensemble(ONE_LAYER), CPU, "eager"))
    for name, runs in others().items():
        second = way(Engine(runs, CPU, "eager"))
        assert len(traces) == 3, name
        assert_same(second, directly(runs))
        assert not first[-LEAVES - 1].equal(second[-LEAVES - 1]), name  # the last loss


def strangers() -> dict[str, list[Run]]:
    """Ensembles that do something else than ``ONE_LAYER``'s, each in one respect."""
    runs = ensemble(ONE_LAYER)
    each = [replace(run, task=replace(ICL, kappa=0.1 * i)) for i, run in enumerate(runs)]
    some = [runs[0], replace(runs[1], trained=("W_O", "W_V")), runs[2]]
    return {
        "another batch": [replace(run, batch=10) for run in runs],
        "another loss": [replace(run, loss="hinge") for run in runs],
        "another optimiser": ensemble(replace(ONE_LAYER, optimiser=Adam())),
        "another task": [replace(run, task=replace(ICL, length=8)) for run in runs],
        "another model": [replace(run, model=replace(LAYER, neurons=7)) for run in runs],
        "another dtype": [replace(run, dtype="float32") for run in runs],
        "more members": ensemble(ONE_LAYER, (3, 8, 5, 1)),
        "a world in common": ensemble(ONE_LAYER, (3, 3, 3)),
        "a kappa each": each,
        "other leaves": [replace(run, trained=("W_O", "a")) for run in runs],
        "frozen leaves": some,
        "the same leaves, none frozen": [
            replace(run, trained=("W_O", "W_V", "W_Q", "W_K")) for run in runs
        ],
    }


@pytest.mark.parametrize("name", strangers())
def test_a_trace_does_not_serve_another_arithmetic(name, asked):
    Engine(ensemble(ONE_LAYER), CPU, "eager")
    asked.clear()
    Engine(strangers()[name], CPU, "eager")
    assert "learn" in asked


def test_frozen_leaves_stay_where_they_are_in_a_trace(traces):
    runs = ensemble(ONE_LAYER)
    some = ("W_K", "W_O")
    for frozen in (0, 2):  # the same leaves, of another member: the same program on other masks
        mixed = [replace(run, trained=some) if run is runs[frozen] else run for run in runs]
        # The leaves that move are those of all members, in the order in which they are first named.
        mixed = [replace(run, trained=run.trained or LAYER.moving) for run in (mixed[1], *mixed)]
        its = Engine(mixed, CPU, "eager")
        began = its.members.params
        way(its)
        for name, leaf in its.members.params.items():
            moved = [not one.equal(was) for one, was in zip(leaf, began[name], strict=True)]
            assert moved == [name in run.moving for run in mixed]
    assert traces == ["chance", "draw", "learn"]


def test_all_programs_are_made_anew_once_they_are_forgotten(asked):
    Engine(ensemble(ONE_LAYER), CPU, "eager")
    engine.forget()
    Engine(ensemble(ONE_LAYER), CPU, "eager")
    assert asked == ["chance", "draw", "learn"] * 2


def test_only_so_many_programs_are_kept(asked, monkeypatch):
    monkeypatch.setattr(engine, "_KEPT", 3)
    one, other = ensemble(ONE_LAYER), ensemble(replace(ONE_LAYER, batch=10))
    for runs, made in ((one, 3), (one, 3), (other, 6), (one, 9)):
        Engine(runs, CPU, "eager")
        assert len(asked) == made


# Where members are.


def test_stop_stops_exactly_those_members_that_still_move():
    runs = ensemble(ONE_LAYER, (1, 2, 3, 4))
    runs[3] = replace(runs[3], optimiser=SGD(lr=1e8))
    free, its = Engine(runs, CPU, "eager"), Engine(runs, CPU, "eager")
    passed: list[Params] = [free.members.params]
    for step in range(STEPS):
        free.step(step)
        passed.append(free.members.params)
        its.step(step)
        if step == 2:
            diverged = its.ended[3].item()
            assert 0 <= diverged <= 2
            its.stop(torch.tensor([True, False, False, True]), 3)
        if step == 4:
            its.stop(torch.tensor([True, True, False, False]), 5)
    assert its.ended.tolist() == [3, 5, MOVING, diverged]
    assert free.ended.tolist() == [MOVING, MOVING, MOVING, diverged]
    for name, leaf in its.members.params.items():
        assert leaf[0].equal(passed[3][name][0])
        assert leaf[1].equal(passed[5][name][1])
        assert leaf[2].equal(passed[STEPS][name][2])
        assert leaf[3].equal(passed[STEPS][name][3])
    assert not passed[3]["W_O"][0].equal(passed[STEPS]["W_O"][0])


def test_what_was_read_of_the_members_stays_as_it_was():
    its = Engine(ensemble(ONE_LAYER), CPU, "eager")
    read = [its.members, its.ended]
    before = [leaf.clone() for leaf in tree_leaves(read)]
    its.stop(torch.tensor([True, False, False]), 0)
    its.step(0)
    assert_same(tree_leaves(read), before)


@pytest.mark.slow  # three programs are compiled
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own
def test_a_compiled_ensemble_is_filled_up_and_shows_as_many_members_as_were_asked_for(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TDLAB_CACHE", str(tmp_path))
    runs = ensemble(ONE_LAYER)
    assert len(runs) < COMPILED
    its, eager = Engine(runs, CPU, "compiled"), Engine(runs, CPU, "eager")
    for step in range(STEPS):
        losses = [one.step(step) for one in (its, eager)]
        torch.testing.assert_close(*losses, rtol=0, atol=1e-12)
    assert {len(leaf) for leaf in tree_leaves(its.members)} == {3}
    torch.testing.assert_close(its.members.params, eager.members.params, rtol=0, atol=1e-12)
    its.stop(torch.tensor([False, True, False]), STEPS)
    assert its.ended.tolist() == [MOVING, STEPS, MOVING]
    its.step(STEPS)
    # Other ensembles of the program, smaller and full, share its code and read nothing of it anew.
    written = {path: path.read_bytes() for path in tmp_path.rglob("*.so")}
    assert len(written) == 3
    full = ensemble(ONE_LAYER, range(COMPILED))
    after = [replace(run, after=run) for run in full]
    params = {name: leaf[[0, 1, 2, 0, 1, 2, 0, 1]] for name, leaf in eager.members.params.items()}
    few = {name: leaf[:2] for name, leaf in params.items()}
    strided = {
        name: leaf.movedim(0, -1).contiguous().movedim(-1, 0) for name, leaf in params.items()
    }
    for some, start, count in (
        (full, None, COMPILED),
        (after[:2], few, 2),
        (after, params, COMPILED),
        (after, strided, COMPILED),
    ):
        ways = []
        for path in ("compiled", "eager"):
            each = Engine(some, CPU, path, start)
            ways.append([each.step(0), each.step(1), *tree_leaves(each.members)])
            assert {len(leaf) for leaf in ways[-1]} == {count}
        torch.testing.assert_close(*ways, rtol=0, atol=1e-12)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.so")} == written


@pytest.mark.parametrize("name", RUNS)
def test_the_parts_of_a_step_are_what_a_step_does_and_leave_the_members_where_they_are(name):
    its = Engine([replace(RUNS[name], seed=seed) for seed in (3, 5)], CPU, "eager")
    parts = its.parts()
    wanted = ["uniforms", "prompts", "learning"] if name in DRAWING else ["learning"]
    assert list(parts) == wanted
    before = [leaf.clone() for leaf in tree_leaves(its.members)]
    found = {name: work() for name, (work, _) in parts.items()}
    assert all(map(torch.equal, before, tree_leaves(its.members)))
    if name in DRAWING:
        steps = {parts[part][1] for part in ("uniforms", "prompts")}
        assert steps == {STEPS} == {len(leaf) for leaf in found["prompts"]}
    assert parts["learning"][1] == 1
    assert found["learning"][-1].equal(its.step(0))
