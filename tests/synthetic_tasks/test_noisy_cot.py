import math
from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from torch import Tensor

from synthetic_tasks import Batch, NoisyReasoning, Reasoning, Transitions, sample
from synthetic_tasks.cot import NOTHING
from synthetic_tasks.noisy_cot import NoisyWorld
from synthetic_tasks.threefry import fold, stream
from synthetic_tasks.transitions import noiseless
from tests.synthetic_tasks.chains import (
    MANY,
    NOISY,
    SEED,
    TASK,
    TRAINED,
    below,
    bijections,
    draw,
    examples,
    refuses,
    within,
    world_of,
)

WRONG = Transitions(  # correct outputs 1 2 0, then 0 2 1
    matrices=(
        ((0.22, 0.47, 0.31), (0.13, 0.05, 0.82), (0.64, 0.16, 0.2)),
        ((0.71, 0.04, 0.25), (0.08, 0.37, 0.55), (0.1, 0.9, 0.0)),
    )
)
BARE = Reasoning(width=5, patterns=3, steps=2, length=1)  # what WRONG and two steps go with


@pytest.fixture(scope="module")
def noisy() -> Batch:
    return draw(NOISY, size=500)


# The world of a member.


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


# Bad input.


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
