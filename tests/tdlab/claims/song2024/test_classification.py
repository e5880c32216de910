"""The Gaussian kernel learns sequences faster and better: worlds for it and against it."""

import pytest

from tdlab.claims import song2024 as claims
from tests.tdlab.claims.planted import A, D, U
from tests.tdlab.claims.song2024.tables import TASKS
from tests.tdlab.claims.song2024.worlds import judged, measured, verdicts


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    judged(
        claims.classification,
        ({"accuracy": {"digits": -0.05}}, [D, A, A, A, A, A]),
        ({"accuracy": {"digits": 0.0}}, [U, A, A, A, A, A]),
        ({"accuracy": {"pathfinder 16x16": -0.001}}, [A, A, D, A, A, A]),
        ({"accuracy": {"text": 0.001}}, [A, A, A, A, A, A]),
        ({"loss": {"digits": -0.05}}, [A, D, A, A, A, A]),
        ({"loss": {"pathfinder 16x16": 0.0}}, [A, A, A, U, A, A]),
        ({"loss": {"text": -0.001}}, [A, A, A, A, A, D]),
        ({"spread": 0.2}, [U, U, U, U, U, U]),
        # At chance, whichever is ahead; one of the two above it is enough.
        ({"level": {**dict.fromkeys(TASKS, 0.8), "text": 0.48}}, [A, A, A, A, U, U]),
        (
            {"level": dict.fromkeys(TASKS, 0.5), "accuracy": dict.fromkeys(TASKS, 0.051)},
            [U, U, U, U, U, U],
        ),
        (
            {"level": dict.fromkeys(TASKS, 0.5), "accuracy": dict.fromkeys(TASKS, 0.06)},
            [A, A, A, A, A, A],
        ),
        (
            {"level": dict.fromkeys(TASKS, 0.56), "accuracy": dict.fromkeys(TASKS, -0.06)},
            [D, A, D, A, D, A],
        ),
    ),
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected


def test_where_accuracies_are_at_chance_it_is_said():
    guessing = {**dict.fromkeys(TASKS, 0.8), "pathfinder 16x16": 0.48}
    found = claims.classification.findings(measured(claims.classification, level=guessing))
    said = [finding.part.endswith("(neither surely above chance)") for finding in found]
    assert said == [False, False, True, True, False, False]
    assert [finding.verdict for finding in found[2:4]] == [U, U]
