"""How chains of thought are learned, attention first: worlds for it and against it."""

from types import SimpleNamespace

import numpy as np
import pytest

from tdlab.claims import li2025 as claims
from tdlab.studies.regimes import OURS
from tests.tdlab.claims.intervals import bootstrapped
from tests.tdlab.claims.li2025.tables import GRIDS, rates
from tests.tdlab.claims.li2025.worlds import judged, verdicts
from tests.tdlab.claims.planted import SEEDS, A, D, U


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    [
        *judged(
            claims.training,
            ({"alpha": -1.999}, [A, A, A, A] * 2),
            ({"alpha": -2.0}, [U, A, A, A] * 2),  # both ends of each band, +- 0.0008
            ({"nearer": -1.2}, [A, A, A, A, D, D, D, D]),
            ({"alpha": -2.001}, [D, A, A, A] * 2),
            ({"alpha": 0.001}, [D, A, A, A] * 2),
            ({"steps": 0.999}, [A, D, A, A] * 2),
            ({"steps": 1.0}, [A, U, A, A] * 2),
            ({"steps": 2.999}, [A, A, A, A] * 2),
            ({"steps": 3.001}, [A, D, A, A] * 2),
            ({"patterns": -0.001}, [A, A, D, A] * 2),
            ({"patterns": 0.001}, [A, A, A, A] * 2),
            ({"patterns": 1.0}, [A, A, U, A] * 2),
            ({"patterns": 1.001}, [A, A, D, A] * 2),
            ({"loss": -1.001}, [A, A, A, D] * 2),
            ({"loss": 0.0}, [A, A, A, U] * 2),
            ({"loss": 0.001}, [A, A, A, D] * 2),
            ({"alpha": 1.0, "steps": -1.7, "patterns": -0.6, "loss": 0.5}, [D, D, D, D] * 2),
            ({"spread": 1.0}, [A, U, U, U] * 2),  # +- 0.8
            ({"never": [("alpha", 0.2)]}, [A, A, A, A] * 2),  # in one seed of eight
            ({"alpha": -3.0, "spread": 1.0}, [D, U, U, U] * 2),
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
    own = table["at"].isin([0.4, 4.0, 15.0, 0.03, 0.015])
    table.loc[own, "value"] *= 1.7  # no power law any more
    table["limit"] = 1e6
    found = claims.training.findings(SimpleNamespace(rates=table))
    for finding, (varied, grid) in zip(found, GRIDS.items(), strict=False):
        own = table[(table.varied == varied) & (table.source == "measured")]
        own = own[own.regime == OURS]
        times = [own[own.seed == seed].set_index("at").value[list(grid)] for seed in SEEDS]
        slopes = [np.polyfit(np.log(grid), np.log(each), 1)[0] for each in times]
        expected = pytest.approx(bootstrapped(slopes), rel=1e-3)
        assert tuple(finding.measured) == expected


def test_a_loss_that_some_seed_never_reached_is_counted_and_not_left_out():
    never = [("steps", 6.0), ("patterns", 26.0)]
    found = claims.training.findings(SimpleNamespace(rates=rates(never=never)))
    counted = ["1 of 24 values are beyond" in each.note for each in found]
    assert counted == [False, True, True, False] * 2


def test_where_hardly_any_seed_reached_it_there_is_nothing_to_measure():
    table = rates()
    table.loc[(table.varied == "steps") & (table["at"] > 3), "value"] = np.nan
    with pytest.raises(ArithmeticError, match=r"^at 1 of 3 points at least half the seeds"):
        claims.training.findings(SimpleNamespace(rates=table))


@pytest.mark.parametrize("never", [["pattern"], ["position"], ["pattern", "position"]])
def test_a_phase_that_one_seed_never_came_to_is_named_and_not_left_out(never):
    line = f"^training ended before these phases did: {', '.join(never)}$"
    with pytest.raises(ArithmeticError, match=line):
        verdicts(claims.two_phases, never=never)
