"""The scalar examples against plain descent, and problems of W_Q alone against their teachers."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from synthetic_tasks.threefry import fold, stream
from tdlab.models import KERNELS
from tdlab.studies import kernels
from tdlab.studies.kernels.basins import SOLVED
from tdlab.studies.kernels.setting import SCALAR
from tdlab.sweep import trained
from tests.tdlab.studies.kernels.settings import LAYERS
from tests.tdlab.studies.tidy import TIDY, of

TINY = replace(
    LAYERS,
    value_width=2,
    query_steps=3,
    starts=(0.6, -1.2, 1.7),
    scalar_lr=0.4,
    scalar_steps=14,
)
FIRST, SECOND = SCALAR
KEYS = (-1, 0, 1)
PROBLEMS = {FIRST: ((1, 0, 0.5), 0.8), SECOND: ((1, 1, 1), 2)}


# One scalar query.


@pytest.fixture(scope="module")
def queries():
    return {point: trained(runs) for point, runs in kernels.scalar_runs(TINY).items()}


@pytest.fixture(scope="module")
def scalar(queries):
    return kernels.scalar(TINY, queries)


def output(kernel, q, values):
    scores = [q * k if kernel == "softmax" else -((q - k) ** 2) / 2 for k in KEYS]
    weights = [math.exp(score) for score in scores]
    total = 1 if kernel == "gaussian" else sum(weights)
    return sum(w * v for w, v in zip(weights, values, strict=True)) / total


def loss(kernel, q, problem):
    values, wanted = PROBLEMS[problem]
    return 0.5 * (output(kernel, q, values) - wanted) ** 2


def descend(kernel, q, problem):
    """The loss before the last of the steps, its fall since halfway, and the query at the end."""
    h, losses = 1e-6, []
    for _ in range(TINY.scalar_steps):
        losses.append(loss(kernel, q, problem))
        slope = (loss(kernel, q + h, problem) - loss(kernel, q - h, problem)) / (2 * h)
        q -= TINY.scalar_lr * slope
    return losses[-1], losses[len(losses) // 2] - losses[-1], q


def test_every_kernel_is_tried_on_both_problems_from_every_start():
    runs = kernels.scalar_runs(TINY)
    assert set(runs) == {(kernel, problem) for kernel in KERNELS for problem in PROBLEMS}
    for (kernel, problem), each in runs.items():
        assert each == TINY.scalar_runs(kernel, problem)


def test_a_scalar_query_ends_where_plain_descent_does(scalar, queries):
    assert list(scalar.columns[:6]) == TIDY
    for place, quantity in enumerate(("loss", "fall", "end")):
        found = of(scalar, "kernel", "problem", "q", quantity=quantity)
        expected = {
            (kernel, problem, start): descend(kernel, start, problem)[place]
            for kernel, problem in queries
            for start in TINY.starts
        }
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-8)
    rows = scalar[scalar.source == "measured"]
    runs = {each.run.id for results in queries.values() for each in results}
    assert set(rows["run"]) == runs
    assert set(rows["step"]) == {14}


def test_the_curve_is_the_loss_at_every_query_between_and_beyond_the_starts(scalar):
    for kernel in KERNELS:
        for problem in PROBLEMS:
            where = {"kernel": kernel, "problem": problem, "quantity": "loss"}
            curve = of(scalar, "q", source="theory", **where)
            expected = {(q,): loss(kernel, q, problem) for (q,) in curve}
            assert curve == pytest.approx(expected, abs=1e-12)
            at = sorted(q for (q,) in curve)
            assert at[0] < -1.2 < 1.7 < at[-1]
            assert max(b - a for a, b in pairwise(at)) < 0.05


def test_there_is_a_barrier_and_a_plateau_for_softmax_on_the_first_problem_alone(scalar):
    theory = scalar[scalar.source == "theory"]
    rows = theory[theory.quantity != "loss"].set_index(["kernel", "problem", "quantity"]).value
    assert rows.to_dict() == pytest.approx(
        {
            ("softmax", FIRST, "barrier"): math.log(1 + math.sqrt(3)),
            ("softmax", FIRST, "plateau"): 0.045,
        }
    )


def test_softmax_of_equal_values_does_not_move(scalar):
    ends = of(scalar, "q", quantity="end", kernel="softmax", problem=SECOND)
    assert ends == pytest.approx({(start,): start for start in TINY.starts}, abs=1e-12)
    losses = of(scalar, "q", quantity="loss", kernel="softmax", problem=SECOND)
    assert list(losses.values()) == pytest.approx([0.5] * 3)


# W_Q alone.


@pytest.fixture(scope="module")
def problems():
    runs = kernels.query_runs(TINY)
    return {point: trained(each) for point, each in runs.items() if point[0] == "gaussian"}


@pytest.fixture(scope="module")
def query_only(problems):
    return kernels.query_only(TINY, problems)


def student_and_teacher(run):
    """What a run starts from, and the weights that made its targets."""
    start = run.model.init(stream(run.seed, "init"))
    return start, run.task.of.teacher.init(fold(stream(run.seed, "world"), 1))


def test_queries_alone_are_tried_with_every_kernel():
    runs = kernels.query_runs(TINY)
    assert {point[0] for point in runs} == set(KERNELS)
    for kernel in KERNELS:
        own = {point[1:]: each for point, each in runs.items() if point[0] == kernel}
        assert own == TINY.query_runs(kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("scale", "key_scale"), [(0.5, 1.3), (2, 1.3), (2, 2)])
def test_a_teacher_is_its_student_but_for_w_q(kernel, scale, key_scale):
    for run in TINY.query_runs(kernel)["teacher", scale, key_scale]:
        student, taught = student_and_teacher(run)
        alike = {name for name in student if torch.equal(student[name], taught[name])}
        assert alike == {"W_K", "W_V", "W_O"}
        # The other queries are no multiple of the student's.
        correlation = torch.corrcoef(
            torch.stack([student["W_Q"].flatten(), taught["W_Q"].flatten()])
        )
        assert abs(correlation[0, 1]) < 0.6
        # Its targets are what the student says with its W_Q: so they can be reached.
        x, y = run.task.world(stream(run.seed, "world"))
        mask = torch.ones(x.shape[1], dtype=torch.bool)
        for tokens, target in zip(x, y, strict=True):
            reached = run.model.forward({**student, "W_Q": taught["W_Q"]}, tokens, mask).output
            assert torch.equal(reached, target)
        assert y.square().mean() > 1e-6


def test_scales_are_those_of_the_start_and_the_teacher_has_scale_one():
    runs = {point: each[0] for point, each in TINY.query_runs("softmax").items()}
    start, taught = student_and_teacher(runs["teacher", 0.5, 1.3])
    large, same = student_and_teacher(runs["teacher", 2, 1.3])
    both, other = student_and_teacher(runs["teacher", 2, 2])
    torch.testing.assert_close(large["W_Q"], 4 * start["W_Q"])
    torch.testing.assert_close(both["W_Q"], large["W_Q"])
    torch.testing.assert_close(both["W_K"] / 2, large["W_K"] / 1.3)
    assert torch.equal(taught["W_Q"], same["W_Q"])
    assert torch.equal(taught["W_Q"], other["W_Q"])
    # 3 heads of 5 x 3 entries, so that a standard deviation of 1 / sqrt(5) is known to a tenth.
    spread = torch.cat(
        [
            student_and_teacher(run)[1]["W_Q"].flatten()
            for run in replace(TINY, problems=10).query_runs("softmax")["teacher", 0.5, 1.3]
        ]
    ).std()
    assert spread.item() == pytest.approx(5**-0.5, rel=4 / math.sqrt(2 * 450))


def test_no_two_problems_are_the_same():
    first, second = TINY.query_runs("gaussian")["teacher", 2, 1.3]
    one, other = student_and_teacher(first), student_and_teacher(second)
    for name in one[0]:
        assert not torch.equal(one[0][name], other[0][name])
        assert not torch.equal(one[1][name], other[1][name])


def test_with_w_q_alone_nothing_else_moves(problems):
    for results in problems.values():
        for each in results:
            start = each.run.model.init(stream(each.run.seed, "init"))
            moved = {name for name in start if not torch.equal(each.final[name], start[name])}
            assert moved == {"W_Q"}


def test_a_problems_loss_is_that_before_the_last_step_over_that_of_predicting_zero(
    problems, query_only
):
    assert list(query_only.columns[:6]) == TIDY
    names = ("kernel", "targets", "scale", "key_scale", "seed")
    found = of(query_only, *names, quantity="relative loss")
    for (kernel, targets, scale, key_scale), results in problems.items():
        for each in results:
            target = each.run.task.world(stream(each.run.seed, "world")).target
            whole = 0.5 * float(target.square().sum()) / 3
            value = found[kernel, targets, scale, key_scale, each.run.seed]
            assert value == pytest.approx(float(each.loss[-1]) / whole, rel=1e-10)
    assert len(found) == 4 * 2
    rows = query_only[query_only.quantity == "relative loss"]
    assert set(rows["run"]) == {each.run.id for results in problems.values() for each in results}
    assert set(rows["step"]) == {TINY.query_steps}


def test_a_problem_is_solved_where_its_relative_loss_is_below_the_limit(problems):
    assert SOLVED == 1e-4
    point = ("gaussian", "teacher", 2.0, 1.3)
    first, second = problems[point]

    def planted(result, relative):
        target = result.run.task.world(stream(result.run.seed, "world")).target
        whole = 0.5 * target.square().sum() / 3
        return replace(result, loss=torch.tensor([1.0, 0.5, relative]) * whole)

    results = {point: [planted(first, 0.9e-4), planted(second, 1.1e-4)]}
    table = kernels.query_only(TINY, results)
    assert of(table, "seed", quantity="solved") == {(3,): 1, (4,): 0}
    losses = of(table, "seed", quantity="relative loss")
    assert losses == pytest.approx({(3,): 0.9e-4, (4,): 1.1e-4}, rel=1e-6)
