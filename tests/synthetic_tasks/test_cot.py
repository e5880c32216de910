import math
from dataclasses import replace
from functools import partial
from itertools import combinations, permutations, product
from typing import Any

import pytest
import torch
from torch import Tensor

from synthetic_tasks import Batch, NoisyReasoning, Reasoning, Task, Transitions, sample
from synthetic_tasks.cot import NOTHING, Latent, World
from synthetic_tasks.noisy_cot import NoisyWorld
from synthetic_tasks.threefry import fold, stream, uniforms
from synthetic_tasks.transitions import common_shift, noiseless
from synthetic_tasks.value import program
from tdlab.ensemble import worlds
from tdlab.models import OneHead
from tdlab.run import Run

SEED = 12
TASK = Reasoning(width=12, patterns=4, steps=3, length=7, alpha=0.35)  # K M = 12
TRAINED = Reasoning(width=13, patterns=5, steps=3, length=2)
WRONG = Transitions(  # correct outputs 1 2 0, then 0 2 1
    matrices=(
        ((0.22, 0.47, 0.31), (0.13, 0.05, 0.82), (0.64, 0.16, 0.2)),
        ((0.71, 0.04, 0.25), (0.08, 0.37, 0.55), (0.1, 0.9, 0.0)),
    )
)
NOISY = NoisyReasoning(
    trained=TRAINED,
    transitions=common_shift(3, 4, correct=0.6),
    length=6,
    alpha=0.55,
    component=0.7,
    noise=0.3,
)
BARE = Reasoning(width=5, patterns=3, steps=2, length=1)  # what WRONG and two steps go with
MANY = 6000  # prompts of a statistical test

draw = partial(sample, seed=SEED, dtype=torch.float64)


def world_of(task: Reasoning | NoisyReasoning, seed: int = SEED) -> Any:
    return task.world(stream(seed, "world"))


@pytest.fixture(scope="module")
def batch() -> Batch:
    return draw(TASK, size=60)


@pytest.fixture(scope="module")
def noisy() -> Batch:
    return draw(NOISY, size=500)


def within(measured: Tensor | float, chance: float, count: float, sigmas: float = 5) -> bool:
    """Whether a frequency among ``count`` coins of this chance is where it must be."""
    return abs(float(measured) - chance) <= sigmas * math.sqrt(chance * (1 - chance) / count)


def below(chi_square: float, freedom: float) -> bool:
    """Laurent and Massart (2000): P(X > f + 2 sqrt(f t) + 2 t) <= exp(-t), here 8e-7."""
    return chi_square < freedom + 2 * math.sqrt(14 * freedom) + 28


def examples(task: Reasoning | NoisyReasoning, batch: Batch) -> Tensor:
    """The chains y_0 .. y_K of the context: (b, l, K + 1)."""
    context = task.steps * task.length
    upper = batch.latent.pattern[:, :context].unflatten(1, (-1, task.steps))
    lower = batch.latent.output[:, :context].unflatten(1, (-1, task.steps))
    assert upper[..., 1:].equal(lower[..., :-1])
    return torch.cat([upper, lower[..., -1:]], dim=-1)


def asked(task: Reasoning, batch: Batch) -> Tensor:
    """Which step each prompt asks for, from 1: as many columns as follow the context."""
    return batch.mask[:, task.steps * task.length :].sum(1)


def bijections(task: Reasoning | NoisyReasoning, batch: Batch) -> Tensor:
    """What the context shows of f_1 .. f_K: (b, K, j), NOTHING where no example passes."""
    y = examples(task, batch)
    f = torch.full((len(y), task.steps, task.patterns), NOTHING)
    return f.scatter(2, y[..., :-1].movedim(1, 2), y[..., 1:].movedim(1, 2))


def assert_equal(one: Batch, other: Batch) -> None:
    flat = [[*batch[:3], *batch.latent] for batch in (one, other)]
    assert all(a.equal(b) for a, b in zip(*flat, strict=True))


def first(batch: Batch, count: int) -> Batch:
    latent = Latent(*(part[:count] for part in batch.latent))
    return Batch(batch.prompt[:count], batch.mask[:count], batch.target[:count], latent)


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


