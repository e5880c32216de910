import threading
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from synthetic_tasks import FullBatch, InContextClassification, TokenRegression
from synthetic_tasks.threefry import stream
from tdlab import sweep
from tdlab.models import KERNELS, KernelLayer, OneLayer
from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.run import Run
from tdlab.schedule import At, Every
from tdlab.sweep import Outcome, groups, job, workers
from tdlab.train import training
from tdlab.trajectory import Diverged, Ending, at_each_step, final, finished
from tests.tdlab.runs import (
    LAYER,
    LAYER_MODEL,
    MODEL,
    RUN,
    TASK,
    WILD,
    anew,
    assert_same,
    different,
    enough,
)

NUMBERS = RUN.batch * TASK.columns * TASK.token_width  # in the prompts of a step


# Batches of 9 and 6 neurons: no member but the first starts at a round address, which is where
# libraries begin to round differently. The hinge has a constant slope and hides that; the logistic
# loss shows it.
@pytest.mark.parametrize("loss", ["hinge", "logistic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_member_equals_its_solo_run_bit_for_bit_however_the_runs_are_split(
    monkeypatch, dtype, loss
):
    runs = different(dtype, loss)
    together = anew(runs, path="eager")
    monkeypatch.setattr(groups, "_SMALL", 0)
    for most in (1, 2, 3):
        monkeypatch.setattr(groups, "MEMBERS", most)
        for one, other in zip(together, anew(runs, path="eager"), strict=True):
            assert_same(one, other)
    # And they are five trainings, not one.
    assert len({float(result.loss[-1]) for result in together}) == 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_member_of_the_default_shape_equals_its_solo_run_bit_for_bit(dtype):
    base = Run(task=InContextClassification(), model=OneLayer(), dtype=dtype, steps=3)
    runs = [base, replace(base, seed=4, optimiser=SGD(lr=0.4)), replace(base, seed=5)]
    for one, run in zip(anew(runs, path="eager"), runs, strict=True):
        assert_same(one, anew([run], path="eager")[0])


# Backtracking compares losses, so a rounding that differs may grow into another step size.
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_member_of_a_kernel_layer_with_backtracking_equals_its_solo_run_bit_for_bit(
    monkeypatch, kernel
):
    model = replace(LAYER_MODEL, kernel=kernel)
    base = replace(LAYER, model=model, optimiser=Backtracking(), steps=8, snapshots=Every(stride=4))
    runs = [
        base,
        replace(base, seed=1, optimiser=Backtracking(lr=300, decrease=0.2)),
        replace(base, seed=2, model=replace(model, query_scale=3, key_scale=0.3)),
        replace(base, seed=3, model=replace(model, shared=8)),
        replace(base, seed=3),
    ]
    together = anew(runs, path="eager")
    monkeypatch.setattr(groups, "_MANY", 1)
    for one, other in zip(together, anew(runs, path="eager"), strict=True):
        assert_same(one, other)
    assert all(result.loss[-1] < 0.7 * result.loss[0] for result in together)
    assert len({float(result.loss[-1]) for result in together}) == 5


@pytest.fixture
def sizes(monkeypatch):
    """How many members each ensemble has that is trained from here on."""
    sizes = []
    plain = job.Training

    def counting(runs, **settings):
        sizes.append(len(runs))
        return plain(runs, **settings)

    monkeypatch.setattr(job, "Training", counting)
    return sizes


def test_no_ensemble_is_larger_than_allowed(monkeypatch, sizes):
    runs = [replace(RUN, seed=seed, steps=1) for seed in range(7)]
    monkeypatch.setattr(groups, "MEMBERS", 3)
    monkeypatch.setattr(groups, "_MANY", 4)
    anew(runs)
    monkeypatch.setattr(groups, "_SMALL", 0)
    anew(runs)
    assert sizes == [4, 3, 3, 3, 1]


def test_members_are_small_below_so_many_multiplications(monkeypatch):
    # 9 prompts of 7 tokens, and the weights of the model.
    weights = sum(leaf.numel() for leaf in MODEL.init(stream(0, "init")).values())
    monkeypatch.setattr(groups, "_SMALL", RUN.batch * TASK.columns * weights)
    assert not groups._is_small(RUN)
    monkeypatch.setattr(groups, "_SMALL", RUN.batch * TASK.columns * weights + 1)
    assert groups._is_small(RUN)


SUBSETS = [("W_Q",), ("W_V", "W_O"), ("W_O", "W_Q", "W_K", "W_V"), ("W_K", "W_O", "W_V")]


@pytest.mark.parametrize("optimiser", [SGD(lr=0.02), Adam(lr=0.05), Backtracking()])
def test_small_members_that_train_different_matrices_equal_their_solo_runs_bit_for_bit(
    sizes, optimiser
):
    base = Run(
        task=FullBatch(of=TokenRegression(samples=3, tokens=5, width=7)),
        model=KernelLayer(kernel="gaussian", width=7, heads=3),
        loss="token_squared",
        optimiser=optimiser,
        batch=3,
        dtype="float64",
        steps=6,
        snapshots=Every(stride=3),
    )
    runs = [replace(base, trained=subset, seed=seed) for seed, subset in enumerate(SUBSETS)]
    together = anew(runs, path="eager")
    assert sizes == [4]
    for one, run in zip(together, runs, strict=True):
        assert_same(one, anew([run], path="eager")[0])
        moved = {name for name, leaf in one.params.items() if not leaf[0].equal(leaf[-1])}
        assert moved == set(run.moving)


def test_large_members_that_train_different_matrices_are_ensembles_of_their_own(monkeypatch, sizes):
    monkeypatch.setattr(groups, "_SMALL", 0)
    runs = [
        replace(RUN, trained=subset, steps=1, seed=seed) for subset in SUBSETS for seed in (0, 1)
    ]
    anew(runs, path="eager")
    assert sizes == [2, 2, 2, 2]


def test_runs_of_different_programs_come_back_in_the_order_asked_for():
    runs = [
        replace(RUN, seed=1),
        replace(RUN, seed=2, steps=6),
        replace(RUN, seed=3, optimiser=Adam()),
        replace(RUN, seed=4, task=replace(TASK, length=3)),
        replace(RUN, seed=5, steps=6),
        replace(RUN, seed=6),
        replace(RUN, seed=1),
    ]
    results = anew(runs)
    assert [result.run for result in results] == runs
    assert [len(result.loss) for result in results] == [10, 6, 10, 10, 6, 10, 10]
    for result in results[:4]:
        assert_same(result, anew([result.run])[0])
    assert_same(results[0], results[-1])
    assert anew([]) == []


def test_a_result_has_snapshots_losses_and_a_clean_end():
    (result,) = anew([RUN])
    assert result.steps == (0, 5, 10)
    assert result.params["W_O"].shape == (3, 6, 12)
    assert result.loss.shape == (10,)
    assert result.loss.isfinite().all()
    assert result.ending == Ending(10, "finished")
    assert result.finished
    assert result.observed == {}
    assert result.at(5)["W_O"].equal(result.params["W_O"][1])
    assert result.final["W_O"].equal(result.params["W_O"][2])


def test_a_step_without_a_snapshot_is_refused_by_naming_those_there_are():
    (result,) = anew([RUN])
    line = rf"^no snapshot at step 7 of run {RUN.id}; it has \(0, 5, 10\)$"
    with pytest.raises(ValueError, match=line):
        result.at(7)


def test_results_stack_along_member_and_step():
    results = anew([RUN, replace(RUN, seed=1)])
    steps, params = at_each_step(results)
    assert steps == (0, 5, 10)
    assert params["W_O"].shape == (2, 3, 6, 12)
    assert params["W_O"][1].equal(results[1].params["W_O"])
    assert final(results)["W_O"].equal(params["W_O"][:, -1])


def test_results_with_snapshots_at_different_steps_do_not_stack():
    results = anew([RUN, replace(RUN, snapshots=At(at=(0, 10)))])
    with pytest.raises(ValueError, match=r"^the results have snapshots at different steps"):
        at_each_step(results)
    assert final(results)["W_O"].shape == (2, 6, 12)


def test_observed_numbers_are_handed_back_member_by_member_up_to_its_end():
    runs = [RUN, replace(RUN, seed=1), replace(RUN, seed=2)]
    alone = anew(runs)
    results = anew(runs, observe=enough(1, 5), observe_at=Every(stride=5))
    assert [list(result.observed) for result in results] == [[0, 5, 10], [0, 5], [0, 5, 10]]
    for result in results:
        for step, numbers in result.observed.items():
            torch.testing.assert_close(numbers["norm"], result.at(step)["W_O"].norm())
    assert results[1].ending == Ending(5, "observed")
    assert results[1].finished
    assert results[1].steps == (0, 5)
    assert results[1].final["W_O"].equal(alone[1].at(5)["W_O"])
    assert_same(results[2], alone[2])


@pytest.mark.parametrize("also", [[], [replace(RUN, seed=1)]], ids=["alone", "beside another"])
def test_the_final_parameters_are_those_at_which_a_member_was_stopped(also):
    passed = anew([replace(RUN, snapshots=Every(stride=1))])[0]
    for snapshots in (Every(stride=5), At(at=(8, 10))):
        runs = [replace(run, snapshots=snapshots) for run in [RUN, *also]]
        result, *_ = anew(runs, observe=enough(0, 3), observe_at=At(at=(3,)))
        assert result.ending == Ending(3, "observed")
        assert result.steps[-1] == 3
        assert result.final["W_O"].equal(passed.at(3)["W_O"])


def test_a_member_that_diverges_before_its_first_snapshot_keeps_its_last_finite_parameters():
    with pytest.warns(RuntimeWarning):
        results = anew([replace(run, snapshots=At(at=(8, 10))) for run in (WILD, RUN)])
    assert results[0].steps == (results[0].ending.step,)
    assert all(leaf.isfinite().all() for leaf in results[0].final.values())
    assert results[1].steps == (8, 10)


@pytest.mark.parametrize(("at", "steps"), [((3, 7), (3, 7, 10)), ((0, 99), (0, 10)), ((), (10,))])
def test_a_finished_run_keeps_its_end_also_where_no_snapshot_is_due(at, steps):
    (whole,) = anew([RUN])
    (result,) = anew([replace(RUN, snapshots=At(at=at))])
    assert result.steps == steps
    assert result.ending == Ending(10, "finished")
    for name, leaf in whole.final.items():
        assert result.final[name].equal(leaf)
        assert final([result])[name].equal(leaf[None])
    if 3 in at:
        assert not result.at(7)["W_O"].equal(result.final["W_O"])


@pytest.fixture
def paths(monkeypatch):
    """The path and size of every ensemble that would be trained; compiling is taken for eager."""
    asked = []
    plain = job.Training

    def spy(runs, *, path, **settings):
        asked.append((path, len(runs), runs[0].steps))
        return plain(runs, path="eager", **settings)

    monkeypatch.setattr(job, "Training", spy)
    monkeypatch.setattr(training.shutil, "which", lambda name: f"/usr/bin/{name}")
    return asked


def test_the_path_is_decided_for_a_program_and_not_for_each_part_of_it(monkeypatch, paths):
    monkeypatch.setattr(groups, "_SMALL", 0)
    monkeypatch.setattr(groups, "MEMBERS", 2)
    monkeypatch.setattr(groups, "COMPILED", 2)
    monkeypatch.setattr(training, "_COMPILE_PAYS", 50 * NUMBERS)
    many = [replace(RUN, seed=seed) for seed in range(5)]  # 50 steps in all, at most 20 in a part
    few = [replace(RUN, seed=seed, steps=9) for seed in range(5, 10)]
    anew([*few, *many])
    longest_first = [(2, 10), (2, 10), (2, 9), (2, 9), (1, 10), (1, 9)]
    path = {10: "compiled", 9: "eager"}
    assert paths == [(path[steps], size, steps) for size, steps in longest_first]


def test_small_members_are_compiled_for_their_steps_and_not_for_their_number(monkeypatch, paths):
    monkeypatch.setattr(training, "_COMPILE_PAYS", 10 * NUMBERS)
    anew([replace(RUN, seed=seed, steps=9) for seed in range(5)])
    anew([replace(RUN, seed=seed, steps=10) for seed in range(5)])
    assert paths == [("eager", 5, 9), ("compiled", 5, 10)]


@pytest.mark.parametrize("path", ["eager", "compiled"])
def test_a_path_that_was_asked_for_is_taken_for_all(paths, path):
    anew([RUN, replace(RUN, seed=1, steps=4)], path=path)
    assert [each for each, *_ in paths] == [path, path]


def in_a_new_thread() -> int:
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("fails", [False, True])
def test_a_sweep_leaves_the_number_of_threads_as_it_was_also_for_later_threads(
    monkeypatch, count, fails
):
    do = workers.do

    def leaving_one(*given, **settings):
        # A thread that starts inside another one's single-threaded step takes 1 for its own count.
        torch.set_num_threads(1)
        done = do(*given, **settings)
        return done if not fails else 1 / 0

    monkeypatch.setattr(workers, "do", leaving_one)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with pytest.raises(ZeroDivisionError) if fails else nullcontext():
            anew([replace(RUN, seed=seed) for seed in range(4)])
        assert torch.get_num_threads() == count
        assert in_a_new_thread() == count
    finally:
        torch.set_num_threads(before)


def test_a_diverged_run_is_left_out_or_refused_but_not_averaged():
    with pytest.warns(RuntimeWarning, match=f"run {WILD.id} "):
        results = anew([RUN, WILD, replace(RUN, seed=1)])
    assert [result.finished for result in results] == [True, False, True]
    assert all(leaf.isfinite().all() for leaf in results[1].params.values())
    assert [result.run.seed for result in finished(results)] == [0, 1]
    line = rf"^run {WILD.id} diverged at step {results[1].ending.step}; tdlab.trajectory.finished "
    for stack in (final, at_each_step):
        with pytest.raises(ValueError, match=line):
            stack(results)
    assert final(finished(results))["a"].shape == (2, 6)


def test_where_all_runs_diverged_nothing_is_left():
    with pytest.warns(RuntimeWarning):
        results = anew([WILD, replace(WILD, seed=6)])
    with pytest.raises(Diverged, match=r"^all 2 runs diverged; a smaller learning rate may help$"):
        finished(results)


def test_an_outcome_prints_what_became_of_the_runs():
    outcome = Outcome(found=[RUN], trained=[RUN, RUN], failed={RUN: "no room"})
    first, *rest = repr(outcome).splitlines()
    assert first == "<1 were there, 2 were trained, 0 diverged, 1 failed"
    assert RUN.id in "".join(rest)


def test_one_run_in_no_list_is_refused_by_saying_what_would_be_right():
    with pytest.raises(TypeError, match=r"^a sweep takes a list of runs; .* \[run\]$"):
        sweep.trained(RUN)
