"""The verdict on each claim about in-context learning, in worlds for it and against it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tdlab.claims import li2024 as claims
from tdlab.claims.claim import INCONCLUSIVE
from tdlab.claims.li2024 import constants
from tdlab.statistics import mean_interval
from tdlab.studies.regimes import NEARER, OURS
from tests.tdlab.claims.li2024.tables import NEURONS, SETTING, START, rising
from tests.tdlab.claims.li2024.worlds import measured, verdicts
from tests.tdlab.claims.planted import NOISE, A, D, U


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"error": 0.5}, [D, A]),  # chance
        ({"error": 0.5, "hinge": 1.0}, [D, D]),
        ({"hinge": 0.3}, [A, D]),
        ({"error": 0.0, "hinge": constants.HINGE, "spread": 0.0}, [A, A]),
        # 4,000 prompts: Wilson's interval is +- 0.0022 at 0.005, also where all seeds are equal.
        ({"error": constants.ERROR, "hinge": constants.HINGE + 1e-6, "spread": 0.0}, [U, D]),
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
        ({"slope": 0.2511}, [A, A]),  # the least ratio is the slope, at R = 1, +- 0.00084
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
    assert verdicts(claims.pruning, **world)[:2] == expected


@pytest.mark.parametrize(
    ("curve", "exponent", "verdict"),
    [
        (lambda x: 0.8 * x**0.8, 0.8, A),
        (lambda x: 0.8 * x**0.999, 0.999, A),
        (lambda x: 0.8 * x**1.3, 1.3, D),
        (lambda x: 0.0012 / max(x, 0.1), -1.0, A),  # however small, if it can be seen
    ],
)
def test_the_exponent_of_what_pruning_costs(curve, exponent, verdict):
    *_, found = claims.pruning.findings(measured(claims.pruning, curve=curve, spread=1e-5))
    assert found.measured.estimate == pytest.approx(exponent, abs=1e-3)
    assert found.measured.low <= exponent <= found.measured.high
    assert found.verdict == verdict


def test_a_cost_that_cannot_be_seen_at_small_fractions_makes_the_exponent_larger():
    def unseen(x):
        return 0.8 * x if x > 0.3 else 1e-9

    *_, found = claims.pruning.findings(measured(claims.pruning, curve=unseen))
    assert found.verdict == D
    assert "values are beyond what could be seen" in found.note
    nothing = measured(claims.pruning, slope=0.0, spread=0.0, common=0.0)
    *_, found = claims.pruning.findings(nothing)
    assert found.verdict == U
    assert found.note.startswith("at 0 of ")


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({}, [A] * 8),
        ({"lr": -0.85}, [D, A, A, A] * 2),  # planted at another value
        ({"lr": -0.91}, [A] * 8),
        ({"alpha": -0.5, "beta": -1.95}, [A, D, D, A] * 2),
        ({"relevant": 0.3}, [A, A, A, D] * 2),
        ({"lr": -0.9, "spread": 0.2}, [U] * 8),
        ({"nearer": 0.2}, [A] * 4 + [D] * 4),
        # Off by a third in the middle: straight lines through it are within 0.1, but it is no law.
        ({"bend": 0.35}, [U] * 8),
        ({"bend": 0.1}, [A] * 8),
        ({"bend": 0.35, "beta": -1.95}, [U, U, D, U] * 2),
        ({"never": [("beta", 2.0)]}, [A, A, U, A] * 2),  # in one seed of eight
    ],
)
def test_iterations(world, expected):
    found = claims.iterations.findings(measured(claims.iterations, **world))
    assert [each.verdict for each in found] == expected
    assert [each.regime for each in found] == [OURS] * 4 + [NEARER] * 4
    never = world.get("never", ())
    counted = ["beyond what could be seen" in each.note for each in found]
    assert counted == [False, False, bool(never), False] * 2


def test_the_prediction_for_m1_is_the_slope_of_its_law_at_the_same_points():
    found = claims.iterations.findings(measured(claims.iterations))
    for place, its in ((3, SETTING), (7, SETTING.nearer)):
        x = np.array(its.law_patterns)
        slope = np.polyfit(np.log(x), np.log(x * np.sqrt(np.log(x))), 1)[0]
        assert found[place].prediction.startswith(f"{slope:.3g}, ")
        assert found[place].agreeing == pytest.approx((slope - 0.1, slope + 0.1))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"hinge": 0.5}, [A] * 5),  # needing less does not disagree
        ({"hinge": -0.2, "zero_one": 0.0}, [A] * 5),
        ({"hinge": 1.01}, [D, A, D, A, A]),
        ({"hinge": 1.0}, [U, A, U, A, A]),
        ({"nearer": 0.15}, [A, A, D, A, A]),
        ({"trained": 0.06}, [A, A, A, A, D]),
        ({"trained": 0.05}, [A, A, A, A, U]),
        ({"hinge": 0.5, "never": [("hinge", 5.0)]}, [A] * 5),
    ],
)
def test_prompt_length(world, expected):
    found = claims.prompt_length.findings(measured(claims.prompt_length, **world))
    assert [each.verdict for each in found] == expected
    assert "worst at alpha = 0.63" in found[-1].part


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({}, [A] * 4),
        ({"risk": 0.06}, [D, A] * 2),
        ({"exponent": -0.3, "risk": 0.04}, [A, D] * 2),  # it falls too slowly, from above 0.05
        ({"exponent": -0.3, "risk": 0.01}, [A, A] * 2),  # and where it need not fall at all
        ({"exponent": 0.0, "risk": 0.01}, [A, A] * 2),
        ({"exponent": -0.5, "risk": 0.03}, [A, U] * 2),
        ({"nearer": 0.5, "risk": 0.04}, [A, A, A, D]),
    ],
)
def test_batch(world, expected):
    found = claims.batch.findings(measured(claims.batch, **world))
    assert [each.verdict for each in found] == expected
    slow = "exponent" in world and world["exponent"] > -0.5 and world["risk"] == 0.01
    assert [("enough for 0.05 already" in each.note) for each in found] == [False, slow] * 2


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
