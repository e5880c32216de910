import math
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor

from synthetic_tasks import Batch, Reasoning, Task, sample
from synthetic_tasks.cot import NOTHING, Latent, World
from synthetic_tasks.threefry import fold, stream, uniforms
from synthetic_tasks.transitions import noiseless
from synthetic_tasks.value import program
from tdlab.models import OneHead
from tdlab.run import Run
from tdlab.train.ensemble import worlds
from tests.synthetic_tasks.chains import (
    MANY,
    NOISY,
    SEED,
    TASK,
    assert_equal,
    below,
    bijections,
    draw,
    examples,
    first,
    refuses,
    within,
    world_of,
)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return draw(TASK, size=60)


@pytest.fixture(scope="module")
def noisy() -> Batch:
    return draw(NOISY, size=500)


def asked(task: Reasoning, batch: Batch) -> Tensor:
    """Which step each prompt asks for, from 1: as many columns as follow the context."""
    return batch.mask[:, task.steps * task.length :].sum(1)


# What a training prompt is made of.


def by_hand(task: Reasoning, world: World, y: list[list[int]], z: list[int], k: int) -> Any:
    """Columns and mask of one prompt, as the theory writes them down."""
    zero, mu, codes = torch.zeros(task.width).double(), world.patterns, world.codes
    columns, mask = [], []
    for chain in y:
        for step in range(task.steps):
            upper = mu[chain[step]] + codes[step]
            columns.append(torch.cat([upper, mu[chain[step + 1]]]))
            mask.append(True)
    for _ in range(task.steps - k):
        columns.append(torch.cat([zero, zero]))
        mask.append(False)
    for step in range(k):
        lower = zero if step == k - 1 else mu[z[step + 1]]
        columns.append(torch.cat([mu[z[step]] + codes[step], lower]))
        mask.append(True)
    return torch.stack(columns), torch.tensor(mask)


@pytest.mark.parametrize(
    "task",
    [
        TASK,
        replace(TASK, steps=1),
        replace(TASK, patterns=2, steps=2, length=1, alpha=1),
        replace(TASK, patterns=9),  # M + K = d_X
    ],
    ids=["generic", "one step", "smallest", "full"],
)
def test_every_column_of_a_training_prompt_is_what_the_theory_writes(task):
    batch, world = draw(task, size=2 * task.balance), world_of(task)
    assert batch.prompt.shape == (2 * task.balance, task.columns, task.token_width)
    y, z, k = examples(task, batch), batch.latent.chain, asked(task, batch)
    for b in range(len(z)):
        prompt, mask = by_hand(task, world, y[b].tolist(), z[b].tolist(), int(k[b]))
        assert batch.prompt[b].equal(prompt)
        assert batch.mask[b].equal(mask)
        assert batch.target[b].equal(world.patterns[z[b, k[b]]])


def test_the_latent_truth_of_a_training_prompt_says_what_is_in_each_column(batch):
    chains, context = batch.latent.chain.tolist(), TASK.steps * TASK.length
    for b, k in enumerate(asked(TASK, batch).tolist()):
        pad, z = [NOTHING] * (TASK.steps - k), chains[b]
        assert batch.latent.step[b].tolist() == [0, 1, 2] * TASK.length + pad + [*range(k)]
        assert batch.latent.pattern[b, context:].tolist() == pad + z[:k]
        assert batch.latent.output[b, context:].tolist() == [*pad, *z[1:k], NOTHING]
        right = [False] * len(pad) + [True] * (k - 1) + [False]
        assert batch.latent.correct[b].tolist() == [True] * context + right


def test_the_query_is_last_and_its_slot_hides_the_answer(batch, noisy):
    for prompt, mask in [(batch.prompt, batch.mask), (noisy.prompt, noisy.mask)]:
        half = prompt.shape[-1] // 2
        assert mask[:, -1].all()
        assert prompt[:, -1, :half].ne(0).any(-1).all()
        assert prompt[:, -1, half:].eq(0).all()


