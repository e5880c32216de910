"""Softmax gets stuck where the Gaussian kernel does not: worlds for it and against it."""

import pytest

from tdlab.claims import song2024 as claims
from tests.tdlab.claims.intervals import wilson
from tests.tdlab.claims.planted import A, D, U
from tests.tdlab.claims.song2024.tables import ALL, HALF, NONE, OPPOSITE, some
from tests.tdlab.claims.song2024.worlds import judged, measured, verdicts


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    judged(
        claims.bad_basin,
        # Softmax left and right of the barrier, Gaussian; W_Q alone at four points.
        ({"before": (1e-9, 0.3)}, [D, A, A, A, A, A, A]),
        ({"before": (1e-9, 1.1e-3), "fall": 1e-6}, [U, A, A, A, A, A, A]),  # it still falls
        ({"before": (1e-9, 1.1e-3), "fall": -1e-6}, [D, A, A, A, A, A, A]),
        ({"beyond": (-0.3, -0.1)}, [A, D, A, A, A, A, A]),  # softmax comes back,
        ({"beyond": (-0.3, 0.2)}, [A, U, A, A, A, A, A]),  # from some starts,
        ({"beyond": (0.0, 0.2)}, [A, U, A, A, A, A, A]),  # or does not move
        ({"beyond": (0.0, 0.0)}, [A, D, A, A, A, A, A]),
        ({"alive": (1e-9, 0.3)}, [A, A, D, A, A, A, A]),
        ({"alive": (0.1, 0.3), "fall": 0.01}, [A, A, U, A, A, A, A]),
        ({"alive": (0.0, 0.0)}, [A, A, A, A, A, A, A]),
        ({"solved": {0: (ALL, NONE)}}, [A, A, A, D, A, A, A]),
        ({"solved": {1: (ALL, NONE)}}, [A, A, A, A, D, A, A]),
        ({"solved": {2: (ALL, NONE)}}, [A, A, A, A, A, D, A]),
        ({"solved": {3: (ALL, NONE)}}, [A, A, A, A, A, A, D]),
        ({"solved": {2: (HALF, OPPOSITE)}}, [A, A, A, A, A, U, A]),
        # Of 3 problems one kernel solves alone nothing is sure, of 4 just so.
        ({"solved": {1: (NONE, some(3)), 2: (NONE, some(4))}}, [A, A, A, A, U, A, A]),
        ({"solved": {1: (some(3), NONE), 2: (some(4), NONE)}}, [A, A, A, A, U, D, A]),
        # What both solve, or neither, says nothing of which is better.
        ({"solved": {0: (ALL, ALL), 3: (NONE, NONE)}}, [A, A, A, U, A, A, U]),
        ({"solved": {2: (HALF, HALF)}}, [A, A, A, A, A, U, A]),
        ({"solved": {0: (some(4), ALL)}}, [A, A, A, A, A, A, A]),
    ),
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("both", [0, 5])
def test_where_no_problem_tells_the_kernels_apart_it_is_said_how_many_are_solved(place, both):
    world = {place: (some(both), some(both))}
    found = claims.bad_basin.findings(measured(claims.bad_basin, solved=world))
    said = [f"({both} of 8 solved by both)" in finding.part for finding in found]
    assert said == [index == place + 3 for index in range(7)]
    assert tuple(found[place + 3].measured) == (0.5, 0, 1)


def test_a_share_is_of_the_problems_that_one_kernel_solves_alone():
    softmax, gaussian = (1, 1, 1, 0, 0, 0, 0, 0), (1, 1, 0, 1, 1, 1, 1, 0)
    found = claims.bad_basin.findings(measured(claims.bad_basin, solved={1: (softmax, gaussian)}))
    assert tuple(found[4].measured) == pytest.approx(wilson(4 / 5, 5))


@pytest.mark.parametrize(
    ("kernel", "kept"), [("softmax", (-2.0, 0.5)), ("softmax", (2.5,)), ("gaussian", (6.0, -2.5))]
)
def test_starts_that_all_lie_elsewhere_are_named(kernel, kept):
    tables = measured(claims.bad_basin)
    rest = tables.scalar
    tables.scalar = rest[(rest.kernel != kernel) | rest.q.isin(kept)]
    with pytest.raises(ArithmeticError, match=r"^no start lies where the rule looks"):
        claims.bad_basin.findings(tables)
