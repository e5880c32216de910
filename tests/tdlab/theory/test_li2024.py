"""The closed forms against enumeration, the limit at its rate, the exponents of the rates."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from tdlab.models import OneLayer
from tdlab.probes import pruned
from tdlab.theory import li2024

GENERIC = [(0.8, 0.2, 3.0, 5), (0.55, 0.13, 4.1, 7), (1.0, 0.2, 1.0, 4), (0.3, 0.07, 9.0, 1)]


def by_enumeration(alpha, delta, beta, length):
    """Every context of a query of pattern 0: its probability times the mass on that pattern.

    Patterns 0 and 1 are the task's, 2 and 3 the others; scores are products of actual vectors.
    """
    patterns = beta * np.eye(4)
    probability = [alpha / 2, alpha / 2, (1 - alpha) / 2, (1 - alpha) / 2]
    weight = np.exp((delta * patterns) @ (delta * patterns[0]))
    total = 0.0
    for context in itertools.product(range(4), repeat=length):
        mass = sum(weight[0] for j in context if j == 0) / sum(weight[j] for j in context)
        total += math.prod(probability[j] for j in context) * mass
    return total


@pytest.mark.parametrize(("alpha", "delta", "beta", "length"), GENERIC)
def test_initial_concentration_is_the_sum_over_all_contexts(alpha, delta, beta, length):
    expected = by_enumeration(alpha, delta, beta, length)
    measured = li2024.initial_concentration(alpha, delta, beta, length)
    assert measured == pytest.approx(expected, rel=1e-12)


def test_attention_that_sees_no_difference_puts_the_share_of_examples_on_the_pattern():
    assert li2024.initial_concentration(0.7, 1e-9, 1.0, 13) == pytest.approx(0.35, rel=1e-12)


def test_attention_that_sees_every_difference_misses_only_contexts_without_the_pattern():
    # g = e^100, so the mass is 1 wherever there is one such example at all.
    measured = li2024.initial_concentration(0.7, 0.2, 50.0, 6)
    assert measured == pytest.approx(1 - (1 - 0.35) ** 6, rel=1e-12)


@pytest.mark.parametrize(("alpha", "delta", "beta"), [(0.8, 0.2, 3.0), (0.45, 0.15, 8.0)])
def test_long_prompts_approach_their_limit_at_rate_one_over_l(alpha, delta, beta):
    # f(x) = x g / (1 + x (g - 1)) at x = n / l, of mean p and variance p (1 - p) / l: to leading
    # order E f - f(p) = f''(p) p (1 - p) / 2 l with f'' = -2 g (g - 1) / (1 + p (g - 1))^3. What is
    # left of l times the gap is O(1/l) and so halves when l doubles.
    p, g = alpha / 2, math.exp((delta * beta) ** 2)
    leading = -g * (g - 1) * p * (1 - p) / (1 + p * (g - 1)) ** 3
    limit = li2024.long_prompt_concentration(alpha, delta, beta)
    assert limit == pytest.approx(p * g / (1 + p * (g - 1)), rel=1e-14)
    left = [
        length * (li2024.initial_concentration(alpha, delta, beta, length) - limit) - leading
        for length in (400, 800, 1600)
    ]
    assert abs(left[-1]) < 0.01 * abs(leading)
    assert left[1] / left[0] == pytest.approx(0.5, rel=0.02)
    assert left[2] / left[1] == pytest.approx(0.5, rel=0.01)


def test_limits_are_all_mass_on_the_pattern_no_angle_and_no_risk():
    assert li2024.limit_concentration() == 1.0
    assert li2024.limit_angle() == 0.0
    assert li2024.limit_risk() == 0.0
    assert li2024.bound_shift_threshold() == 1.0


@pytest.mark.parametrize(("name", "exponent"), [("lr", -1), ("alpha", -2 / 3), ("beta", -2 / 3)])
def test_iterations_follow_the_theorems_exponent_along_each_factor(name, exponent):
    point: dict[str, Any] = {"lr": 0.07, "patterns": 7, "alpha": 0.35, "beta": 2.3}
    doubled = point | {name: 2 * point[name]}
    ratio = li2024.rate_iterations(**doubled) / li2024.rate_iterations(**point)
    assert math.log2(ratio) == pytest.approx(exponent, rel=1e-12)


def test_iterations_grow_with_the_number_of_patterns_and_the_root_of_its_logarithm():
    few, many = (li2024.rate_iterations(0.07, m, 0.35, 2.3) for m in (5, 25))
    assert many / few == pytest.approx(5 * math.sqrt(2), rel=1e-12)  # log 25 = 2 log 5
    assert li2024.rate_iterations(1.0, 5, 1.0, 1.0) == pytest.approx(5 * math.sqrt(math.log(5)))


@pytest.mark.parametrize("bound", [li2024.bound_training_length, li2024.bound_test_length])
def test_prompt_lengths_are_one_over_alpha(bound):
    assert [bound(alpha) for alpha in (0.3, 0.8, 1.0)] == [1 / 0.3, 1 / 0.8, 1.0]


def test_pruning_small_neurons_costs_the_accuracy_and_one_over_root_m():
    assert li2024.bound_pruning_small(64) == 0.125
    assert li2024.bound_pruning_small(50, accuracy=0.3) == pytest.approx(0.3 + 1 / math.sqrt(50))


def test_pruned_hinge_is_exact_where_rows_are_equal():
    # Ten equal rows, read with equal weight: k of them pruned leave 1 - k/10 of the output.
    generator = torch.Generator().manual_seed(3)
    model = OneLayer(width=4, label_width=2, neurons=10)
    draw = {"W_Q": (6, 6), "W_K": (6, 6), "W_V": (6, 6)}
    params = {
        name: torch.randn(*shape, generator=generator, dtype=torch.float64) / 2
        for name, shape in draw.items()
    }
    row = torch.randn(6, generator=generator, dtype=torch.float64)
    params |= {"W_O": row.expand(10, 6), "a": torch.full((10,), 0.07, dtype=torch.float64)}
    prompts = torch.randn(12, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.tensor([1.0, -1.0] * 6, dtype=torch.float64)
    mask = torch.ones(5, dtype=torch.bool)

    def margins(weights):
        return target * torch.stack([model.forward(weights, p, mask).output for p in prompts])

    fractions = [0.0, 0.1, 0.4, 0.9, 1.0]
    expected = []
    for fraction in fractions:
        kept = torch.arange(10) >= round(10 * fraction)
        expected.append((1 - margins(pruned(params, "W_O", kept))).clamp(min=0).mean().item())
    margin = margins(params)
    assert (margin > 1).any()  # beyond the hinge, within it, and on the wrong side
    assert ((margin > 0) & (margin < 1)).any()
    assert (margin < 0).any()
    measured = li2024.estimate_pruned_hinge(margin.numpy(), np.array(fractions))
    np.testing.assert_allclose(measured, expected, rtol=1e-12)


def test_pruned_hinge_has_one_entry_for_each_fraction_in_place_of_the_prompts():
    margin = np.random.default_rng(3).normal(1.0, 0.8, size=(2, 3, 40))
    fraction = np.array([0.0, 0.25, 0.6, 1.0])
    measured = li2024.estimate_pruned_hinge(margin, fraction)
    assert measured.shape == (2, 3, 4)
    for place in np.ndindex(2, 3):
        for at, lost in enumerate(fraction):
            alone = sum(max(0.0, 1 - (1 - lost) * m) for m in margin[place]) / 40
            assert measured[(*place, at)] == pytest.approx(alone, rel=1e-12)