def test_every_step_asks_equally_often_about_every_pattern_at_every_place_of_the_chain(batch):
    for size in (12, 60):
        part = first(batch, size)
        for k in (1, 2, 3):
            chains = part.latent.chain[asked(TASK, part) == k]
            assert len(chains) == size // 3
            assert chains.shape[1] == 4
            for column in chains.T:
                assert column.bincount(minlength=4).tolist() == [size // 12] * 4


def test_one_prompt_has_one_bijection_a_step_and_its_query_follows_them(batch):
    y, z = examples(TASK, batch), batch.latent.chain
    for b in range(len(z)):
        shown: dict[tuple[int, int], int] = {}
        for chain in [*y[b].tolist(), z[b].tolist()]:
            for step in range(3):
                place, output = (step, chain[step]), chain[step + 1]
                assert shown.setdefault(place, output) == output
        for step in range(3):
            outputs = [output for place, output in shown.items() if place[0] == step]
            assert len(set(outputs)) == len(outputs)


def test_every_prompt_has_bijections_of_its_own_and_every_step_too():
    task = replace(TASK, length=40, alpha=0.1)
    f = bijections(task, draw(task, size=48))
    # Of 24^3 = 13,824 triples, 48 prompts share one with a chance of 48^2 / 2 / 13,824 = 8 %.
    assert len({str(each.tolist()) for each in f}) >= 46
    assert (f[:, 0] != f[:, 1]).any(-1).sum() > 24


# How often.


@pytest.fixture(scope="module", params=[(3, 2), (4, 1)], ids=str)
def many(request: pytest.FixtureRequest) -> tuple[Reasoning, Batch]:
    patterns, steps = request.param
    task = Reasoning(width=5, patterns=patterns, steps=steps, length=16, alpha=0.2)
    return task, sample(task, seed=SEED, size=MANY)


def test_bijections_are_uniform_whatever_the_chain_of_the_query(many):
    task, batch = many
    K, M = task.steps, task.patterns
    f, z = bijections(task, batch), batch.latent.chain
    shown = (f != NOTHING).flatten(1).all(1)  # depends on the starts alone
    assert shown.double().mean() > 0.9
    # Given z, each f_k is one of the (M - 1)! that take z_{k-1} to z_k.
    rest = math.factorial(M - 1) ** K
    value = 0.0
    for chain in product(range(M), repeat=K + 1):
        here = f[shown & (z == torch.tensor(chain)).all(1)].flatten(1)
        found, counts = here.unique(dim=0, return_counts=True)
        assert len(found) == rest
        value += float((counts - len(here) / rest).square().sum()) / (len(here) / rest)
    assert below(value, M ** (K + 1) * (rest - 1))


def test_the_query_chain_is_uniform_and_knows_not_of_its_place_in_the_batch(many):
    task, batch = many
    M, z = task.patterns, batch.latent.chain
    place = torch.arange(MANY) % M
    for one, other in combinations([place, *z.T], 2):
        counts = (M * one + other).bincount(minlength=M * M)
        # Sums of n = MANY / M uniform permutation matrices: their entries deviate by
        # M / (M - 1) of what a chi-square with (M - 1)^2 degrees of freedom has.
        expected = MANY / M**2
        value = float((counts - expected).square().sum()) / expected
        assert below(value * (M - 1) / M, (M - 1) ** 2)


@pytest.mark.parametrize("alpha", [0.35, 0.8, 1.0])
def test_alpha_is_how_often_an_example_has_the_querys_pattern_at_the_querys_step(alpha):
    task = replace(TASK, alpha=alpha)
    batch = draw(task, size=MANY // 12 * 12)
    y, z, at = examples(task, batch), batch.latent.chain, asked(task, batch) - 1
    for step in range(3):
        same = (y[..., step] == z[:, None, step])[at == step]
        assert within(same.double().mean(), alpha, same.numel())
    same = y[..., 0] == z[:, :1]
    assert all((y[..., step] == z[:, None, step]).equal(same) for step in range(4))
    # Each of the M - 1 other patterns equally often, whatever the query's.
    for start in range(4):
        rows = y[..., 0][z[:, 0] == start].flatten()
        for other in set(range(4)) - {start}:
            assert within((rows == other).double().mean(), (1 - alpha) / 3, len(rows))


def test_examples_do_not_know_of_each_other(many):
    task, batch = many
    same = (examples(task, batch)[..., 0] == batch.latent.chain[:, :1]).double()
    correlation = torch.corrcoef(same.T) - torch.eye(16)
    assert (correlation.abs() < 5 / math.sqrt(MANY)).all()


# The world of a member.


def test_patterns_and_codes_are_orthonormal():
    world = world_of(TASK)
    both = torch.cat([world.patterns, world.codes])
    torch.testing.assert_close(both @ both.T, torch.eye(7).double(), rtol=0, atol=1e-12)
    assert (world.patterns.shape, world.codes.shape) == ((4, 12), (3, 12))
    assert world.alpha == 0.35
    assert all(leaf.dtype == torch.float64 for leaf in world)


def test_members_have_their_own_patterns():
    for task in (TASK, NOISY):
        assert not world_of(task, 1).patterns.allclose(world_of(task, 2).patterns)


# Draws as values.


@pytest.mark.parametrize(("task", "few"), [(TASK, 12), (NOISY, 3)], ids=["training", "test"])
def test_a_draw_is_a_function_of_seed_and_step_and_the_first_of_many_are_those_of_few(task, few):
    one = draw(task, size=few)
    assert_equal(one, draw(task, size=few))
    assert_equal(one, first(draw(task, size=3 * few), few))
    for other in (draw(task, size=few, step=1), draw(task, size=few, seed=SEED + 1)):
        assert not one.latent.pattern.equal(other.latent.pattern)


@pytest.mark.parametrize("task", [TASK, NOISY], ids=["training", "test"])
def test_the_same_truth_is_drawn_in_either_precision(task):
    single, double = sample(task, seed=SEED, size=96), draw(task, size=96)
    assert all(a.equal(b) for a, b in zip(single.latent, double.latent, strict=True))
    assert single.mask.equal(double.mask)
    assert single.prompt.dtype == single.target.dtype == torch.float32
    # Entries are sums of three numbers below one, and noise of a few roundings.
    torch.testing.assert_close(single.prompt.double(), double.prompt, rtol=0, atol=2e-6)
    torch.testing.assert_close(single.target.double(), double.target, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "tasks",
    [
        [TASK, replace(TASK, alpha=0.9), TASK],
        [replace(TASK, steps=1)] * 3,
        [NOISY, replace(NOISY, alpha=0.2), replace(NOISY, component=0.3)],
        [replace(NOISY, noise=0, component=1)] * 3,
    ],
    ids=["training", "one step", "test", "exact"],
)
def test_members_of_an_ensemble_draw_what_they_draw_alone(tasks):
    seeds, size = [3, SEED, 3], 12
    made = worlds(tasks, seeds, torch.float64)
    key = torch.stack([fold(stream(seed, "evaluation"), 0) for seed in seeds])
    block = uniforms(key, (size, tasks[0].uniforms), torch.float64)
    together = torch.vmap(tasks[0].draw, (made.axes, 0))(made.world, block)
    for member, (task, seed) in enumerate(zip(tasks, seeds, strict=True)):
        alone = draw(task, seed=seed, size=size)
        latent = Latent(*(part[member] for part in together.latent))
        assert all(a.equal(b) for a, b in zip(latent, alone.latent, strict=True))
        assert together.mask[member].equal(alone.mask)
        torch.testing.assert_close(together.prompt[member], alone.prompt, rtol=0, atol=1e-14)
        torch.testing.assert_close(together.target[member], alone.target, rtol=0, atol=0)


# As many uniforms as there are independent choices, and each of them counts: none is used twice.
# K M for bijections, K + 1 for the chain, l starts; (K + 1) M' names, a query, (K + 1) l steps, and
# normals in pairs for (K + 1) l + 1 noise vectors.
@pytest.mark.parametrize(
    ("task", "count"),
    [(TASK, 12 + 4 + 7), (replace(NOISY, length=2), 16 + 1 + 8 + 9 * 14)],
    ids=["training", "test"],
)
def test_every_uniform_that_a_prompt_takes_decides_something(task, count):
    assert task.uniforms == count
    world, before = world_of(task), uniforms(stream(SEED, "probe"), (60, count), torch.float64)
    for i in range(count):
        changed = before.clone()
        changed[:, i] = before[:, i].roll(1)
        assert not task.draw(world, changed).prompt.equal(task.draw(world, before).prompt)


def test_members_may_differ_in_alpha_component_and_transitions_of_one_size():
    assert program(replace(TASK, alpha=0.9)) == program(TASK)
    assert program(replace(NOISY, alpha=0.9, component=0.1)) == program(NOISY)
    assert NOISY.transitions != noiseless(NOISY.steps, NOISY.patterns)
    right = replace(NOISY, transitions=noiseless(NOISY.steps, NOISY.patterns))
    assert program(right) == program(NOISY)
    smaller = noiseless(NOISY.steps, NOISY.patterns - 1)
    others: list[dict[str, Any]] = [{"noise": 0.1}, {"length": 3}, {"transitions": smaller}]
    assert all(program(replace(NOISY, **other)) != program(NOISY) for other in others)
    assert isinstance(TASK, Task)
    assert isinstance(NOISY, Task)


def test_the_default_is_the_papers_setting_and_our_length():
    paper = Reasoning(width=30, patterns=20, steps=3, length=20, alpha=0.4)
    assert Reasoning() == paper
    assert (paper.balance, paper.columns, paper.token_width) == (60, 63, 60)


# Bad input.


@pytest.mark.parametrize("size", [18, 20])  # multiples of K = 3 and of M = 4
def test_a_batch_that_cannot_be_balanced_is_refused_by_sample_run_and_draw(size):
    line = f"is {size}, but a Reasoning needs a multiple of 12"
    with pytest.raises(ValueError, match=f"^size {line}$"):
        draw(TASK, size=size)
    with pytest.raises(ValueError, match=f"^batch {line}$"):
        Run(task=TASK, model=OneHead(width=12), loss="squared", batch=size)
    line = f"^a batch has {size} prompts, but must be a multiple of K M = 12: every step asks"
    with pytest.raises(ValueError, match=line):
        TASK.draw(world_of(TASK), torch.full((size, TASK.uniforms), 0.5).double())


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"steps": 0}, ValueError, r"steps \(K\) is 0, but must be at least 1"),
        ({"steps": 2.0}, TypeError, r"steps \(K\) is 2\.0, but must be an integer .* 1"),
        ({"patterns": 1}, ValueError, r"patterns \(M\) is 1, but must be at least 2"),
        ({"length": 0}, ValueError, r"length \(l\) is 0, but must be at least 1"),
        ({"length": True}, TypeError, r"length \(l\) is True, but must be an integer .* 1"),
        ({"width": 0}, ValueError, r"width \(d_X\) is 0, but must be at least 1"),
        ({"width": None}, TypeError, r"width \(d_X\) is None, but must be an integer .* 1"),
        ({"patterns": 10}, ValueError, r"width \(d_X\) is 12, but 10 .* and 3 .* 13 dimensions"),
        ({"alpha": 0}, ValueError, r"alpha is 0, but must lie in \(0, 1\]"),
        ({"alpha": 1.1}, ValueError, r"alpha is 1\.1, but must lie in \(0, 1\]"),
        ({"alpha": math.nan}, ValueError, r"alpha is nan, but must lie in \(0, 1\]"),
        ({"alpha": "0.4"}, TypeError, r"alpha is '0\.4', but must be a number"),
    ],
    ids=str,
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    refuses(TASK, wrong, error, line)
