"""Mass and entropy on planted attention, and the probes in a stranger's script."""

import itertools
import math

import pytest
import torch

from tdlab.probes import concentration, entropy
from tdlab.probes.attention import by_step_and_pattern
from tests.tdlab.probes.outside import in_a_process_of_its_own

ATTENTION = torch.tensor([[0.1, 0.23, 0.37, 0.3], [0.55, 0.05, 0.15, 0.25]], dtype=torch.float64)
RELEVANT = torch.tensor([[True, False, True, False], [False, True, True, True]])
SAME_STEP = torch.tensor([[True, True, False, False], [False, True, False, True]])


def close(measured, expected):
    torch.testing.assert_close(measured, torch.as_tensor(expected, dtype=torch.float64))


def test_concentration_is_the_mass_on_the_relevant_examples():
    close(concentration(ATTENTION, RELEVANT), [0.1 + 0.37, 0.05 + 0.15 + 0.25])


def test_concentration_is_nothing_where_nothing_is_relevant_and_all_where_everything_is():
    close(concentration(ATTENTION, torch.zeros(2, 4, dtype=torch.bool)), [0.0, 0.0])
    close(concentration(ATTENTION, torch.ones(2, 4, dtype=torch.bool)), [1.0, 1.0])


def test_layers_and_heads_meet_the_examples_of_their_own_prompt():
    scale = torch.tensor([[1.0, 0.7, 0.2], [0.4, 0.9, 0.3]], dtype=torch.float64)  # layer, head
    attention = scale[..., None, None] * ATTENTION
    expected = scale[..., None] * torch.tensor([0.47, 0.45], dtype=torch.float64)
    close(concentration(attention, RELEVANT), expected)


def test_one_attention_meets_the_examples_of_many_prompts():
    close(concentration(ATTENTION[0], RELEVANT), [0.47, 0.9])
    close(concentration(ATTENTION[:1], RELEVANT), [0.47, 0.9])


def test_a_single_prompt_has_a_single_number():
    close(concentration(ATTENTION[1], RELEVANT[1]), 0.45)


def test_mass_by_step_and_pattern_has_rows_other_and_same_step_columns_other_and_same_pattern():
    mass = by_step_and_pattern(ATTENTION[0], SAME_STEP[0], RELEVANT[0])
    close(mass, [[0.3, 0.37], [0.23, 0.1]])
    close(mass[1, 1], concentration(ATTENTION[0], SAME_STEP[0] & RELEVANT[0]))


def by_loops(attention, same_step, same_pattern):
    """The four masses of one prompt, column by column."""
    mass = [[0.0, 0.0], [0.0, 0.0]]
    columns = attention.tolist(), same_step.tolist(), same_pattern.tolist()
    for share, step, pattern in zip(*columns, strict=True):
        mass[int(step)][int(pattern)] += share
    return mass


def test_mass_by_step_and_pattern_is_the_naive_sum_for_every_layer_head_and_prompt():
    generator = torch.Generator().manual_seed(8)
    attention = torch.rand(2, 3, 5, 9, generator=generator, dtype=torch.float64)
    step, pattern = (torch.rand(5, 9, generator=generator) < p for p in (0.6, 0.3))
    mass = by_step_and_pattern(attention, step, pattern)
    assert mass.shape == (2, 3, 5, 2, 2)
    for layer, head, b in itertools.product(range(2), range(3), range(5)):
        close(mass[layer, head, b], by_loops(attention[layer, head, b], step[b], pattern[b]))
    close(mass.sum((-2, -1)), attention.sum(-1))  # no column is counted twice or left out


def test_one_attention_meets_the_steps_and_patterns_of_many_prompts():
    expected = [by_loops(ATTENTION[1], SAME_STEP[b], RELEVANT[b]) for b in range(2)]
    close(by_step_and_pattern(ATTENTION[1], SAME_STEP, RELEVANT), expected)
    close(by_step_and_pattern(ATTENTION[1:], SAME_STEP, RELEVANT), expected)


def test_where_no_column_is_special_all_mass_is_in_one_place():
    everything, nothing = RELEVANT | True, RELEVANT & False
    for row, step in enumerate((nothing, everything)):
        for column, pattern in enumerate((nothing, everything)):
            expected = torch.zeros(2, 2, 2, dtype=torch.float64)
            expected[:, row, column] = 1.0
            close(by_step_and_pattern(ATTENTION, step, pattern), expected)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_entropy_is_log_l_where_attention_is_uniform(length):
    close(entropy(torch.full((3, length), 1 / length, dtype=torch.float64)), [math.log(length)] * 3)


def test_entropy_of_one_example_is_exactly_zero():
    assert entropy(torch.eye(4, dtype=torch.float64)).tolist() == [0.0] * 4


def test_entropy_is_the_papers_sum_at_a_generic_point():
    expected = [-sum(p * math.log(p) for p in row) for row in ATTENTION.tolist()]
    close(entropy(ATTENTION), expected)
    close(entropy(ATTENTION[:, None].expand(2, 3, 4)), [[e] * 3 for e in expected])


def test_what_does_not_fit_is_refused_in_one_line_with_both_shapes_or_the_dtype():
    # Without the suite's own shape checks, as in a script of somebody else.
    script = """
import torch
from tdlab.probes import concentration, only
from tdlab.probes.attention import by_step_and_pattern
from tests.tdlab.probes.outside import in_a_process_of_its_own
for attention, relevant in (((2, 3, 4, 5), (4, 6)), ((2, 3, 4, 5), (3, 5)), ((), (5,)), ((5,), ())):
    try:
        concentration(torch.ones(attention), torch.ones(relevant, dtype=torch.bool))
    except ValueError as error:
        print(error)
try:
    concentration(torch.ones(2, 3), torch.tensor([0, 2, 1]))
except TypeError as error:
    print(error)
one, zero = torch.ones(5, 3, dtype=torch.bool), torch.zeros(5, 3, dtype=torch.int64)
for step, pattern in ((one, zero), (zero, one), (one.double(), one)):
    try:
        by_step_and_pattern(torch.ones(5, 3), step, pattern)
    except TypeError as error:
        print(error)
for attention, pattern in (((2, 4), one), ((2, 4, 3), one), ((5, 3), one[:, :2]), ((3,), one[:4])):
    try:
        by_step_and_pattern(torch.ones(attention), one, pattern)
    except ValueError as error:
        print(error)
for heads in (torch.ones(2, 3), [[True]]):
    try:
        only(torch.ones(2, 3, 5, 5), heads)
    except TypeError as error:
        print(error)
"""
    done = in_a_process_of_its_own(script)
    last, leading = "the last axis of both must be the context examples", "the leading axes must"
    assert done.stdout.splitlines() == [
        f"attention has shape (2, 3, 4, 5), relevant (4, 6): {last}",
        f"attention has shape (2, 3, 4, 5), relevant (3, 5): {leading} be equal or broadcast",
        f"attention has shape (), relevant (5,): {last}",
        f"attention has shape (5,), relevant (): {last}",
        "relevant has dtype torch.int64, but must be boolean",
        "same_pattern has dtype torch.int64, but must be boolean",
        "same_step has dtype torch.int64, but must be boolean",
        "same_step has dtype torch.float64, but must be boolean",
        f"attention has shape (2, 4), same_step (5, 3): {last}",
        f"attention has shape (2, 4, 3), same_step (5, 3): {leading} be equal or broadcast",
        f"attention has shape (5, 3), same_pattern (5, 2): {last}",
        f"same_step has shape (5, 3), same_pattern (4, 3): {leading} be equal or broadcast",
        "heads has dtype torch.float32, but must be boolean",
        "heads is [[True]], but must be a boolean tensor",
    ], done.stderr


def test_a_foreign_attention_tensor_is_probed_by_a_ten_line_script():
    script = """
import torch
from tdlab.probes import concentration, entropy

generator = torch.Generator().manual_seed(1)
scores = torch.randn(3, 2, 4, 6, generator=generator)  # layer, head, prompt, token
relevant = torch.arange(6) < torch.tensor([[1], [3], [2], [6]])  # prompt, token
scores[2, 1].masked_fill_(~relevant, -torch.inf)  # one head looks at nothing else
mass = concentration(scores.softmax(-1), relevant)
print(*mass.shape, *entropy(scores.softmax(-1)).shape, "%.6f" % mass[2, 1].min())
print("%.6f" % (mass[0, 1, 2] - scores[0, 1, 2].softmax(-1)[:2].sum()))
"""
    done = in_a_process_of_its_own(script)
    assert done.stdout.split("\n")[:2] == ["3 2 4 3 2 4 1.000000", "0.000000"], done.stderr


def test_the_probes_bring_no_model_and_no_figures_along():
    done = in_a_process_of_its_own(
        "import sys, tdlab.probes\n"
        "heavy = 'tdlab.models tdlab.train tdlab.studies pandas matplotlib seaborn'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr
