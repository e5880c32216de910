"""What holds for every claim about attention kernels: its intervals, its parts and its rule."""

import re

import pytest

from tdlab.claims import song2024 as claims
from tdlab.claims.song2024.constants import CHANCE, ENOUGH, EXACT, REACHED, STARTS, STRAIGHT, ZERO
from tdlab.studies.kernels.basins import SOLVED
from tests.tdlab.claims.findings import (
    assert_agrees,
    assert_blind_to,
    assert_misses,
    assert_planted,
)
from tests.tdlab.claims.song2024.tables import STAGE_ONE, TASKS
from tests.tdlab.claims.song2024.worlds import CLAIMS, PLANTED, S, measured


@CLAIMS
def test_a_claim_agrees_in_a_world_in_which_it_is_true_and_changes_no_table(claim):
    assert_agrees(claim, measured(claim), len(PLANTED[claim.id]))


@CLAIMS
def test_parts_have_names_of_their_own_and_say_where_they_were_measured(claim):
    found = claim.findings(measured(claim))
    assert len({finding.part for finding in found}) == len(found)
    parts = "\n".join(finding.part for finding in found)
    places = {
        "kernels.global": ("2.5, softmax", "2.5, gaussian", "W_V"),
        "kernels.bad_basin": ("1.005", "[-2, 5]", "random", "teacher", "0.5", "1.3", "2"),
        "kernels.landscape": ("eigenvalue", "path", "variation", *STAGE_ONE),
        "kernels.classification": TASKS,
    }
    assert not [place for place in places[claim.id] if place not in parts]


@CLAIMS
def test_a_measured_interval_is_that_of_the_planted_numbers(claim):
    assert_planted(claim.findings(measured(claim, spread=S)), PLANTED[claim.id], rel=1e-8)


@CLAIMS
def test_neither_the_order_of_rows_nor_a_third_kernel_makes_a_measurement(claim):
    def two_kernels(name, table):
        table = table.sample(frac=1, random_state=1)
        # The solved curve of the rates is that of all kernels.
        return table if name == "rates" else table[table.kernel != "normalized gaussian"]

    assert_blind_to(two_kernels, claim, measured(claim))


@pytest.mark.parametrize(
    ("claim", "table", "lacking"),
    [
        (claims.convergence, "phase", {"trained": "all"}),
        (claims.convergence, "phase", {"kernel": "gaussian"}),
        (claims.convergence, "phase", {"quantity": "fall"}),
        (claims.convergence, "rates", {"quantity": "straight"}),
        (claims.convergence, "rates", {"quantity": "rate"}),
        (claims.convergence, "rates", {"kernel": "softmax"}),
        (claims.convergence, "rates", {"trained": "W_V"}),
        (claims.bad_basin, "scalar", {"source": "measured"}),
        (claims.bad_basin, "query_only", {"kernel": "softmax"}),
        (claims.landscape, "curvature", {"rank": 0}),
        (claims.landscape, "curvature", {"kernel": "gaussian"}),
        (claims.landscape, "variation", {"kernel": "softmax"}),
        (claims.landscape, "variation", {"quantity": "variation"}),
        (claims.classification, "classification", {"quantity": "loss"}),
        (claims.classification, "classification", {"kernel": "gaussian"}),
        (claims.classification, "classification", {"source": "measured"}),
    ],
    ids=lambda part: getattr(part, "id", str(part)),
)
def test_a_table_that_lacks_rows_gets_one_clear_line(claim, table, lacking):
    assert_misses(claim, measured(claim), table, lacking)


def test_ids_are_those_of_the_study():
    ids = [claim.id for claim in claims.CLAIMS]
    assert ids == [
        f"kernels.{name}" for name in ("global", "bad_basin", "landscape", "classification")
    ]
    assert len({claim.statement for claim in claims.CLAIMS}) == 4
    assert all(claim.source.startswith("after Song et al.") for claim in claims.CLAIMS)


@pytest.mark.parametrize(
    ("claim", "constants"),
    [
        (claims.convergence, (ZERO, ENOUGH, STRAIGHT, EXACT)),
        (claims.bad_basin, (REACHED, SOLVED, *STARTS)),
        (claims.landscape, ()),
        (claims.classification, (CHANCE,)),
    ],
    ids=lambda part: getattr(part, "id", ""),
)
def test_a_rule_states_its_constants_and_which_are_ours(claim, constants):
    words = re.split(r"[ ,:;\[\]]+", claim.rule)
    assert not [constant for constant in constants if f"{constant:g}" not in words]
    assert "95 %" in claim.rule
    assert ("ours" in claim.rule) == bool(constants)
