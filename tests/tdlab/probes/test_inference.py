"""Greedy inference against the growing prompt of the paper, built literally, and planted answers.

`growing` is the oracle: one prompt in numpy that the model's own `forward` reads; v_k goes into the
lower half of the last column, and (v_k + c_{k+1}; 0) is appended.
"""

import itertools
import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import NoisyReasoning, Reasoning, sample
from synthetic_tasks.threefry import stream
from synthetic_tasks.transitions import noiseless
from tdlab.models import FactoredOneHead, OneHead, stacked
from tdlab.probes.inference import (
    chain_of_thought,
    final_outputs_only,
    in_context,
    mistakes,
    nearest,
)

ROOT = Path(__file__).parents[3]
WIDTH, EXAMPLES, STEPS, PATTERNS = 4, 3, 3, 5
COLUMNS = EXAMPLES * STEPS


class Prompt(NamedTuple):
    """A context, the first column of a chain, and what the chain is made of."""

    context: Tensor
    query: Tensor
    mask: Tensor
    dictionary: Tensor
    codes: Tensor


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241002)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def generic(generator):
    """Nothing orthogonal, nothing of length one, padding inside the context."""
    mask = torch.ones(COLUMNS, dtype=torch.bool)
    mask[[0, 4, COLUMNS - 1]] = False
    return Prompt(
        normal(generator, COLUMNS, 2 * WIDTH),
        torch.cat([normal(generator, WIDTH), torch.zeros(WIDTH, dtype=torch.float64)]),
        mask,
        normal(generator, PATTERNS, WIDTH),
        normal(generator, STEPS, WIDTH),
    )


def random_head(generator, model):
    shapes = {name: leaf.shape for name, leaf in model.init(stream(0, "init")).items()}
    params = {name: normal(generator, *shape) for name, shape in shapes.items()}
    return params, partial(model.answer, params)


def growing(forward, prompt):
    """Patterns and attention of each step, on one prompt that grows by a column a step."""
    mu, codes = prompt.dictionary.numpy(), prompt.codes.numpy()
    columns = [*prompt.context.numpy(), prompt.query.numpy()]
    there = [*prompt.mask.tolist(), True]
    found, looked = [], []
    for k in range(len(codes)):
        trace = forward(torch.from_numpy(np.array(columns)), torch.tensor(there))
        F = trace.output.numpy()
        v = min(range(len(mu)), key=lambda j: np.linalg.norm(F - mu[j]))
        found.append(v)
        looked.append(trace.attention.numpy())
        if k + 1 < len(codes):
            columns[-1] = np.concatenate([columns[-1][: mu.shape[1]], mu[v]])
            columns.append(np.concatenate([mu[v] + codes[k + 1], np.zeros(mu.shape[1])]))
            there.append(True)
    return found, looked


def assert_as_growing(chain, forward, prompt):
    """Same patterns, same attention, and zero where no column was yet; says which patterns."""
    found, looked = growing(forward, prompt)
    length = len(prompt.context)
    assert chain.patterns.tolist() == found
    assert chain.attention.shape == (len(found), length + len(found) - 1)
    for k, (row, expected) in enumerate(zip(chain.attention, looked, strict=True)):
        torch.testing.assert_close(row[: length + k], torch.from_numpy(expected))
        assert row[length + k :].eq(0).all()
    return tuple(found)


# Against the growing prompt.


@pytest.mark.parametrize("model", [OneHead(width=WIDTH), FactoredOneHead(width=WIDTH)])
@pytest.mark.parametrize("steps", [1, 2, STEPS])
def test_a_chain_is_what_the_growing_prompt_gives(generator, model, steps):
    seen = set()
    for _ in range(12):
        params, answer = random_head(generator, model)
        whole = generic(generator)
        prompt = whole._replace(codes=whole.codes[:steps])
        chain = chain_of_thought(answer, *prompt)
        found = assert_as_growing(chain, partial(model.forward, params), prompt)
        torch.testing.assert_close(chain.attention.sum(-1), torch.ones(steps).double())
        assert chain.attention[:, :COLUMNS][:, ~prompt.mask].eq(0).all()
        # The answer in context is the first of the chain.
        assert in_context(answer, *prompt[:4]).equal(torch.tensor(found[0]))
        seen.add(found)
    assert len(seen) > 2  # chains of many kinds


def foreign(prompt):
    """A stranger's model of one prompt: two rounds of something, no mask, no parameters."""
    attention = (prompt[:-1] @ prompt[-1].roll(1)).tanh().softmax(-1)
    mixed = (attention @ prompt[:-1]).sin()
    return SimpleNamespace(output=mixed[:WIDTH] * 2 - mixed[WIDTH:], attention=attention)


def test_any_function_of_one_prompt_can_answer(generator):
    prompt = generic(generator)
    chain = chain_of_thought(lambda shown, own, _: foreign(torch.cat([shown, own])), *prompt)
    assert_as_growing(chain, lambda columns, _: foreign(columns), prompt)


# Planted answers.


def planted(prompt, plan):
    """An answer that goes by a plan, whatever it is shown, and keeps what it was shown."""
    shown: list[Any] = []

    def answer(context, chain, mask):
        assert context.equal(prompt.context)
        assert mask.equal(prompt.mask)
        shown.append(chain)
        output = prompt.dictionary[plan[len(chain) - 1]] + 0.01  # near the pattern, not on it
        return SimpleNamespace(output=output, attention=torch.zeros(len(context) + len(chain) - 1))

    return answer, shown


@pytest.mark.parametrize("plan", [(2, 2, 2), (4, 0, 3)])
def test_each_answer_is_told_and_starts_the_next_column(generator, plan):
    prompt = generic(generator)
    answer, shown = planted(prompt, plan)
    assert chain_of_thought(answer, *prompt).patterns.tolist() == list(plan)
    x, mu, c = prompt.query[:WIDTH], prompt.dictionary[list(plan)], prompt.codes
    for k, chain in enumerate(shown):
        upper = torch.stack([x, mu[0] + c[1], mu[1] + c[2]][: k + 1])
        lower = torch.stack([*mu[:k], torch.zeros_like(x)])
        torch.testing.assert_close(chain, torch.cat([upper, lower], dim=-1))
    assert len(shown) == STEPS


def test_the_answer_in_context_is_asked_once_with_the_query_as_it_is(generator):
    prompt = generic(generator)
    answer, shown = planted(prompt, (3,))
    assert in_context(answer, *prompt[:4]).item() == 3
    (chain,) = shown
    assert chain.equal(prompt.query[None])


# A model that finds the column with the query's step and pattern: W is large on the upper halves.

BIJECTIONS = ((1, 2, 0, 3), (3, 0, 1, 2), (2, 3, 1, 0))
ORDER = (2, 0, 3, 1)  # of the examples, by their start


def retrieval(width):
    """Scores of 120 where step and pattern agree, of at most 60 elsewhere: e^-60 is nothing."""
    upper = torch.zeros(2 * width, dtype=torch.float64)
    upper[:width] = 60.0
    model = OneHead(width=width)
    params = {**model.init(stream(0, "init")), "W": upper.diag()}
    return partial(model.answer, params)


def walk(start, steps=BIJECTIONS):
    return list(itertools.accumulate(steps, lambda at, f: f[at], initial=start))


def exact(generator, start):
    """A prompt whose context shows every step of every chain once, orthonormal throughout."""
    basis = torch.linalg.qr(normal(generator, 8, 8)).Q
    mu, codes = basis[:4], basis[4:7]
    context = torch.stack(
        [
            torch.cat([mu[before] + codes[k], mu[after]])
            for example in ORDER
            for k, (before, after) in enumerate(itertools.pairwise(walk(example)))
        ]
    )
    query = torch.cat([mu[start] + codes[0], torch.zeros_like(mu[0])])
    return Prompt(context, query, torch.ones(len(context), dtype=torch.bool), mu, codes)


@pytest.mark.parametrize("step", range(3))
def test_one_wrong_column_on_the_way_makes_the_chain_wrong_there_and_after(generator, step):
    for start, shift in itertools.product(range(4), range(4)):
        prompt, truth = exact(generator, start), walk(start)
        told = (truth[step + 1] + shift) % 4  # the right one, and each wrong one
        column = 3 * ORDER.index(start) + step
        prompt.context[column, 8:] = prompt.dictionary[told]
        chain = chain_of_thought(retrieval(8), *prompt)
        expected = truth[1 : step + 1] + walk(told, BIJECTIONS[step + 1 :])
        assert chain.patterns.tolist() == expected
        error = mistakes(chain.patterns, torch.tensor(truth[1:]))
        assert error.tolist() == [0.0] * step + [float(shift > 0)] * (3 - step)
        shown = prompt.context[:, 8:] @ prompt.dictionary.T  # one-hot: what each column answers
        looked = chain.attention[:, : len(shown)] @ shown
        torch.testing.assert_close(looked, torch.eye(4).double()[chain.patterns])


