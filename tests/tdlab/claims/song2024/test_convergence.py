"""Either kernel reaches zero loss at a linear rate: worlds where it does, and where it does not."""

import math
from types import SimpleNamespace

import pytest

from tdlab.claims import song2024 as claims
from tdlab.models import KERNELS
from tests.tdlab.claims.intervals import student
from tests.tdlab.claims.planted import A, D, U
from tests.tdlab.claims.song2024.worlds import judged, measured, verdicts


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    judged(
        claims.convergence,
        # Softmax and Gaussian loss; straightness and excess of each; the solved curve.
        ({"softmax": -6.001}, [A, A, A, A, A, A, A]),
        ({"softmax": -6.0}, [U, A, A, A, A, A, A]),
        ({"softmax": -5.999}, [D, A, A, A, A, A, A]),
        ({"softmax": -5.0, "fall": 0.002}, [U, A, A, A, A, A, A]),  # it still falls
        ({"softmax": -5.0, "fall": -0.002}, [D, A, A, A, A, A, A]),
        ({"softmax": -2.0, "fall": 0.0}, [D, A, A, A, A, A, A]),  # +- 0.0008
        ({"gaussian": -3.0}, [A, D, A, A, A, A, A]),
        ({"gaussian": -3.0, "fall": 1.0}, [A, U, A, A, A, A, A]),
        ({"straight": 0.801}, [A, A, A, A, A, A, A]),
        ({"straight": 0.8}, [A, A, U, A, U, A, A]),
        ({"straight": 0.58}, [A, A, D, A, D, A, A]),  # a power law
        ({"straight": 1.199}, [A, A, A, A, A, A, A]),
        ({"straight": 1.201}, [A, A, D, A, D, A, A]),  # faster and faster is not linear
        ({"worse": {"straight": 0.58}}, [A, A, A, A, D, A, A]),
        ({"excess": 0.0}, [A, A, A, U, A, U, A]),
        ({"excess": 0.001}, [A, A, A, A, A, A, A]),
        ({"excess": -0.001}, [A, A, A, D, A, D, A]),
        ({"worse": {"excess": -1.0}}, [A, A, A, A, A, D, A]),
        ({"gap": 2e-3}, [A, A, A, A, A, A, D]),
        ({"gap": 1e-3}, [A, A, A, A, A, A, U]),
        ({"gap": -0.9e-3}, [A, A, A, A, A, A, A]),  # the loss below what is solved
        ({"gap": -1.1e-3}, [A, A, A, A, A, A, D]),
        ({"softmax": -6.0, "gaussian": -6.0, "spread": 2.0}, [U, U, U, U, U, U, A]),
    ),
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_largest_gap_to_the_solved_curve_may_be_that_of_any_kernel_and_step(kernel):
    tables = measured(claims.convergence)
    table = tables.rates
    place = (table.kernel == kernel) & (table.trained == "W_V") & (table.step == 5)
    theirs = place & (table.source == "theory")
    tables.rates = table.assign(value=table.value.mask(theirs, table.value * 1.01))
    assert claims.convergence.findings(tables)[-1].verdict == D


def test_how_far_below_zero_a_loss_lies_is_no_matter():
    # One seed a little above and all others far below: their mean is not below by their depth.
    tables = measured(claims.convergence)
    for depth in (1e-9, 1e-30, 0.0):
        values = tables.phase.value.mask(tables.phase.value < 1e-4, depth)
        values = values.mask((values == depth) & (tables.phase.seed == 5), 1e-4)
        found = claims.convergence.findings(
            SimpleNamespace(phase=tables.phase.assign(value=values), rates=tables.rates)
        )
        assert found[0].verdict == U
        assert tuple(found[0].measured) == pytest.approx(student([-7] * 7 + [-4]))


def with_rate(value, **where):
    """The tables that the claim needs, with this number in these rows of seed 5."""
    tables = measured(claims.convergence)
    table = tables.rates
    here = (table[["seed", *where]] == [5, *where.values()]).all(axis=1)
    tables.rates = table.assign(value=table.value.mask(here, value))
    return tables


def test_a_loss_that_did_not_fall_has_no_rate_and_that_is_said():
    tables = with_rate(-0.1, quantity="rate", trained="all", source="measured")
    with pytest.raises(ArithmeticError, match=r"^a loss did not fall at all"):
        claims.convergence.findings(tables)


def test_a_loss_that_is_rounding_too_soon_has_no_rate_and_that_is_said():
    tables = with_rate(math.nan, quantity="straight", trained="all")
    with pytest.raises(ArithmeticError, match=r"^a loss came down to rounding within a few steps"):
        claims.convergence.findings(tables)


def test_targets_that_frozen_scores_cannot_reach_predict_no_rate_and_that_is_said():
    tables = with_rate(0.0, quantity="rate", source="theory")
    with pytest.raises(ArithmeticError, match=r"^with frozen scores some targets are out of reach"):
        claims.convergence.findings(tables)


def test_too_few_unknowns_for_the_claim_are_named():
    tables = measured(claims.convergence)
    tables.phase = tables.phase[tables.phase.ratio < 2]
    with pytest.raises(ArithmeticError, match=r"^the largest H D / N n is 1\.25, but must be 2 or"):
        claims.convergence.findings(tables)
