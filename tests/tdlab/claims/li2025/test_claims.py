"""What holds for every claim about chains of thought: its intervals, its parts and its rule."""

import re

import pytest

from tdlab.claims import li2025 as claims
from tdlab.studies.cot.attention import MIXED
from tdlab.studies.cot.dynamics import GONE
from tdlab.studies.cot.inference import FINAL, IN_CONTEXT, MEAN
from tdlab.studies.regimes import NEARER
from tests.tdlab.claims.findings import (
    assert_agrees,
    assert_blind_to,
    assert_misses,
    assert_planted,
)
from tests.tdlab.claims.li2025.tables import RIGHT
from tests.tdlab.claims.li2025.worlds import CLAIMS, PLANTED, S, measured


@CLAIMS
def test_a_claim_agrees_in_the_world_of_the_theory_and_changes_no_table(claim):
    assert_agrees(claim, measured(claim), len(PLANTED[claim.id]))


@CLAIMS
def test_a_measured_interval_is_that_of_the_planted_numbers(claim):
    assert_planted(claim.findings(measured(claim, spread=S)), PLANTED[claim.id], rel=1e-3)


@CLAIMS
def test_neither_rows_of_the_theory_nor_the_order_of_the_others_make_a_measurement(claim):
    def measured_alone(_, table):
        kept = table[(table.source == "measured") | (table.quantity == "length_bound")]
        return kept.sample(frac=1, random_state=1)

    assert_blind_to(measured_alone, claim, measured(claim))


def with_context(tau, rho):
    return [
        (f"80 examples, worst at {tau} = 0.4", "<= 0.01"),
        ("alpha' = 0.6 less that at 0.8", "> 0"),
        (f"{tau} = 0.5 less that at 0.7", "> 0"),
        (f"{rho} = 0.6 less that at 0.8", "> 0"),
        (f"{tau} = 0.5 .40 examples", "<= 0.05"),
        (rf"needed in .*{tau} {rho}.*\^-2", "<= 1"),
    ]


# What each part says of where it was measured, and each prediction of its limit.
WORDS = {
    "cot.training": [
        ("alpha", "-2 and 0"),
        ("K", "1 and 3"),
        ("M", "0 and 1"),
        ("eps", "-1 and 0"),
    ]
    * 2,
    "cot.two_phases": [("pattern .* over .* position", "> 1"), ("other patterns", ">= 0.2")],
    "cot.attention": [
        (where, ">= 0.9")
        for where in ("alpha = 0.35", r"clean .*\(2\)", r"noisy .*\(3\)", r"out of domain .*\(1\)")
    ],
    "cot.inference": with_context("tau", "rho"),
    "cot.icl": with_context("tau_o", "rho_o"),
    "cot.icl_needs_condition_1": [
        ("in-context .* 80 examples, Condition 1 fails", ">= 0.5"),
        ("10 examples", ">= 0"),
        ("chain with 80 examples", "<= 0.1"),
        ("in-context .* 80 examples, Condition 1 holds", "<= 0.01"),
    ],
    "cot.shift": [
        ("with 0.2", "> 0"),
        ("mass .* 0.6", "> 0"),
        ("error .* 0.6", "<= 0.1"),
        ("0.7", "<= 0.02"),
    ],
}


@CLAIMS
def test_a_part_names_where_it_is_measured_and_a_prediction_its_limit(claim):
    for finding, (where, limit) in zip(
        claim.findings(measured(claim)), WORDS[claim.id], strict=True
    ):
        assert re.search(rf"{where}(\W|$)", finding.part), finding.part
        assert re.search(rf"{re.escape(limit)}(,|:|$)", finding.prediction), finding.prediction


@pytest.mark.parametrize(
    ("claim", "table", "lacking"),
    [
        (claims.training, "rates", {"varied": "loss"}),
        (claims.training, "rates", {"regime": NEARER}),
        (claims.inference, "chain_lengths", {"quantity": "length"}),
        (claims.two_phases, "phases", {"quantity": "time"}),
        (claims.two_phases, "phases", {"quantity": "shared"}),
        (claims.attention, "dynamics", {"step": 37}),
        (claims.attention, "dynamics", {"alpha": 0.35}),
        (claims.attention, "dynamics", {"place": RIGHT}),
        (claims.attention, "attention", {"prompts": "out of domain"}),
        (claims.attention, "attention", {"source": "measured"}),
        (claims.inference, "chain_errors", {"output": MEAN}),
        (claims.inference, "chain_errors", {"quantity": "length_bound"}),
        (claims.in_context, "in_context_errors", {"output": FINAL}),
        (claims.icl_needs_condition_1, "conditions", {"condition_1": "fails"}),
        (claims.icl_needs_condition_1, "conditions", {"condition_1": "holds"}),
        (claims.icl_needs_condition_1, "conditions", {"inference": IN_CONTEXT}),
        (claims.shift, "shift", {"varied": "noise"}),
        (claims.shift, "shift", {"at": MIXED}),
        (claims.shift, "shift", {"at": 0.0}),
        (claims.shift, "shift", {"quantity": "mass"}),
    ],
    ids=lambda part: getattr(part, "id", str(part)),
)
def test_a_table_that_lacks_rows_gets_one_clear_line(claim, table, lacking):
    assert_misses(claim, measured(claim), table, lacking)


def test_ids_are_unique_and_of_the_study():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(set(ids)) == len(ids) == 7
    assert all(name.startswith("cot.") for name in ids)
    assert len({claim.statement for claim in claims.CLAIMS}) == 7


@pytest.mark.parametrize(
    ("claim", "constants"),
    [
        (claims.training, ()),
        (claims.two_phases, (GONE, 0.2)),
        (claims.attention, (0.9, MIXED)),
        (claims.inference, (0.01, 0.05, 2, 1)),
        (claims.in_context, (0.01, 0.05, 2, 1)),
        (claims.icl_needs_condition_1, (0.5, 0.1, 0.01)),
        (claims.shift, (MIXED, 0.1, 0.02)),
    ],
    ids=lambda part: getattr(part, "id", ""),
)
def test_a_rule_states_its_constants_and_which_are_ours(claim, constants):
    words = re.split(r"[ ,:;]+", claim.rule)
    assert not [constant for constant in constants if f"{constant:g}" not in words]
    assert "95 %" in claim.rule
    assert ("(ours)" in claim.rule) == bool(constants)
