"""The verdict on each claim about in-context learning, in worlds for it and against it."""

import math
from dataclasses import replace

import pytest

from tdlab.claims import li2024 as claims
from tdlab.claims.claim import INCONCLUSIVE
from tdlab.statistics import mean_interval
from tests.tdlab.claims.li2024.tables import NEURONS, SETTING, START, rising
from tests.tdlab.claims.li2024.worlds import measured, verdicts
from tests.tdlab.claims.planted import NOISE, A, D, U


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"error": 0.5}, [D, A]),  # chance
        ({"error": 0.5, "hinge": 1.0}, [D, D]),
        ({"hinge": 0.3}, [A, D]),
        ({"error": 0.0, "hinge": claims.HINGE, "spread": 0.0}, [A, A]),
        # 4,000 prompts: Wilson's interval is +- 0.0022 at 0.005, also where all seeds are equal.
        ({"error": claims.ERROR, "hinge": claims.HINGE + 1e-6, "spread": 0.0}, [U, D]),
        ({"error": 0.0025, "spread": 0.0}, [A, A]),
        ({"error": 0.0035, "spread": 0.0}, [U, A]),
        ({"error": 0.007, "spread": 0.0}, [U, A]),
        ({"error": 0.009, "spread": 0.0}, [D, A]),
        # Seeds that differ more than their prompts say: Student's interval is the wider one.
        ({"error": 0.0015, "spread": 0.005}, [U, A]),
        ({"error": 0.02, "hinge": 0.05, "spread": 0.02}, [U, U]),
        ({"error": 0.02, "hinge": 0.05, "spread": 0.01}, [D, U]),
    ],
)
def test_generalization(world, expected):
    assert verdicts(claims.generalization, **world) == expected


@pytest.mark.parametrize(("prompts", "verdict"), [(10, U), (90, U), (100, A), (5000, A)])
def test_no_error_at_all_is_evidence_by_the_number_of_prompts(prompts, verdict):
    # Wilson's upper bound at none of n is z^2 / (n + z^2): 0.005 at n = 764, which 8 seeds reach
    # at 96 prompts each.
    tables = measured(claims.generalization, error=0.0, spread=0.0)
    tables.setting = replace(SETTING, prompts=prompts)
    error, _ = claims.generalization.findings(tables)
    assert error.verdict == verdict
    assert (error.measured.estimate, error.measured.low) == (0.0, 0.0)
    assert error.measured.high == pytest.approx(3.8415 / (8 * prompts + 3.8415), rel=1e-4)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"pattern": 0.0, "label": 0.0, "spread": 0.0}, [D, D]),  # exactly equal
        ({"pattern": 0.0, "label": 0.0, "spread": 0.1}, [U, U]),
        ({"pattern": -0.1, "label": -0.1}, [D, D]),
        ({"label": 0.0, "spread": 0.0}, [A, D]),
        ({"pattern": 0.0, "spread": 0.05}, [U, A]),
        ({"pattern": 0.0085, "label": 0.0083, "spread": 0.01}, [A, U]),  # 0.836 spreads above 0
    ],
)
def test_coverage(world, expected):
    assert verdicts(claims.coverage, **world) == expected


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"focus": START}, [A, D, A, A]),  # training has moved nothing
        ({"beyond": START}, [A, A, D, A]),
        ({"start": START + 0.03}, [D, A, A, A]),
        ({"start": START - 0.03}, [D, A, A, A]),
        ({"start": START + 0.02 - 0.0009}, [A, A, A, A]),  # by 0.836 spreads of 0.001
        ({"start": START + 0.02 - 0.0008}, [U, A, A, A]),
        ({"start": START - 0.02 - 0.0008}, [U, A, A, A]),
        ({"start": START - 0.02 - 0.0009}, [D, A, A, A]),
        ({"exponent": -0.7}, [A, A, A, D]),  # the gap shrinks with eta
        ({"exponent": 0.0, "spread": 0.0}, [A, A, A, D]),  # it does not depend on eta
        ({"exponent": 0.0, "spread": 0.01}, [A, A, A, U]),
        # Too wide to say that the start is near, although it is right on the value.
        ({"focus": 0.85, "beyond": 0.85, "spread": 0.05}, [U, U, U, A]),
        ({"focus": 0.0, "beyond": 0.0}, [A, D, D, A]),
    ],
)
def test_attention(world, expected):
    assert verdicts(claims.attention, **world) == expected


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"feature": 90.0, "label": 90.0}, [D, D, A]),  # random directions in many dimensions
        ({"label": 173.0}, [A, D, A]),  # the sign of a is ignored
        ({"feature": 60.0}, [D, A, A]),
        ({"small": 0}, [A, A, D]),  # none is small
        ({"small": 1}, [A, A, U]),  # 1 or 0 of 16, [0.003, 0.059]
        ({"small": 2}, [A, A, A]),  # [0.066, 0.122]
        ({"small": 8}, [A, A, A]),  # [0.441, 0.497]
        ({"small": 9}, [A, A, D]),  # [0.503, 0.559]
        ({"small": 11}, [A, A, D]),
        ({"feature": 30.0, "label": 30.0, "spread": 0.0}, [A, A, A]),
        ({"feature": 30.0, "label": 30.0, "spread": 5.0}, [U, U, A]),
        ({"feature": 30.01, "label": 29.99, "spread": 0.0}, [D, A, A]),
    ],
)
def test_neurons(world, expected):
    assert verdicts(claims.neurons, **world) == expected


