"""The claims about chains of thought, and what is planted for them, beside the study itself."""

import inspect

import pytest

from tdlab.studies.cot import Measurements
from tests.tdlab import smallest
from tests.tdlab.claims.findings import assert_judged, assert_like
from tests.tdlab.claims.li2025.tables import SETTING, TABLES
from tests.tdlab.claims.li2025.worlds import CLAIMS, PLANTED

# Two seeds of a few steps; 40 examples are more than twice the theorem's number at some points.
TINY = smallest.cot(prompts=8, lengths=(4, 40), test_alphas=(0.6, 0.8))


@pytest.fixture(scope="module")
def tiny():
    return Measurements(TINY)


@CLAIMS
def test_a_claim_judges_the_tables_of_a_real_measurement(claim, tiny):
    assert_judged(claim.findings(tiny), len(PLANTED[claim.id]))


@pytest.mark.parametrize("name", TABLES)
def test_a_planted_table_has_the_columns_of_the_studys_and_no_other_measurement(name, tiny):
    planted, real = TABLES[name](), getattr(tiny, name)
    assert_like(planted, real, "measured")
    for column in {"place", "phase", "varied", "inference", "prompts"} & {*planted.columns}:
        assert {*planted[column].dropna()} == {*real[column].dropna()}, column


@CLAIMS
def test_a_claim_needs_what_the_study_measures_and_judges_it_under_that_name(claim):
    attributes = {*vars(Measurements), *vars(Measurements(SETTING))}
    assert set(claim.needs) <= attributes
    assert tuple(inspect.signature(claim.judge).parameters) == claim.needs