TASK = NoisyReasoning(
    trained=Reasoning(width=7, patterns=4, steps=3),
    transitions=noiseless(3, 4),
    length=6,
    alpha=0.7,
    noise=0.0,
)


def drawn(size):
    """Prompts of the task, their world, the true chains, and whether the context holds them."""
    batch = sample(TASK, seed=5, size=size, dtype=torch.float64)
    world = TASK.world(stream(5, "world"))
    truth = batch.latent.chain
    held = (batch.latent.pattern[:, :-1:3] == truth[:, :1]).any(-1)
    parts = batch.prompt[:, :-1], batch.prompt[:, -1], batch.mask[:, :-1]
    return parts, world, truth, held


def test_over_prompts_of_the_task_perfect_retrieval_finds_chain_and_final_output():
    its, world, truth, held = drawn(64)
    assert held.sum() > 48
    answer = retrieval(7)

    def chain(context, query, mask):
        return chain_of_thought(answer, context, query, mask, world.patterns, world.codes)

    def final(context, query, mask):
        shown = final_outputs_only(context, world.codes)
        return in_context(answer, shown, query, mask, world.patterns)

    assert mistakes(vmap(chain)(*its).patterns, truth[:, 1:])[held].eq(0).all()
    assert vmap(final)(*its)[held].equal(truth[held, -1])


# Many at a time.


def test_over_prompts_and_members_every_chain_is_its_own(generator):
    model = OneHead(width=7)
    each = [random_head(generator, model)[0] for _ in range(2)]
    its, world, *_ = drawn(4)

    def chain(params, context, query, mask):
        answer = partial(model.answer, params)
        return chain_of_thought(answer, context, query, mask, world.patterns, world.codes)

    over_prompts = vmap(chain, (None, 0, 0, 0))
    together = vmap(over_prompts, (0, None, None, None))(stacked(each), *its)
    assert together.patterns.shape == (2, 4, 3)
    for member, b in itertools.product(range(2), range(4)):
        alone = chain(each[member], *(leaf[b] for leaf in its))
        assert together.patterns[member, b].equal(alone.patterns)
        torch.testing.assert_close(together.attention[member, b], alone.attention)
    assert len({tuple(steps) for steps in together.patterns.flatten(0, 1).tolist()}) > 3


def test_a_mask_that_keeps_the_first_examples_is_a_shorter_prompt(generator):
    _, answer = random_head(generator, OneHead(width=WIDTH))
    prompt = generic(generator)
    kept = torch.arange(1, EXAMPLES + 1)
    masks = torch.arange(COLUMNS) < STEPS * kept[:, None]
    many = vmap(lambda mask: chain_of_thought(answer, *prompt._replace(mask=mask)))(masks)
    for m, patterns, attention in zip(kept.tolist(), many.patterns, many.attention, strict=True):
        first = STEPS * m
        shorter = prompt._replace(context=prompt.context[:first], mask=masks[0].new_ones(first))
        alone = chain_of_thought(answer, *shorter)
        assert patterns.equal(alone.patterns)
        torch.testing.assert_close(attention[:, :first], alone.attention[:, :first])
        torch.testing.assert_close(attention[:, COLUMNS:], alone.attention[:, first:])
        assert attention[:, first:COLUMNS].eq(0).all()


# The context of final outputs.


def test_final_outputs_leave_of_each_example_its_start_its_end_and_the_codes(generator):
    context, codes = normal(generator, 2, COLUMNS, 2 * WIDTH), normal(generator, 2, STEPS, WIDTH)
    made = final_outputs_only(context, codes)
    assert made.shape == context.shape
    for b, i in itertools.product(range(2), range(EXAMPLES)):
        example, left = (leaf[b, STEPS * i : STEPS * (i + 1)] for leaf in (context, made))
        assert left[0].equal(torch.cat([example[0, :WIDTH], example[-1, WIDTH:]]))
        for k in range(1, STEPS):
            assert left[k].equal(torch.cat([codes[b, k], torch.zeros(WIDTH).double()]))
    for b in range(2):
        assert final_outputs_only(context[b], codes[b]).equal(made[b])