@pytest.mark.parametrize("component", [0.0, 0.7, 1.0])
def test_test_patterns_are_orthonormal_with_the_part_asked_for_in_the_span(component):
    trained, world = world_of(TRAINED), world_of(replace(NOISY, component=component))
    assert isinstance(world, NoisyWorld)
    both = torch.cat([world.patterns, world.codes])
    torch.testing.assert_close(both @ both.T, torch.eye(7).double(), rtol=0, atol=1e-12)
    assert world.codes.equal(trained.codes)
    coefficients = world.patterns @ trained.patterns.T
    assert ((coefficients.norm(dim=1) - component).abs() < 1e-12).all()
    outside = world.patterns - coefficients @ trained.patterns
    gram = (1 - component**2) * torch.eye(4).double()
    torch.testing.assert_close(outside @ outside.T, gram, rtol=0, atol=1e-12)
    assert outside.mm(trained.codes.T).abs().max() < 1e-12
    # The same directions inside whatever the component.
    inside = component * world_of(replace(NOISY, component=1)).patterns
    torch.testing.assert_close(coefficients @ trained.patterns, inside, rtol=0, atol=1e-12)


def test_test_patterns_are_uniformly_oriented_in_the_span():
    keys = torch.stack([fold(stream(SEED, "world"), i) for i in range(1000)])

    def overlaps(key: Tensor) -> Tensor:
        return NOISY.world(key).patterns @ TRAINED.world(key).patterns.T / 0.7

    q = torch.vmap(overlaps)(keys)
    # Of a Haar matrix of order 5: E q = 0, E q^2 = 1 / 5, E q^4 = 3 / 35.
    assert (q.mean(0).abs() < 5 * math.sqrt(1 / 5 / 1000)).all()
    spread = math.sqrt((3 / 35 - 1 / 25) / 1000)
    assert ((q.square().mean(0) - 1 / 5).abs() < 5 * spread).all()


def test_members_have_their_own_patterns():
    for task in (TASK, NOISY):
        assert not world_of(task, 1).patterns.allclose(world_of(task, 2).patterns)


# What a test prompt is made of.


def noises(task: NoisyReasoning, batch: Batch) -> Tensor:
    """What is added to each state: of the chains of the context, then of the query, (b, s, d)."""
    world, latent, K = world_of(task), batch.latent, task.steps
    upper, lower = batch.prompt.chunk(2, dim=-1)
    upper = upper - world.patterns[latent.pattern] - world.codes[latent.step]
    lower = (lower[:, :-1] - world.patterns[latent.output[:, :-1]]).unflatten(1, (-1, K))
    context = upper[:, :-1].unflatten(1, (-1, K))
    # A state is in the lower half of one column and in the upper half of the next.
    torch.testing.assert_close(lower[:, :, :-1], context[:, :, 1:], rtol=0, atol=1e-14)
    states = torch.cat([context, lower[:, :, -1:]], dim=2)
    return torch.cat([states.flatten(1, 2), upper[:, -1:]], dim=1)


@pytest.mark.parametrize("width", [12, 13])
def test_each_state_has_one_noise_vector_of_its_own_with_the_norm_asked_for(width):
    task = replace(NOISY, trained=replace(TRAINED, width=width))
    vectors = noises(task, draw(task, size=20))
    assert vectors.shape == (20, 6 * 4 + 1, width)
    assert ((vectors.norm(dim=-1) - 0.3).abs() < 1e-14).all()
    assert (torch.pdist(vectors.flatten(0, 1)) > 1e-3).all()


def test_noise_is_uniform_in_direction_and_independent_of_pattern_and_neighbour(noisy):
    x = noises(NOISY, noisy) / 0.3
    d, flat = 13, x.flatten(0, 1)
    n = len(flat)
    # On the sphere E x = 0, E x_i x_j = [i = j] / d, and E x_i^2 x_j^2 is 1 / (d (d + 2)), or three
    # times that where i = j.
    assert (flat.mean(0).abs() < 5 * math.sqrt(1 / d / n)).all()
    second, eye = flat.T @ flat / n, torch.eye(d).double()
    spread = ((1 + 2 * eye) / (d * (d + 2)) - eye / d**2).sqrt() / math.sqrt(n)
    assert ((second - eye / d).abs() < 5 * spread).all()
    fourth = 105 / (d * (d + 2) * (d + 4) * (d + 6)) - (3 / (d * (d + 2))) ** 2
    kurtosis = flat.pow(4).mean(0) - 3 / (d * (d + 2))
    assert (kurtosis.abs() < 5 * math.sqrt(fourth / n)).all()
    own = world_of(NOISY).patterns[examples(NOISY, noisy).flatten(1)]
    for other in (own, x[:, 1:]):
        along = torch.einsum("b s d, b s d -> b s", x[:, :-1], other).flatten()
        assert along.mean().abs() < 5 / math.sqrt(d * len(along))


