"""Token regression: pools that are a pure function of the seed, and targets that are what they say.

The keys of a member's world, and what is drawn from each, are written out below.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from synthetic_tasks import FullBatch, KeysAndValues, TokenRegression, sample
from synthetic_tasks.threefry import fold, stream, uniforms
from tdlab.losses import token_squared
from tdlab.models import KERNELS, KernelLayer, over_prompts
from tdlab.run import Run

TASK = TokenRegression(samples=3, tokens=5, width=7, outputs=2)
TEACHER = KernelLayer(width=7, heads=2, head_width=3, value_width=4, outputs=6)
TAUGHT = replace(TASK, teacher=TEACHER)


def world_of(task: TokenRegression, seed: int) -> Any:
    return task.world(stream(seed, "world"))


def all_of(task: TokenRegression, seed: int) -> Any:
    return task.rows(world_of(task, seed), torch.arange(task.samples))


# What a prompt and its targets are.


@pytest.mark.parametrize("task", [TASK, TAUGHT], ids=["random", "taught"])
def test_a_pool_is_a_pure_function_of_the_seed_alone(task):
    one, again, other = world_of(task, 4), world_of(task, 4), world_of(task, 5)
    for leaf, same, another in zip(one, again, other, strict=True):
        assert leaf.dtype == torch.float64
        assert leaf.equal(same)
        assert not (leaf == another).any()


def test_a_sample_has_a_token_in_each_row_and_a_target_for_each_token():
    batch = all_of(TASK, 4)
    assert batch.prompt.shape == (3, 5, 7)
    assert batch.target.shape == (3, 5, 2)
    assert batch.mask.all()
    assert batch.mask.shape == (3, 5)
    assert (TASK.size, TASK.columns, TASK.token_width) == (3, 5, 7)
    assert all_of(TAUGHT, 4).target.shape == (3, 5, 6)


def test_tokens_and_random_targets_are_independent_standard_normals():
    """Of n normals the mean is within z / sqrt n, the deviation within z / sqrt(2 n)."""
    many = TokenRegression(samples=50, tokens=8, width=9, outputs=9)
    prompt, target = world_of(many, 2)
    for leaf in (prompt, target):
        n = leaf.numel()
        assert abs(leaf.mean().item()) < 4.5 / math.sqrt(n)
        assert leaf.std().item() == pytest.approx(1, abs=4.5 / math.sqrt(2 * n))
        assert leaf.pow(4).mean().item() == pytest.approx(3, abs=4.5 * math.sqrt(96 / n))
        assert len(leaf.unique()) > n - 10  # of 2^23 values, less than one pair is expected
    assert abs((prompt * target).mean().item()) < 4.5 / math.sqrt(prompt.numel())


def test_a_teacher_leaves_the_tokens_as_they_are():
    assert all_of(TAUGHT, 4).prompt.equal(all_of(TASK, 4).prompt)


@pytest.mark.parametrize("kernel", KERNELS)
def test_targets_are_what_the_teacher_says_of_the_members_own_tokens(kernel):
    teacher = replace(TEACHER, kernel=kernel)
    for seed in (4, 5):
        batch = all_of(replace(TASK, teacher=teacher), seed)
        weights = teacher.init(fold(stream(seed, "world"), 1))
        expected = over_prompts(teacher, weights, batch).output
        torch.testing.assert_close(batch.target, expected, rtol=1e-12, atol=1e-13)


def test_each_member_has_a_teacher_of_its_own_who_is_no_student():
    """On the same tokens two members' teachers disagree, and no run starts as its teacher."""
    prompts = all_of(TAUGHT, 4)
    members = [TEACHER.init(fold(stream(seed, "world"), 1)) for seed in (4, 5)]
    students = [TEACHER.init(stream(seed, "init")) for seed in (4, 5)]
    answers = [over_prompts(TEACHER, weights, prompts).output for weights in (*members, *students)]
    for place, one in enumerate(answers):
        for other in answers[:place]:
            assert token_squared(one, other).min() > 0.1


@pytest.mark.parametrize("kernel", KERNELS)
def test_with_a_shared_seed_the_teachers_queries_are_all_that_a_student_lacks(kernel):
    layer = replace(TEACHER, kernel=kernel, query_scale=2, shared=11)
    batch = all_of(replace(TASK, teacher=layer), 4)
    student = layer.init(stream(4, "init"))
    told = {**student, "W_Q": layer.init(fold(stream(4, "world"), 1))["W_Q"]}
    before, after = (
        token_squared(over_prompts(layer, its, batch).output, batch.target)
        for its in (student, told)
    )
    assert before.min() > 1e-2
    assert after.max() < 1e-28
    # Without the shared seed the queries do not help.
    alone = replace(layer, shared=None).init(stream(4, "init"))
    told = {**alone, "W_Q": told["W_Q"]}
    assert token_squared(over_prompts(layer, told, batch).output, batch.target).min() > 1e-2