def test_of_examples_with_one_step_final_outputs_leave_everything(generator):
    context, codes = normal(generator, 5, 2 * WIDTH), normal(generator, 1, WIDTH)
    assert final_outputs_only(context, codes).equal(context)


# The nearest pattern, and mistakes.


def test_nearest_is_the_least_distance_also_among_patterns_of_different_length(generator):
    dictionary = normal(generator, 6, WIDTH) * torch.linspace(0.3, 2, 6)[:, None]
    outputs, mu = normal(generator, 3, 7, WIDTH), dictionary.numpy()
    expected = [
        [min(range(6), key=lambda j: np.linalg.norm(F - mu[j])) for F in row]
        for row in outputs.numpy()
    ]
    assert nearest(outputs, dictionary).tolist() == expected
    assert nearest(outputs[0, 0], dictionary).shape == ()
    assert {j for row in expected for j in row} > {0, 1, 2}
    assert nearest(dictionary, dictionary).tolist() == list(range(6))


def test_halfway_between_two_patterns_one_of_the_two_is_named_and_always_the_same():
    halfway = torch.tensor([[0.0, 0.5, 0.0, 0.5]] * 3)
    assert set(nearest(halfway, torch.eye(4)).tolist()) in ({1}, {3})


def test_an_output_that_is_no_number_is_near_to_no_pattern_and_ends_in_a_mistake(generator):
    dictionary = normal(generator, 3, WIDTH)
    outputs = torch.stack([dictionary[2], dictionary[0].where(torch.arange(WIDTH) > 1, math.nan)])
    assert nearest(outputs, dictionary).tolist() == [2, -1]
    assert mistakes(nearest(outputs, dictionary), torch.tensor([2, 0])).tolist() == [0, 1]


def test_mistakes_are_counted_step_by_step():
    found = torch.tensor([[[0, 1, 2], [3, 1, 2]], [[0, 0, 0], [2, 1, 0]]])
    truth = torch.tensor([[[0, 1, 2], [0, 1, 2]], [[0, 1, 2], [0, 1, 2]]])
    errors = mistakes(found, truth)
    assert errors.dtype == torch.float32
    assert errors.tolist() == [[[0, 0, 0], [1, 0, 0]], [[0, 1, 1], [1, 0, 1]]]
    assert mistakes(found, truth[0, 0]).equal(errors)  # one truth for many chains


def test_what_does_not_fit_is_refused_in_one_line_with_its_sizes():
    # Without the suite's own shape checks, as in a script of somebody else.
    script = """
from torch import ones
from tdlab.probes.inference import chain_of_thought, final_outputs_only, in_context, mistakes
def refused(function, *given):
    try:
        function(*given)
    except ValueError as error:
        print(error)
for query, context, width, codes in ((7, 8, 4, (2, 4)), (8, 7, 4, (2, 4)), (8, 8, 4, (2, 5)),
                                     (8, 8, 4, (0, 4)), (8, 8, 5, (2, 4))):
    given = None, ones(6, context), ones(query), ones(6), ones(3, width)
    refused(chain_of_thought, *given, ones(codes))
refused(in_context, *given)
for context, codes in (((5, 8), (2, 4)), ((6, 9), (2, 4)), ((2, 4, 8), (2, 3, 4))):
    refused(final_outputs_only, ones(context), ones(codes))
refused(mistakes, ones(5, 3), ones(5, 4))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    halves = "the {} has columns of {} entries, but with patterns of {} they must have {}"
    examples = "does not consist of examples with {} columns of 8 entries"
    assert done.stdout.splitlines() == [
        halves.format("query", 7, 4, 8),
        halves.format("context", 7, 4, 8),
        "codes have shape (2, 5), but must be at least one, each of 4 entries",
        "codes have shape (0, 4), but must be at least one, each of 4 entries",
        *[halves.format("query", 8, 5, 10)] * 2,
        "a context of shape (5, 8) " + examples.format(2),
        "a context of shape (6, 9) " + examples.format(2),
        "a context of shape (2, 4, 8) " + examples.format(3),
        "3 steps were taken, but the truth has 4",
    ], done.stderr
