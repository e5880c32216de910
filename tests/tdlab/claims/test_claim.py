import json
import math

import pytest

from tdlab.claims.claim import (
    AGREES,
    DISAGREES,
    INCONCLUSIVE,
    Claim,
    Finding,
    above,
    at_least,
    at_most,
    below,
    equals,
    overall,
    summary,
    table,
)
from tdlab.results import COLUMNS, keep
from tdlab.statistics import Interval

LIMIT = 0.7
EVERYWHERE = Interval(0.7, -math.inf, math.inf)  # what a single seed gives
A, D, U = AGREES, DISAGREES, INCONCLUSIVE

# Two claims with three findings; generic numbers.
FINDINGS = [
    Finding("error", "<= 0.1", Interval(0.02, 0.01, 0.03), A),
    Finding("angle", "> 0", Interval(-1.5, -2.5, -0.5), D),
    Finding("gap", "> 0", EVERYWHERE, U),
]


def claim(name, judge=list):
    return Claim(
        id=name, statement=f"{name} holds.", source="Us", rule="ours", needs=(), judge=judge
    )


JUDGED = [(claim("one"), FINDINGS[:2]), (claim("two"), FINDINGS[2:])]


@pytest.mark.parametrize(
    ("low", "high", "verdicts"),
    [  # at_most, at_least, below, above, equals
        (0.1, 0.6, (A, D, A, D, D)),
        (0.1, 0.7, (A, U, U, D, A)),  # it reaches the limit from below
        (0.6, 0.8, (U, U, U, U, A)),
        (0.7, 0.8, (U, A, D, U, A)),  # from above
        (0.75, 0.8, (D, A, D, A, D)),
        (0.7, 0.7, (A, A, D, D, A)),  # seeds that are all equal, on the limit
        (0.2, 0.2, (A, D, A, D, D)),
        (0.9, 0.9, (D, A, D, A, D)),
        (-math.inf, 0.6, (A, D, A, D, D)),
        (0.8, math.inf, (D, A, D, A, D)),
    ],
)
def test_a_verdict_is_where_the_interval_lies_to_the_limit(low, high, verdicts):
    interval = Interval((low + high) / 2, low, high)
    for rule, verdict in zip((at_most, at_least, below, above, equals), verdicts, strict=True):
        assert rule("x", interval, LIMIT, "") == Finding("x", "", interval, verdict), rule


@pytest.mark.parametrize("rule", [at_most, at_least, below, above])
@pytest.mark.parametrize("estimate", [-5.0, 0.7, 5.0])
def test_an_interval_that_says_nothing_is_inconclusive(rule, estimate):
    assert rule("x", EVERYWHERE._replace(estimate=estimate), LIMIT, "").verdict == INCONCLUSIVE


def test_an_interval_that_says_nothing_does_not_confirm_a_value_either():
    assert equals("x", EVERYWHERE, LIMIT, "").verdict == INCONCLUSIVE


@pytest.mark.parametrize("rule", [at_most, at_least, below, above, equals])
def test_the_verdict_follows_the_interval_and_not_the_estimate(rule):
    verdicts = {rule("x", Interval(x, 0.6, 0.65), LIMIT, "").verdict for x in (0.0, 0.62, 9.0)}
    assert len(verdicts) == 1


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([A], A),
        ([A, A], A),
        ([A, U], U),
        ([U, U], U),
        ([A, D], D),
        ([U, D, A], D),
        ([D], D),
        ([], U),  # nothing was found
    ],
)
def test_a_claim_agrees_where_every_part_does_and_disagrees_where_any_does(verdicts, expected):
    assert overall([FINDINGS[0]._replace(verdict=verdict) for verdict in verdicts]) == expected


def test_a_claim_is_judged_on_what_it_needs_in_that_order():
    class Measurements:
        b, a, c = 1, 2, 3

    found = []

    def judge(*given):
        found.append(given)
        return FINDINGS

    judged = Claim(
        id="x",
        statement="",
        source="",
        rule="",
        needs=("a", "c"),
        judge=judge,
    )
    assert judged.findings(Measurements()) is FINDINGS
    assert found == [(2, 3)]


def test_a_table_of_findings_has_a_tidy_row_for_each(tmp_path, monkeypatch):
    monkeypatch.setenv("TDLAB_KEEP", str(tmp_path))
    rows = keep("findings", table(JUDGED, seeds=5))
    assert (tmp_path / "findings.parquet").is_file()
    assert list(rows.columns[:6]) == list(COLUMNS)
    assert set(rows.source) == {"measured"}
    assert rows[["quantity", "prediction", "verdict"]].to_numpy().tolist() == [
        [each.part, each.prediction, each.verdict] for each in FINDINGS
    ]
    assert rows[["value", "low", "high"]].to_numpy().tolist() == [
        list(each.measured) for each in FINDINGS
    ]
    assert rows.measurement.tolist() == [str(each.measured) for each in FINDINGS]
    assert rows.claim.tolist() == ["one", "one", "two"]
    assert rows.statement.tolist() == ["one holds."] * 2 + ["two holds."]
    assert rows[["origin", "rule", "seeds"]].drop_duplicates().to_numpy().tolist() == [
        ["Us", "ours", 5]
    ]


def test_a_summary_shows_every_finding_with_nothing_cut_off():
    long = FINDINGS[0]._replace(part="a part of many words " * 9)
    shown = summary(table([(claim("one"), [long, *FINDINGS[1:]])], seeds=5))
    html = shown.to_html()
    for each in (long, *FINDINGS[1:]):
        assert each.part.strip() in html
        assert str(each.measured) in html
        assert each.verdict in html
    assert shown.data.columns.tolist() == ["value [95 % interval]", "prediction", "verdict"]
    assert json.dumps(shown.data.index.tolist()).count('"one"') == 3