# Batches.


def test_a_mini_batch_is_rows_of_the_pool_drawn_with_replacement():
    world, key = world_of(TASK, 4), stream(4, "train")
    block = uniforms(key, (40, 1), torch.float64)
    batch = TASK.draw(world, block)
    row = (block[:, 0] * 3).long()
    assert batch.prompt.equal(world.prompt[row])
    assert batch.target.equal(world.target[row])
    # A row is missing with probability 3 (2/3)^40 < 1e-6.
    assert set(row.tolist()) == {0, 1, 2}


def test_the_largest_uniform_takes_the_last_row():
    """In single precision it may round up to 1 times the size of the pool."""
    world = world_of(TASK, 4)
    for top in (1 - 2.0**-24, 1.0):
        assert TASK.draw(world, torch.tensor([[top]])).prompt.equal(world.prompt[2:])


def test_a_full_batch_is_the_pool_in_order_whatever_the_step():
    full = FullBatch(of=TASK)
    pool = all_of(TASK, 4)
    for step in (0, 3):
        batch = sample(full, seed=4, size=3, step=step, name="train", dtype=torch.float64)
        assert batch.prompt.equal(pool.prompt)
        assert batch.target.equal(pool.target)
        assert batch.mask.equal(pool.mask)
    assert (full.token_width, full.columns, full.balance, full.uniforms) == (7, 5, 3, 0)
    twice = sample(full, seed=4, size=6, dtype=torch.float64)
    assert twice.prompt.equal(pool.prompt.repeat(2, 1, 1))


def test_a_full_batch_of_another_size_than_its_pool_is_refused():
    model = KernelLayer(width=7, outputs=2)
    line = "^batch is 4, but a FullBatch needs a multiple of 3$"
    with pytest.raises(ValueError, match=line):
        Run(task=FullBatch(of=TASK), model=model, loss="token_squared", batch=4)
    Run(task=FullBatch(of=TASK), model=model, loss="token_squared", batch=3)


def test_the_tokens_of_keys_and_values_are_its_columns_for_every_member():
    task = KeysAndValues(keys=(-1, 0, 2), values=(1, 0.5, -3), wanted=0.7)
    for seed in (0, 9):
        batch = sample(FullBatch(of=task), seed=seed, size=2, dtype=torch.float64)
        assert batch.prompt.tolist() == [[[-1, 1], [0, 0.5], [2, -3]]] * 2
        assert batch.target.tolist() == [[0.7]] * 2
        assert batch.mask.all()
    assert (task.size, task.columns, task.token_width) == (1, 3, 2)


# Bad input.


@pytest.mark.parametrize(
    ("make", "wrong", "error", "line"),
    [
        (TokenRegression, {"samples": 0}, ValueError, "samples is 0, but must be at least 1"),
        (TokenRegression, {"tokens": 0}, ValueError, "tokens is 0, but must be at least 1"),
        (TokenRegression, {"width": 0}, ValueError, "width is 0, but must be at least 1"),
        (TokenRegression, {"outputs": 0}, ValueError, "outputs is 0, but must be at least 1"),
        (
            TokenRegression,
            {"samples": 4.0},
            TypeError,
            r"samples is 4\.0, but must be an integer of at least 1",
        ),
        (
            TokenRegression,
            {"teacher": "softmax"},
            TypeError,
            "teacher is 'softmax', but must be a model or None",
        ),
        (
            TokenRegression,
            {"teacher": TEACHER},
            ValueError,
            "the teacher takes tokens of width 7, but width is 8",
        ),
        (
            KeysAndValues,
            {"keys": (), "values": ()},
            ValueError,
            "there are 0 keys and 0 values, but must be as many of both, at least one",
        ),
        (
            KeysAndValues,
            {"keys": (1, 2)},
            ValueError,
            "there are 2 keys and 3 values, but must be as many of both, at least one",
        ),
        (KeysAndValues, {"wanted": "0.8"}, TypeError, r"wanted is '0\.8', but must be a number"),
        (KeysAndValues, {"keys": (0, None, 1)}, TypeError, "keys is None, but must be a number"),
        (KeysAndValues, {"values": (0, True, 1)}, TypeError, "values is True, but must be .*"),
        (FullBatch, {"of": 3}, TypeError, "of is 3, but must be a task with a pool"),
    ],
    ids=str,
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(make, wrong, error, line):
    with pytest.raises(error, match=f"^{line}$"):
        make(**wrong)
