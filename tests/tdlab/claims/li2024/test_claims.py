"""What holds for every claim about in-context learning: its intervals, its parts and its rule."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from tdlab.claims import li2024 as claims
from tdlab.claims.li2024 import constants
from tdlab.statistics import mean_interval, proportion_interval, slope_interval
from tdlab.studies.icl import Measurements
from tdlab.studies.icl.pruning import LARGE as LARGE_IN_THE_STUDY
from tdlab.studies.icl.shift import MIXED
from tdlab.studies.regimes import NEARER, OURS
from tests.tdlab.claims.findings import assert_misses, unchanging
from tests.tdlab.claims.intervals import bootstrapped
from tests.tdlab.claims.li2024.tables import (
    EXPONENTS,
    LEARNING_RATES,
    NEURONS,
    SETTING,
    START,
    step_sizes,
)
from tests.tdlab.claims.li2024.worlds import CLAIMS, measured, verdicts
from tests.tdlab.claims.planted import NOISE, OTHER, SEEDS, A


@CLAIMS
def test_a_claim_agrees_in_the_world_of_the_theory(claim):
    found = verdicts(claim)
    assert found
    assert found == [A] * len(found)


@CLAIMS
def test_a_claim_changes_none_of_its_tables(claim):
    assert unchanging(claim, measured(claim))


def test_the_parts_name_what_they_were_compared_with():
    parts = [each.part for each in claims.classical.findings(measured(claims.classical))]
    rivals = [("nearest_1", 0.5), ("linear_svm", 1), ("logistic", 2)]
    assert parts == [
        f"error less that of {rival}, alpha' = {alpha}, kappa' = {kappa}"
        for alpha in (0.8, 0.6)
        for rival, kappa in rivals
    ]
    *_, other, trained = [each.part for each in claims.shift.findings(measured(claims.shift))]
    assert "(at 1)" in other
    assert other.endswith("pairs that were no training tasks")
    assert "(at 1.3)" in trained
    assert trained.endswith("pairs that were training tasks")
    angles = [each.part for each in claims.neurons.findings(measured(claims.neurons))]
    assert "feature" in angles[0]
    assert "label" in angles[1]


# Planted numbers, one a seed, for each part of each claim, in a world with spread 0.02.
S = 0.02
HALF = 0.8360  # t_7 / sqrt(8), what a spread of 1 makes of the interval
FEW = np.array([4 if seed % 2 else 5 for seed in SEEDS])
X = np.log(LEARNING_RATES)
PLANTED: dict[str, list[np.ndarray]] = {
    "icl.generalization": [0.3 + S * NOISE, 0.01 + S * OTHER],
    "icl.coverage": [0.2 + S * NOISE, 0.1 + S * OTHER],
    "icl.attention": [START + S * NOISE, 0.93 + S * OTHER, 0.92 + S * NOISE, 0.7 + S * NOISE],
    "icl.neurons": [12 + S * NOISE, 7 + S * NOISE, FEW / NEURONS],
    "icl.shift": [*[0.24 + S * (OTHER - NOISE)] * 3, 0.01 + S * NOISE, 0.02 + S * NOISE],
    "icl.pruning": [0.02 + S * NOISE, 0.8 + S * OTHER],
    "icl.prompt_length": [0.01 + S * NOISE],
    "icl.batch": [np.full(8, 0.01)] * 2,
    "icl.classical": [*[0.01 + S * NOISE] * 3, *[-0.05 + S * NOISE] * 3],
}


# And the exponents of the laws, one a seed; those of what pruning costs are worked out elsewhere.
LAWS: dict[str, list[np.ndarray]] = {
    "icl.iterations": [power + S * NOISE for power in EXPONENTS.values()] * 2,
    "icl.prompt_length": [power + S * OTHER for power in (0.9, 0.8)] * 2,
    "icl.batch": [-0.7 + S * NOISE] * 2,
}


def is_law(finding):
    return "exponent of" in finding.part


@CLAIMS
def test_a_measured_interval_of_a_law_is_that_of_the_planted_exponents(claim):
    found = [each for each in claim.findings(measured(claim, spread=S)) if is_law(each)]
    for finding, planted in zip(found, LAWS.get(claim.id, ()), strict=claim.id in LAWS):
        assert tuple(finding.measured) == pytest.approx(bootstrapped(planted), abs=2e-4)


@CLAIMS
def test_a_measured_interval_is_that_of_the_planted_numbers(claim):
    found = claim.findings(measured(claim, spread=S, error=0.3))
    found = [each for each in found if not is_law(each)]
    for finding, planted in zip(found, PLANTED.get(claim.id, ()), strict=claim.id in PLANTED):
        assert tuple(finding.measured) == pytest.approx(tuple(mean_interval(planted)), abs=1e-12)
        low, high = finding.measured.low, finding.measured.high
        assert (high - low) / 2 == pytest.approx(HALF * planted.std(ddof=1), rel=1e-3)


def test_the_error_has_the_wider_of_the_intervals_over_seeds_and_over_all_prompts():
    def error(spread):
        tables = measured(claims.generalization, error=0.3, spread=spread)
        tables.setting = replace(SETTING, prompts=50)
        return tuple(claims.generalization.findings(tables)[0].measured)

    wilson = tuple(proportion_interval(120, 400))  # 8 seeds of 50 prompts: +- 0.045
    assert error(0.01) == pytest.approx(wilson)
    assert error(0.1) == pytest.approx((0.3, 0.3 - HALF * 0.1, 0.3 + HALF * 0.1), rel=1e-4)


def test_the_exponent_is_the_slope_on_logarithms_of_each_seed():
    bent = step_sizes(spread=0.05)
    bent["value"] *= 1 + 0.3 * (bent["lr"] == 0.1)  # no power law, so the fit matters
    tables = measured(claims.attention)
    tables.step_sizes = bent.sample(frac=1, random_state=0)
    gap = [bent[bent.lr == lr].value.to_numpy() for lr in LEARNING_RATES]
    expected = slope_interval(X, np.log(np.stack(gap, axis=-1)))
    assert tuple(claims.attention.findings(tables)[-1].measured) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("claim", "table", "lacking"),
    [
        (claims.generalization, "dynamics", {"step": SETTING.steps}),
        (claims.generalization, "dynamics", {"tasks": "unseen"}),
        (claims.coverage, "coverage", {"left_out": "a label"}),
        (claims.attention, "dynamics", {"quantity": "concentration"}),
        (claims.attention, "shift", {"quantity": "concentration"}),
        (claims.attention, "shift", {"pair": "any"}),
        (claims.attention, "shift", {"coefficient_sum": MIXED}),
        (claims.attention, "step_sizes", {"quantity": "concentration_gap"}),
        (claims.neurons, "neurons", {"quantity": "angle"}),
        (claims.shift, "shift", {"pairing": "opposite"}),
        (claims.shift, "shift", {"coefficient_sum": 0.9}),
        (claims.shift, "shift", {"pair": "any"}),
        (claims.pruning, "pruning", {"order": "all small"}),
        (claims.pruning, "pruning", {"order": "largest"}),
        (claims.classical, "learners", {"learner": "transformer"}),
        (claims.classical, "learners", {"quantity": "zero_one"}),
        (claims.iterations, "rates", {"varied": "beta"}),
        (claims.iterations, "rates", {"regime": NEARER}),
        (claims.prompt_length, "test_lengths", {"risk": "zero_one"}),
        (claims.prompt_length, "test_lengths", {"regime": OURS}),
        (claims.prompt_length, "training_lengths", {"quantity": "hinge"}),
        (claims.batch, "batches", {"quantity": "hinge"}),
        (claims.batch, "batches", {"regime": NEARER}),
    ],
    ids=lambda part: getattr(part, "id", str(part)),
)
def test_a_table_that_lacks_rows_gets_one_clear_line(claim, table, lacking):
    assert_misses(claim, measured(claim), table, lacking, (ValueError, ArithmeticError))


@CLAIMS
def test_a_claim_needs_what_the_study_measures_and_judges_it_under_that_name(claim):
    attributes = {*vars(Measurements), *vars(Measurements(SETTING))}
    assert set(claim.needs) <= attributes
    assert tuple(inspect.signature(claim.judge).parameters) == claim.needs


def test_ids_are_unique_and_of_the_study():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(set(ids)) == len(ids) == 10
    assert all(name.startswith("icl.") for name in ids)


@pytest.mark.parametrize(
    ("claim", "constants"),
    [
        (claims.generalization, (constants.ERROR, constants.HINGE)),
        (claims.coverage, ()),
        (claims.attention, (constants.CLOSE, constants.FOCUS)),
        (claims.neurons, (constants.ALIGNED, *constants.SOME, LARGE_IN_THE_STUDY)),
        (claims.shift, (constants.HINGE, 0.5, 0.9)),
        (claims.pruning, (constants.HINGE, constants.COST, 0.1, 1, constants.SEEN)),
        (claims.iterations, (0.1, 0.8, constants.EXPONENT)),
        (claims.prompt_length, (0.1, 0.05, constants.HINGE, 1)),
        (claims.batch, (constants.HINGE,)),
        (claims.classical, (constants.PAR, 0.8, 0.6)),
    ],
    ids=lambda part: getattr(part, "id", ""),
)
def test_a_rule_states_its_constants_and_which_are_ours(claim, constants):
    words = claim.rule.replace(",", " ").replace(":", " ").replace(";", " ").split()
    assert not [constant for constant in constants if f"{constant:g}" not in words]
    assert "95 %" in claim.rule
    assert ("(ours)" in claim.rule) == bool(constants)