def test_a_test_prompt_is_context_and_the_first_query_of_a_chain(noisy):
    latent, world = noisy.latent, world_of(NOISY)
    assert noisy.prompt.shape == (500, NOISY.columns, NOISY.token_width)
    assert (NOISY.columns, NOISY.token_width, NOISY.balance) == (19, 26, 1)
    assert noisy.mask.shape == noisy.prompt.shape[:2]
    assert noisy.mask.all()
    assert latent.step.equal(torch.tensor([0, 1, 2] * 6 + [0]).expand(500, -1))
    assert latent.pattern[:, -1].equal(latent.chain[:, 0])
    assert latent.output[:, -1].eq(NOTHING).all()
    assert latent.correct[:, -1].eq(False).all()
    assert noisy.target.equal(world.patterns[latent.chain[:, 1]])
    assert latent.chain.shape == (500, 4)


@pytest.mark.parametrize("component", [0.7, 1])
def test_without_noise_test_prompts_are_exact_and_draw_none(component):
    task = replace(NOISY, noise=0, component=component)
    assert NOISY.uniforms - task.uniforms == (6 * 4 + 1) * 14  # an even number for each state
    batch, world = draw(task, size=30), world_of(task)
    for b, column in product(range(30), range(18)):
        step, pattern, output = (int(part[b, column]) for part in batch.latent[:3])
        exact = torch.cat([world.patterns[pattern] + world.codes[step], world.patterns[output]])
        assert batch.prompt[b, column].equal(exact)
    query = world.patterns[batch.latent.chain[:, 0]] + world.codes[0]
    assert batch.prompt[:, -1].equal(torch.nn.functional.pad(query, (0, 13)))


# How reasoning goes wrong.


def goes(before: Tensor, after: Tensor, chances: Tensor) -> bool:
    """Whether patterns follow each other as often as the matrix says."""
    return all(
        within((after[before == i] == j).double().mean(), float(chance), int((before == i).sum()))
        for i, row in enumerate(chances)
        for j, chance in enumerate(row)
    )


def rows(y: Tensor, transitions: Transitions) -> list[Tensor]:
    """The rows of the matrices that the patterns stand for, (K + 1, j), as their frequencies say.

    Every renaming is tried, step by step.
    """
    orders = [torch.tensor(order) for order in permutations(range(transitions.patterns))]
    named = [order[None] for order in orders]
    for k, matrix in enumerate(torch.tensor(transitions.matrices)):
        named = [
            torch.cat([before, order[None]])
            for before, order in product(named, orders)
            if goes(before[-1, y[:, k]], order[y[:, k + 1]], matrix)
        ]
    return named


@pytest.fixture(scope="module")
def long() -> tuple[NoisyReasoning, Batch]:
    """Prompts that show how often each step goes where: chances within 5 % at five sigmas."""
    task = NoisyReasoning(trained=BARE, transitions=WRONG, length=8000, alpha=0.4, noise=0)
    return task, sample(task, seed=SEED, size=5)


def test_steps_go_as_the_matrices_say_under_a_renaming_of_each_prompts_own(long):
    task, batch = long
    renamings, correct = [], torch.from_numpy(WRONG.correct)
    for b, y in enumerate(examples(task, batch)):
        (row,) = rows(y, WRONG)
        renamings.append(row)
        start, end = row[0, y[:, 0]], row[2, y[:, 2]]
        assert goes(start, end, torch.from_numpy(WRONG.whole))
        # What is correct, for every example and for the query.
        for k in (0, 1):
            right = correct[k, row[k, y[:, k]]] == row[k + 1, y[:, k + 1]]
            assert batch.latent.correct[b, k:-1:2].equal(right)
        z = [int(row[k, pattern]) for k, pattern in enumerate(batch.latent.chain[b])]
        assert z[1:] == [int(WRONG.correct[0, z[0]]), int(WRONG.answer[z[0]])]
        # Where the examples start.
        for i in range(3):
            assert within((start == i).double().mean(), 0.4 if i == z[0] else 0.3, len(y))
    assert len({str(row.tolist()) for row in renamings}) > 1
    assert any(row[0].ne(row[1]).any() for row in renamings)