@pytest.mark.parametrize(
    ("world", "seeds"),
    [
        ({"small": NEURONS}, "3, 4, 5, 6, 7, 8, 9, 10"),
        ({"bare": (5,)}, "5"),
        ({"bare": (10, 4)}, "4, 10"),
    ],
)
def test_where_no_neuron_of_a_seed_is_large_there_is_no_angle_to_judge(world, seeds):
    line = rf"^no neuron is large \(label part above 0\.1\) in seeds {seeds}$"
    with pytest.raises(ArithmeticError, match=line):
        verdicts(claims.neurons, **world)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"drawn": lambda _: 0.3, "spread": 0.0}, [D, A, A, A, A]),  # flat in S_1
        ({"drawn": lambda _: 0.3, "spread": 0.1, "other_beyond": 0.0}, [U, A, A, U, U]),
        ({"drawn": rising}, [D, A, A, A, A]),
        ({"neighbours": rising}, [A, D, A, A, A]),
        ({"opposite": rising}, [A, A, D, A, A]),
        ({"other_beyond": 0.4}, [A, A, A, D, A]),  # large beyond 1
        ({"trained_beyond": 0.4}, [A, A, A, A, D]),
        ({"trained_beyond": 0.08, "other_beyond": 0.08}, [A, A, A, D, D]),  # at one S_1 only
        ({"other_beyond": 0.05, "trained_beyond": 0.05, "spread": 0.0}, [A, A, A, A, A]),
        ({"kinds": ("trained",)}, [A, A, A, U, A]),  # no seed drew the other kind
        ({"kinds": ("other",)}, [A, A, A, A, U]),
        ({"kinds": ("other",), "other_beyond": 0.4}, [A, A, A, D, U]),
    ],
)
def test_shift(world, expected):
    assert verdicts(claims.shift, **world) == expected


@pytest.mark.parametrize(("kind", "place"), [("other", 3), ("trained", 4)])
def test_a_kind_of_pair_that_no_seed_drew_says_nothing_and_one_that_few_drew_little(kind, place):
    other = {"other": "trained", "trained": "other"}[kind]
    finding = claims.shift.findings(measured(claims.shift, kinds=(other,)))[place]
    assert math.isnan(finding.measured.estimate)
    assert finding.measured[1:] == (-math.inf, math.inf)
    assert finding.verdict == INCONCLUSIVE

    tables, few = measured(claims.shift, spread=0.005), [4, 5, 9]
    gone = (tables.shift.pair == kind) & ~tables.shift.seed.isin(few)
    tables.shift = tables.shift[~gone]
    finding = claims.shift.findings(tables)[place]
    planted = {"other": 0.01, "trained": 0.02}[kind] + 0.005 * NOISE[[seed - 3 for seed in few]]
    assert tuple(finding.measured) == pytest.approx(tuple(mean_interval(planted)))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"cost": 0.5}, [D, A]),  # small neurons are expensive
        ({"cost": -0.1}, [A, A]),
        ({"slope": 0.0, "spread": 0.0, "common": 0.0}, [A, D]),  # large ones cost nothing
        ({"slope": -0.3}, [A, D]),
        ({"slope": 0.2511}, [A, A]),  # exactly linear: every ratio is the slope, +- 0.00084
        ({"slope": 0.2506}, [A, U]),
        ({"slope": 0.2489}, [A, D]),
        ({"slope": 0.25, "spread": 0.1}, [A, U]),
        ({"curve": lambda _: 0.2511}, [A, A]),  # flat: the least ratio is at R = 1
        ({"curve": lambda _: 0.2489}, [A, D]),
        ({"curve": lambda _: 0.0}, [A, D]),
        ({"curve": lambda x: x**2}, [A, D]),  # steep on the whole, but cheap at first
        ({"curve": lambda x: float(x > 0.5)}, [A, D]),
        ({"curve": lambda x: 0.8 * x * (x < 0.9)}, [A, D]),  # free at the end
        ({"curve": lambda x: x**0.5}, [A, A]),
        ({"cost": 0.05 + 48**-0.5 - 0.002}, [A, A]),  # the bound, give or take 2 spreads
        ({"cost": 0.05 + 48**-0.5 + 0.002}, [D, A]),
        ({"cost": 0.05 + 48**-0.5, "spread": 0.1}, [U, A]),
    ],
)
def test_pruning(world, expected):
    assert verdicts(claims.pruning, **world) == expected


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"on_par": 0.1}, [D] * 3 + [A] * 3),  # worse than the best learner
        ({"ahead": 0.1}, [A] * 3 + [D] * 3),
        ({"on_par": 0.1, "ahead": 0.1}, [D] * 6),
        ({"ahead": 0.01}, [A] * 3 + [D] * 3),  # on a par is not enough at 0.6
        ({"on_par": -0.1}, [A] * 6),
        ({"ahead": 0.0, "common": 0.0, "spread": 0.0}, [A] * 3 + [D] * 3),  # exactly equal
        ({"ahead": 0.0, "on_par": 0.02, "spread": 0.05}, [U] * 6),
        ({"on_par": 0.0195, "ahead": -0.0005}, [U] * 6),  # within 0.836 spreads of 0.001
        ({"on_par": 0.019, "ahead": -0.001}, [A] * 6),
    ],
)
def test_classical(world, expected):
    assert verdicts(claims.classical, **world) == expected
