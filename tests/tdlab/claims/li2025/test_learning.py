"""How chains of thought are learned, attention first: worlds for it and against it."""

from types import SimpleNamespace

import numpy as np
import pytest

from tdlab.claims import li2025 as claims
from tests.tdlab.claims.intervals import student
from tests.tdlab.claims.li2025.tables import GRIDS, rates
from tests.tdlab.claims.li2025.worlds import judged, verdicts
from tests.tdlab.claims.planted import SEEDS, A, D, U


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    [
        *judged(
            claims.training,
            ({"alpha": -1.999}, [A, A, A, A]),
            ({"alpha": -2.0}, [U, A, A, A]),  # both ends of each band, +- 0.0008
            ({"alpha": -2.001}, [D, A, A, A]),
            ({"alpha": 0.001}, [D, A, A, A]),
            ({"steps": 0.999}, [A, D, A, A]),
            ({"steps": 1.0}, [A, U, A, A]),
            ({"steps": 2.999}, [A, A, A, A]),
            ({"steps": 3.001}, [A, D, A, A]),
            ({"patterns": -0.001}, [A, A, D, A]),
            ({"patterns": 0.001}, [A, A, A, A]),
            ({"patterns": 1.0}, [A, A, U, A]),
            ({"patterns": 1.001}, [A, A, D, A]),
            ({"loss": -1.001}, [A, A, A, D]),
            ({"loss": 0.0}, [A, A, A, U]),
            ({"loss": 0.001}, [A, A, A, D]),
            ({"alpha": 1.0, "steps": -1.7, "patterns": -0.6, "loss": 0.5}, [D, D, D, D]),
            ({"spread": 1.0}, [A, U, U, U]),  # +- 0.836
            ({"alpha": -3.0, "spread": 1.0}, [D, U, U, U]),
        ),
        *judged(
            claims.two_phases,
            ({"ratio": 0.8}, [D, A]),  # the pattern first
            ({"ratio": 1.0, "spread": 0.0}, [D, A]),  # both at once
            ({"ratio": 1.0, "spread": 0.1}, [U, A]),
            ({"ratio": 1.001}, [A, A]),
            ({"shared": 0.1}, [A, D]),  # the other patterns go with the position
            ({"shared": 0.199}, [A, D]),
            ({"shared": 0.2}, [A, U]),
            ({"shared": 0.2, "spread": 0.0}, [A, A]),
            ({"shared": 0.201}, [A, A]),
            ({"ratio": 0.5, "shared": 0.0}, [D, D]),
        ),
        *judged(
            claims.attention,
            ({"focus": 0.3}, [D, A, A, A]),
            ({"focus": 0.9}, [U, A, A, A]),
            ({"clean": 0.88}, [A, D, A, A]),  # at one step of the chain alone
            ({"clean": 0.9008}, [A, U, A, A]),
            ({"noisy": 0.88}, [A, A, D, A]),
            ({"noisy": 0.9009}, [A, A, A, A]),
            ({"noisy": 0.8992}, [A, A, U, A]),
            ({"noisy": 0.8991}, [A, A, D, A]),
            ({"outside": 0.88}, [A, A, A, D]),
            ({"outside": 0.9, "spread": 0.0}, [A, A, A, A]),
            ({"spread": 0.1}, [U, U, U, U]),
        ),
    ],
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected


def test_an_exponent_is_the_slope_on_logarithms_of_each_seed_whatever_the_order_of_the_rows():
    table = rates(spread=0.1).sample(frac=1, random_state=0)
    table.loc[table["at"].isin([0.4, 4.0, 15.0, 0.03]), "value"] *= 1.7  # no power law any more
    found = claims.training.findings(SimpleNamespace(rates=table))
    for finding, (varied, grid) in zip(found, GRIDS.items(), strict=True):
        own = table[(table.varied == varied) & (table.source == "measured")]
        times = [own[own.seed == seed].set_index("at").value[list(grid)] for seed in SEEDS]
        slopes = [np.polyfit(np.log(grid), np.log(each), 1)[0] for each in times]
        assert tuple(finding.measured) == pytest.approx(student(np.array(slopes)), rel=1e-9)


@pytest.mark.parametrize(
    ("never", "named"),
    [
        ([("alpha", 0.2)], "alpha = 0.2"),
        ([("alpha", 0.8), ("alpha", 0.2), ("loss", 0.01)], "alpha = 0.2, 0.8"),
        ([("steps", 6.0)], "K = 6"),
        ([("patterns", 26.0)], "M = 26"),
        ([("loss", 0.01), ("loss", 0.03)], "eps = 0.01, 0.03"),
    ],
)
def test_a_loss_that_one_seed_never_reached_is_named_and_not_left_out(never, named):
    line = f"^the loss was not reached within rate_steps at {named}$"
    with pytest.raises(ArithmeticError, match=line):
        verdicts(claims.training, never=never)


@pytest.mark.parametrize("never", [["pattern"], ["position"], ["pattern", "position"]])
def test_a_phase_that_one_seed_never_came_to_is_named_and_not_left_out(never):
    line = f"^training ended before these phases did: {', '.join(never)}$"
    with pytest.raises(ArithmeticError, match=line):
        verdicts(claims.two_phases, never=never)
