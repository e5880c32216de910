"""The closed forms against columns counted one by one, bounds against votes, rates at their limits.

Every bound is held against what it bounds (valid), against a case that comes close to it (tight),
and against itself along each of its arguments (scaling).
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from synthetic_tasks import Reasoning, sample
from synthetic_tasks.noisy_cot import NOISE_BOUND
from synthetic_tasks.threefry import stream
from tdlab.models import OneHead, over_prompts
from tdlab.probes import by_step_and_pattern
from tdlab.theory import li2025

# Attention before training.


def by_counting(alpha: Fraction, steps: int, length: int) -> tuple[Fraction, Fraction]:
    """Every prompt that asks for one of the K steps: the step of each column, one after the other.

    An example has the query's pattern at the query's step with probability alpha.
    """
    other = same = Fraction(0)
    for asked in range(1, steps + 1):
        columns = [("example", k) for _ in range(length) for k in range(1, steps + 1)]
        columns += [("chain", k) for k in range(1, asked)]
        examples = [kind for kind, k in columns if k == asked]
        assert examples == ["example"] * length  # the query's own chain is not there yet
        mass = Fraction(len(examples), len(columns)) / steps
        other, same = other + (1 - alpha) * mass, same + alpha * mass
    return other, same


@pytest.mark.parametrize(
    ("alpha", "steps", "length"),
    [("2/5", 3, 20), ("1/7", 1, 4), ("7/9", 6, 1), ("3/11", 4, 13), ("1", 2, 5)],
)
def test_initial_mass_is_the_share_of_columns_counted_over_all_steps(alpha, steps, length):
    exact = by_counting(Fraction(alpha), steps, length)
    measured = li2025.initial_mass(float(Fraction(alpha)), steps, length)
    assert measured == pytest.approx([float(each) for each in exact], rel=1e-14, abs=0)


def test_a_chain_of_one_step_starts_with_all_its_mass_on_it():
    assert li2025.initial_mass(0.3, 1, 17) == pytest.approx((0.7, 0.3), rel=1e-15)


def test_long_prompts_start_with_one_part_in_k_on_a_step_approached_at_rate_one_over_l():
    # l / (l K + k) = 1/K - k / (l K^2) + O(l^-2), and k = 0 .. K - 1 has mean (K - 1) / 2.
    steps, leading = 5, -2 / 25
    left = [length * (sum(li2025.initial_mass(0.3, steps, length)) - 0.2) - leading
            for length in (400, 800)]  # fmt: skip
    assert abs(left[1]) < 0.01 * abs(leading)
    assert left[1] / left[0] == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(("alpha", "steps", "length"), [(0.4, 3, 6), (0.7, 2, 4)])
def test_initial_mass_is_that_of_a_head_whose_w_is_zero(alpha, steps, length):
    task = Reasoning(width=8, patterns=5, steps=steps, length=length, alpha=alpha)
    size = 800 * task.balance
    batch = sample(task, seed=3, size=size, dtype=torch.float64)
    model = OneHead(width=task.width, xi=0.0)
    trace = over_prompts(model, model.init(stream(3, "init")), batch)
    masses = by_step_and_pattern(
        trace.attention, batch.latent.same_step, batch.latent.same_pattern
    ).mean(0)
    # A prompt that asks for step k has binomial(l, alpha) / (l K + k - 1) on the right columns. A
    # batch asks for every step equally often, so what varies is the binomial alone: a variance of
    # alpha (1 - alpha) l / (l K + k - 1)^2, averaged over k, over as many prompts; four deviations.
    spread = [alpha * (1 - alpha) * length / (length * steps + k) ** 2 for k in range(steps)]
    tolerance = 4 * math.sqrt(sum(spread) / steps / size)
    other, same = li2025.initial_mass(alpha, steps, length)
    assert tolerance < 0.02 * same
    assert masses[1].tolist() == pytest.approx([other, same], abs=tolerance)
    assert masses[1].sum().item() == pytest.approx(other + same, rel=1e-12)  # nothing is drawn here


def test_limits_are_all_mass_on_the_step_and_pattern_and_no_error():
    assert li2025.limit_mass() == 1.0
    assert li2025.limit_error() == 0.0


# Steps until the loss is small.

POINT: dict[str, Any] = {"lr": 0.07, "alpha": 0.3, "steps": 4, "patterns": 9, "loss": 0.02}


def terms(point):
    """The two terms of the sum, told apart by the number of patterns."""
    whole = li2025.rate_iterations(**point)
    first = li2025.rate_iterations(**point | {"patterns": 0})
    return first, whole - first


def local_slope(c, point, name):
    """d log T / d log x of c_1 and c_2 times the terms; whole numbers go from n to n + 1."""
    x = point[name]
    beyond = point | {name: x + 1 if isinstance(x, int) else x * 1.0001}
    here, there = (c @ terms(at) for at in (point, beyond))
    return math.log(there / here) / math.log(beyond[name] / x)


def test_iterations_are_the_sum_of_the_theorems_two_terms():
    first, second = 4**3 / (0.07 * 0.3**2), 9 * 4 * (1 / 0.3 + 1 / 0.02) / 0.07
    assert terms(POINT) == pytest.approx((first, second), rel=1e-12)
    assert li2025.rate_iterations(1.0, 1.0, 1, 1, 1.0) == 3.0  # one in place of each constant


@pytest.mark.parametrize(
    ("name", "factor", "expected"),
    [
        ("lr", 3, (1 / 3, 1 / 3)),
        ("steps", 3, (27, 3)),
        ("patterns", 3, (1, 3)),
        ("alpha", 3, (1 / 9, (1 / 0.9 + 50) / (1 / 0.3 + 50))),
        ("loss", 3, (1, (1 / 0.3 + 50 / 3) / (1 / 0.3 + 50))),
    ],
)
def test_each_term_scales_as_the_theorem_says(name, factor, expected):
    before, after = terms(POINT), terms(POINT | {name: factor * POINT[name]})
    ratio = [late / early for early, late in zip(before, after, strict=True)]
    assert ratio == pytest.approx(expected, rel=1e-12)


def test_whatever_the_constants_the_local_exponent_lies_between_those_of_the_terms():
    bands, rng = li2025.rate_exponents(), np.random.default_rng(7)
    assert bands.keys() == POINT.keys() - {"lr"}
    slopes: dict[str, list[float]] = {name: [] for name in bands}
    for _ in range(200):
        c = 10 ** rng.uniform(-3, 3, size=2)
        point = {
            "lr": 0.07,
            "alpha": 10 ** rng.uniform(-2, 0),
            "steps": int(rng.integers(1, 9)),
            "patterns": int(rng.integers(1, 60)),
            "loss": 10 ** rng.uniform(-4, 0),
        }
        for name in bands:
            slopes[name].append(local_slope(c, point, name))
    for name, (low, high) in bands.items():
        # Strictly inside, but for rounding where one term is all there is.
        assert low - 1e-9 < min(slopes[name]), name
        assert max(slopes[name]) < high + 1e-9, name
        assert max(slopes[name]) - min(slopes[name]) > 0.8 * (high - low), name  # no slack


@pytest.mark.parametrize(
    ("name", "end", "changes"),
    [  # where one of the terms, or one part of the second, is all there is
        ("alpha", 0, {"alpha": 1e-7}),
        ("alpha", 1, {"loss": 1e-10}),
        ("steps", 0, {"loss": 1e-10}),
        ("steps", 1, {"alpha": 1e-7}),
        ("patterns", 0, {"alpha": 1e-7}),
        ("patterns", 1, {"loss": 1e-10}),
        ("loss", 0, {"loss": 1e-10}),
        ("loss", 1, {"loss": 1e7}),
    ],
)
def test_both_ends_of_the_band_are_reached_in_a_limit(name, end, changes):
    slope = local_slope(np.ones(2), POINT | changes, name)
    assert slope == pytest.approx(li2025.rate_exponents()[name][end], abs=1e-4)


# How many examples, how much noise.


def test_a_training_prompt_is_one_over_alpha():
    lengths = [li2025.bound_training_length(alpha) for alpha in (0.3, 0.8, 1.0)]
    assert lengths == pytest.approx([10 / 3, 5 / 4, 1.0], rel=1e-14)


def test_a_test_prompt_is_one_over_the_square_of_alpha_tau_rho():
    assert li2025.bound_test_length(0.8, 0.5, 0.8) == pytest.approx(9.765625, rel=1e-14)
    assert li2025.bound_test_length(1.0, 1.0, 1.0) == 1.0
    point = (0.7, 0.45, 0.35)
    for at in range(3):
        half = [x / 2 if i == at else x for i, x in enumerate(point)]
        ratio = li2025.bound_test_length(*half) / li2025.bound_test_length(*point)
        assert ratio == pytest.approx(4, rel=1e-12)


# alpha', tau, rho, M', l: noise in one step, bounds from 0.05 to 0.6.
VOTES = [
    (0.8, 0.5, 0.8, 10, 60),
    (0.8, 0.5, 0.8, 10, 100),
    (0.4, 0.5, 0.8, 10, 300),
    (1.0, 0.6, 0.5, 3, 30),
    (0.9, 0.4, 0.5, 4, 150),  # all three wrong outputs are as strong as can be
    (0.7, 0.55, 1 - 0.45 / 0.55, 2, 500),
]


def share_of_wrong_votes(alpha, tau, rho, patterns, length):
    """Among 20,000 votes; one wrong output is as likely as rho allows, a tie counts as wrong."""
    strongest = tau * (1 - rho)
    rest = (1 - tau - strongest) / max(1, patterns - 2)
    assert -1e-9 < rest <= strongest + 1e-9  # so that rho is the primacy
    outputs = np.array([tau, strongest, *[max(0.0, rest)] * (patterns - 2)])
    each = [*(alpha * outputs / outputs.sum()), 1 - alpha]  # the last: not relevant
    counts = np.random.default_rng(length).multinomial(length, each, size=20_000)
    return (counts[:, 1:-1].max(axis=1) >= counts[:, 0]).mean()


def test_a_vote_goes_wrong_less_often_than_the_bound():
    shares = []
    for alpha, tau, rho, patterns, length in VOTES:
        bound = li2025.bound_vote_error(length, alpha, tau, rho, patterns)
        assert 0.05 < bound < 0.6
        shares.append(share_of_wrong_votes(alpha, tau, rho, patterns, length))
        # Were the probability as large as the bound, four deviations below it would be found.
        assert shares[-1] < bound - 4 * math.sqrt(bound * (1 - bound) / 20_000)
    assert max(shares) > 0.03  # some do go wrong


def test_no_constant_in_the_exponent_of_the_bound_can_be_better():
    # Two outputs, each example relevant: the lead is l - 2 w with w binomial(l, 1 - tau), of mean
    # mu = tau rho = 2 tau - 1 each. P(lead <= 0) = (1 - mu^2)^(l/2) / O(mu sqrt l), so that its
    # logarithm over -l mu^2 / 2 is 1 + mu^2 / 2 + O(log(mu sqrt l) / (l mu^2)).
    mu, length = 0.05, 400_000
    tau = (1 + mu) / 2
    exact = stats.binom.logsf(length // 2 - 1, length, 1 - tau)
    bound = math.log(li2025.bound_vote_error(length, 1.0, tau, mu / tau, 2))
    assert exact < bound
    assert exact / bound == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize(("alpha", "tau", "rho", "patterns"), [each[:4] for each in VOTES])
def test_a_vote_of_no_examples_is_a_guess_and_the_bound_never_exceeds_one(
    alpha, tau, rho, patterns
):
    assert li2025.bound_vote_error(0, alpha, tau, rho, patterns) == 1.0
    lengths = np.linspace(0, 2000, 300)
    bounds = [li2025.bound_vote_error(length, alpha, tau, rho, patterns) for length in lengths]
    assert max(bounds) == 1.0
    assert min(bounds) >= 0
    assert (np.diff(bounds) <= 0).all()


def test_the_bound_of_a_vote_moves_the_right_way_with_each_argument():
    point: dict[str, Any] = {"length": 120, "alpha": 0.6, "tau": 0.45, "rho": 0.7, "patterns": 4}
    here = li2025.bound_vote_error(**point)
    assert 0.1 < here < 0.5
    for name in ("length", "alpha", "tau", "rho"):
        factors = np.linspace(0.9, 1.1, 21)
        curve = [li2025.bound_vote_error(**point | {name: f * point[name]}) for f in factors]
        assert (np.diff(curve) < 0).all(), name
    curve = [li2025.bound_vote_error(**point | {"patterns": m}) for m in (2, 3, 4, 5, 6)]
    assert np.array(curve) / here == pytest.approx(np.array([1, 2, 3, 4, 5]) / 3, rel=1e-12)


@pytest.mark.parametrize(("alpha", "tau", "rho", "patterns", "length"), VOTES)
def test_the_bound_falls_by_root_e_for_each_number_of_examples_of_the_theorem(
    alpha, tau, rho, patterns, length
):
    more = length + li2025.bound_test_length(alpha, tau, rho)
    before, after = (li2025.bound_vote_error(n, alpha, tau, rho, patterns) for n in (length, more))
    assert after / before == pytest.approx(math.exp(-0.5), rel=1e-12)


def nearest_is_right(noise, generator):
    """Whether noise of this norm keeps the pattern, at its worst and in 2,000 directions."""
    right, wrong = (torch.eye(7, dtype=torch.float64)[i] for i in (2, 5))
    assert torch.dist(right, wrong).item() == pytest.approx(math.sqrt(2))
    random = torch.randn(2000, 7, generator=generator, dtype=torch.float64)
    directions = torch.cat([(wrong - right)[None], random])
    seen = right + noise * directions / directions.norm(dim=-1, keepdim=True)
    return (seen - right).norm(dim=-1) < (seen - wrong).norm(dim=-1) - 1e-12  # a tie is no answer


@pytest.mark.parametrize("share", [0.1, 0.7, 0.999])
def test_below_the_bound_on_noise_no_direction_makes_a_wrong_pattern_the_nearest(share):
    generator = torch.Generator().manual_seed(11)
    assert nearest_is_right(share * li2025.bound_noise(), generator).all()


@pytest.mark.parametrize("share", [1.0, 1.001, 1.5])
def test_at_the_bound_on_noise_and_above_it_the_worst_direction_does(share):
    generator = torch.Generator().manual_seed(11)
    right = nearest_is_right(share * li2025.bound_noise(), generator)
    assert not right[0]
    assert right[1:].any()  # others still do not


def test_the_bound_on_noise_is_where_prompts_are_refused():
    assert li2025.bound_noise() == NOISE_BOUND
