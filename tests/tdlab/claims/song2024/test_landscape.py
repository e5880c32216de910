"""The Gaussian kernel has the smoother landscape: worlds where it has, and where it has not."""

import pytest

from tdlab.claims import song2024 as claims
from tests.tdlab.claims.planted import A, D, U
from tests.tdlab.claims.song2024.worlds import judged, measured, verdicts


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    judged(
        claims.landscape,
        ({"end": 0.5, "middle": -1.5}, [D, A, A] * 2),
        ({"end": -0.5, "middle": 1.5}, [A, D, A] * 2),
        ({"end": 0.5, "middle": 0.5}, [D, D, A] * 2),
        ({"end": 0.0, "middle": 0.0}, [U, U, A] * 2),
        ({"end": -0.001, "middle": -0.001}, [A, A, A] * 2),
        ({"varies": 0.3}, [A, A, D] * 2),
        ({"varies": 0.0}, [A, A, U] * 2),
        ({"varies": 0.001}, [A, A, D] * 2),
        ({"spread": 2.0}, [U, U, U] * 2),
        ({"end": 0.0, "middle": 0.0, "spread": 0.0}, [D, D, A] * 2),  # as smooth is no smoother
        ({"after_softmax": {"end": 0.3, "middle": -0.6}}, [A, A, A, D, A, A]),
        ({"after_softmax": {"middle": 1.0, "varies": 0.1}}, [A, A, A, A, D, D]),
        ({"end": 0.4, "after_softmax": {"end": -0.7}}, [D, A, A, A, A, A]),
    ),
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected


@pytest.mark.parametrize("changes", [{"scale": 0}, {"scale": -1}])
@pytest.mark.parametrize("step", [20, 60])
def test_a_top_eigenvalue_that_is_not_positive_is_named_and_not_left_out(changes, step):
    tables = measured(claims.landscape)
    table = tables.curvature
    one = (table.step == step) & (table["rank"] == 0) & (table.seed == 5)
    tables.curvature = table.assign(value=table.value.mask(one, table.value * changes["scale"]))
    with pytest.raises(ArithmeticError, match=r"eigenvalue is not positive"):
        claims.landscape.findings(tables)