def test_a_step_goes_wrong_whatever_the_step_before_and_the_example_before_did(long):
    task, batch = long
    for b, y in enumerate(examples(task, batch)):
        one, two = batch.latent.correct[b, :-1].unflatten(0, (-1, 2)).double().T
        for pattern in range(3):
            there = y[:, 1] == pattern
            passing, came = two[there], one[there]
            for other in (came, passing.roll(1)):
                correlation = torch.corrcoef(torch.stack([passing, other]))[0, 1]
                assert abs(correlation) < 5 / math.sqrt(len(passing))


def test_the_query_starts_from_every_row_and_outcomes_are_as_likely_as_the_whole_says():
    # One example a prompt, from the query's pattern: prompts are coins, their rows uniform.
    task = NoisyReasoning(trained=BARE, transitions=WRONG, length=1, alpha=1, noise=0)
    batch = sample(task, seed=SEED, size=MANY)
    y, z = examples(task, batch)[:, 0], batch.latent.chain
    assert y[:, 0].equal(z[:, 0])
    at = torch.arange(3)
    for k, chances in ((1, WRONG.stepwise[0]), (2, WRONG.whole)):
        answers = WRONG.correct[0] if k == 1 else WRONG.answer
        assert within((y[:, k] == z[:, k]).double().mean(), chances[at, answers].mean(), MANY)


def test_the_bijections_of_test_prompts_are_uniform_and_the_querys_start_knows_none_of_them():
    task = NoisyReasoning(trained=BARE, transitions=noiseless(2, 3), length=12, alpha=0.4, noise=0)
    batch = sample(task, seed=SEED, size=MANY)
    assert batch.latent.correct[:, :-1].all()
    f = bijections(task, batch).flatten(1)
    shown = f.ne(NOTHING).all(1)  # depends on the starts alone
    assert shown.double().mean() > 0.9
    both = torch.cat([f, batch.latent.chain[:, :1]], dim=1)[shown]
    found, counts = both.unique(dim=0, return_counts=True)
    assert len(found) == 6 * 6 * 3
    expected = len(both) / len(found)
    assert below(float((counts - expected).square().sum()) / expected, len(found) - 1)


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


def refuses(task: Any, wrong: dict[str, Any], error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=f"^{line}$") as caught:
        replace(task, **wrong)
    assert caught.type is error
    assert "\n" not in str(caught.value)


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


NARROW, SIX = replace(TRAINED, width=11), noiseless(3, 6)


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"trained": WRONG}, TypeError, "trained is Transitions.*, but must be Reasoning"),
        ({"transitions": TASK}, TypeError, "transitions is Reasoning.*, but must be Transitions"),
        ({"transitions": WRONG}, ValueError, "transitions have 2 steps, but .* has K = 3"),
        (
            {"transitions": SIX},
            ValueError,
            r"patterns \(M'\) is 6, but .* only M = 5 of d_X = 13.*",
        ),
        ({"trained": NARROW}, ValueError, r"width \(d_X\) is 11, but component 0\.7 takes 12: .*"),
        ({"length": 0}, ValueError, r"length \(l\) is 0, but must be at least 1"),
        ({"alpha": 0}, ValueError, r"alpha is 0, but must lie in \(0, 1\]"),
        ({"alpha": 1.1}, ValueError, r"alpha is 1\.1, but must lie in \(0, 1\]"),
        ({"component": -0.1}, ValueError, r"component is -0\.1, but must lie in \[0, 1\]"),
        ({"component": 1.1}, ValueError, r"component is 1\.1, but must lie in \[0, 1\]"),
        ({"component": math.nan}, ValueError, r"component is nan, but must lie in \[0, 1\]"),
        ({"noise": -0.1}, ValueError, r"noise is -0\.1, but must lie in \[0, 0\.707107\)"),
        ({"noise": math.sqrt(0.5)}, ValueError, r"noise is 0\.7071.*, .* in \[0, 0\.707107\)"),
        ({"noise": math.nan}, ValueError, r"noise is nan, .* in \[0, 0\.707107\)"),
        ({"noise": "0.2"}, TypeError, r"noise is '0\.2', but must be a number"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_a_bad_test_setting_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    refuses(NOISY, wrong, error, line)


def test_without_a_part_outside_the_span_patterns_and_codes_are_all_that_must_fit():
    task = replace(NOISY, trained=replace(TRAINED, width=8), component=1, noise=0.7)
    assert draw(task, size=2).prompt.shape == (2, 19, 16)
    fitting = replace(NOISY, trained=replace(TRAINED, width=12))
    assert draw(fitting, size=2).prompt.shape == (2, 19, 24)
