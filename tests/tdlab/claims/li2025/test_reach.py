"""How far a chain reaches beyond the trained patterns: worlds for it and against it."""

import pytest

from tdlab.claims import li2025 as claims
from tests.tdlab.claims.li2025.worlds import judged, verdicts
from tests.tdlab.claims.planted import A, D, U


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    judged(
        claims.shift,
        ({"first": -0.1}, [D, A, A, A]),
        ({"first": 0.0}, [U, A, A, A]),
        ({"gain": -0.1}, [A, D, A, A]),
        ({"gain": 0.0}, [A, U, A, A]),
        ({"added": 0.2}, [A, A, D, A]),
        ({"added": 0.1}, [A, A, U, A]),
        ({"added": -0.01}, [A, A, A, A]),
        ({"noisy": 0.1}, [A, A, A, D]),
        ({"noisy": 0.02}, [A, A, A, U]),
        ({"noisy": 0.018}, [A, A, A, A]),
        ({"first": 0.0, "gain": 0.0, "spread": 0.1}, [U, U, U, U]),
    ),
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected
