import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

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
    fitted,
    near,
    nearer,
    overall,
    reaches,
    within,
)
from tdlab.claims.verdicts import summary, table
from tdlab.results import COLUMNS, keep
from tdlab.statistics import Interval, PowerLaw
from tdlab.studies.regimes import NEARER
from tdlab.symbols import MARKS, in_symbols

LIMIT = 0.7
EVERYWHERE = Interval(0.7, -math.inf, math.inf)  # what a single seed gives
FLAT = Interval(0.0, 0.0, 0.0)
A, D, U = AGREES, DISAGREES, INCONCLUSIVE

# Two claims with three findings; generic numbers.
FINDINGS = [
    Finding("error", "<= 0.1", Interval(0.02, 0.01, 0.03), A),
    Finding("angle", "> 0", Interval(-1.5, -2.5, -0.5), D),
    Finding("gap", "> 0", EVERYWHERE, U),
]


def claim(name, judge=list):
    return Claim(
        id=name,
        statement=f"{name} holds.",
        equation="x = 1",
        source="Us",
        rule="ours",
        regime="here x = {s.x:g}",
        page="a_page",
        needs=("setting", "some", "others"),
        judge=judge,
    )


JUDGED = [(claim("one"), FINDINGS[:2]), (claim("two"), FINDINGS[2:])]


@pytest.mark.parametrize(
    ("low", "high", "verdicts"),
    [  # at_most, at_least, below, above
        (0.1, 0.6, (A, D, A, D)),
        (0.1, 0.7, (A, U, U, D)),  # it reaches the limit from below
        (0.6, 0.8, (U, U, U, U)),
        (0.7, 0.8, (U, A, D, U)),  # from above
        (0.75, 0.8, (D, A, D, A)),
        (0.7, 0.7, (A, A, D, D)),  # seeds that are all equal, on the limit
        (0.2, 0.2, (A, D, A, D)),
        (0.9, 0.9, (D, A, D, A)),
        (-math.inf, 0.6, (A, D, A, D)),
        (0.8, math.inf, (D, A, D, A)),
    ],
)
def test_a_verdict_is_where_the_interval_lies_to_the_limit(low, high, verdicts):
    interval = Interval((low + high) / 2, low, high)
    up, down = (-math.inf, LIMIT), (LIMIT, math.inf)
    rules = {at_most: up, at_least: down, below: up, above: down}
    for (rule, agreeing), verdict in zip(rules.items(), verdicts, strict=True):
        assert rule("x", interval, LIMIT, "") == Finding("x", "", interval, verdict, agreeing), rule


@pytest.mark.parametrize("rule", [at_most, at_least, below, above])
@pytest.mark.parametrize("estimate", [-5.0, 0.7, 5.0])
def test_an_interval_that_says_nothing_is_inconclusive(rule, estimate):
    assert rule("x", EVERYWHERE._replace(estimate=estimate), LIMIT, "").verdict == INCONCLUSIVE


# Binary fractions, so that a bound can lie exactly on the edge: 0.5 to 1.
@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.6, 0.9, A),
        (0.75, 0.75, A),  # seeds that are all equal
        (0.5, 1.0, A),  # both bounds on the edge
        (0.5, 0.5, A),
        (0.4375, 0.75, U),  # it holds the value, but reaches out below,
        (0.75, 1.0625, U),  # above,
        (0.25, 1.25, U),  # on both sides
        (0.9375, 3.0, U),  # off the value, and part of it near
        (1.0, 2.0, U),  # it touches the edge from outside
        (0.25, 0.5, U),
        (1.0625, 2.0, D),
        (0.25, 0.4375, D),
        (2.0, 2.0, D),
        (-math.inf, math.inf, U),
        (-math.inf, 0.75, U),  # half a line says nothing of the other end
        (0.75, math.inf, U),
        (-math.inf, 0.4375, D),
        (1.0625, math.inf, D),
    ],
)
def test_a_value_is_confirmed_only_where_the_whole_interval_is_near_it(low, high, verdict):
    interval = Interval((low + high) / 2, low, high)
    expected = Finding("x", "w", interval, verdict, (0.5, 1.0))
    assert near("x", interval, 0.75, 0.25, "w") == expected
    assert within("x", interval, 0.5, 1.0, "w") == expected


@pytest.mark.parametrize("estimate", [math.nan, 0.75, 9.0])
def test_an_interval_that_says_nothing_does_not_confirm_a_value_either(estimate):
    assert near("x", EVERYWHERE._replace(estimate=estimate), 0.75, 0.25, "").verdict == U


@pytest.mark.parametrize(
    ("low", "high", "flat", "still_falling"),
    [
        (0.1, 0.6, A, A),
        (0.1, 0.7, A, A),  # it touches the limit from below
        (0.7, 0.7, A, A),
        (-math.inf, 0.6, A, A),
        (0.6, 0.8, U, U),  # partly below
        (0.7, 0.8, U, U),  # it touches the limit from above
        (0.6, math.inf, U, U),
        (-math.inf, math.inf, U, U),
        (0.75, 0.8, D, U),  # above: not followed far enough, if it still falls
        (0.9, 0.9, D, U),
        (0.8, math.inf, D, U),
    ],
)
@pytest.mark.parametrize(
    ("falling", "falls"),
    [
        (Interval(0.2, 0.1, 0.3), True),
        (Interval(1e-9, 1e-12, 1e-8), True),  # however slowly
        (Interval(0.5, 0.1, math.inf), True),
        (FLAT, False),  # and seeds that are all equal
        (Interval(0.1, 0.0, 0.2), False),  # a fall that may be none
        (Interval(0.0, -0.1, 0.1), False),
        (Interval(-0.2, -0.3, -0.1), False),  # it rises
        (Interval(0.5, -math.inf, math.inf), False),
    ],
)
def test_the_end_of_a_curve_disagrees_only_where_it_is_above_the_limit_and_no_longer_falls(
    low, high, flat, still_falling, falling, falls
):
    interval = Interval((low + high) / 2, low, high)
    verdict = still_falling if falls else flat
    note = "still falling at the end" if falls and low > LIMIT else ""
    expected = Finding("x", "w", interval, verdict, (-math.inf, LIMIT), note)
    assert reaches("x", interval, LIMIT, falling, "w") == expected


@pytest.mark.parametrize(("slowest", "verdict"), [(0.0, D), (0.3, U)])
def test_the_end_of_a_curve_is_judged_by_intervals_and_not_by_estimates(slowest, verdict):
    for x in (-5.0, 0.35, 5.0):
        end, falling = Interval(x, 0.75, 0.85), Interval(-x, slowest, 0.4)
        assert reaches("x", end, LIMIT, falling, "").verdict == verdict


def near_enough(part, measured, value, prediction):
    return near(part, measured, value, 0.02, prediction)


@pytest.mark.parametrize("rule", [at_most, at_least, below, above, near_enough])
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

    judged = replace(claim("x", judge), needs=("a", "c"))
    assert judged.findings(Measurements()) is FINDINGS
    assert judged.findings({"c": 5, "a": 4}) is FINDINGS
    assert found == [(2, 3), (4, 5)]


def test_each_regime_has_a_verdict_of_its_own():
    ours, other = FINDINGS[0], FINDINGS[1]._replace(regime=NEARER)
    assert (overall([ours, other]), nearer([ours, other])) == (A, D)
    assert (overall([other]), nearer([ours])) == (U, None)  # nothing was found


def test_a_claim_shows_its_equation_and_a_finding_its_verdict():
    judged = replace(claim("x", list), equation=r"a \le b", statement="x < y", rule="r & s")
    assert repr(judged) == "<claim x: x < y>"
    html = judged._repr_html_()
    assert "<math" in html
    assert "\\" not in html
    assert "x &lt; y" in html
    assert "r &amp; s" in html
    finding = Finding("part", "<= 1", Interval(0.5, 0.4, 0.6), A)
    assert repr(finding) == f"<agrees: part: {Interval(0.5, 0.4, 0.6)}, predicted <= 1>"


def law(bend, censored=0):
    return PowerLaw(EVERYWHERE, 1.0, bend, censored, 80)


@pytest.mark.parametrize(
    ("verdict", "bend", "straight", "expected"),
    [
        (A, 0.1, True, A),
        (A, 0.11, True, U),  # points that no law describes have no exponent that could agree
        (A, 0.11, False, A),  # a sum of powers is bent
        (D, 0.5, True, D),
        (U, 0.5, True, U),
    ],
)
def test_an_exponent_agrees_only_where_the_points_follow_a_law(verdict, bend, straight, expected):
    finding = FINDINGS[0]._replace(verdict=verdict)
    found = fitted(finding, law(bend), straight=straight)
    assert found.verdict == expected
    assert found.note.startswith(f"a point is off the law by up to {100 * bend:.1f} %")
    assert ("so that it is none" in found.note) == (verdict != expected)
    assert found[:3] == finding[:3]


def test_a_note_counts_what_was_censored():
    note = "a point is off the law by up to 2.0 %; 3 of 80 values are beyond what could be seen"
    assert fitted(FINDINGS[0], law(0.02, censored=3)).note == note


SETTING = SimpleNamespace(x=1.5)


def test_a_table_of_findings_has_a_tidy_row_for_each(tmp_path, monkeypatch):
    monkeypatch.setenv("TDLAB_KEEP", str(tmp_path))
    rows = keep("findings", table(JUDGED, SETTING))
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
    assert rows.overall.tolist() == [D, D, U]
    about = ["origin", "rule", "equation", "about", "page", "tables", "nearer"]
    assert rows[about].drop_duplicates().to_numpy().tolist() == [
        ["Us", "ours", "x = 1", "here x = 1.5", "a_page", "some, others", None]
    ]


def test_the_range_that_agrees_the_regime_and_the_note_are_in_the_table():
    finding = FINDINGS[0]._replace(agreeing=(0.1, 0.3), note="but", regime=NEARER)
    (row,) = table([(claim("one"), [finding])], SETTING).to_dict("records")
    assert (row["from"], row["to"], row["note"], row["regime"]) == (0.1, 0.3, "but", NEARER)
    assert (row["overall"], row["nearer"]) == (U, A)


def cells(shown):
    table = BeautifulSoup(shown._repr_html_(), "html.parser")
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table("tr")]


def test_a_summary_shows_every_finding_below_its_claim_with_nothing_cut_off():
    long = FINDINGS[0]._replace(part="a part of many words < " * 9)
    shown = summary(table([(claim("one"), [long, *FINDINGS[1:]]), (claim("two"), [long])], SETTING))
    head, one, *rows, two, last = cells(shown)
    assert head == ["", "measured", "value [95 %]", "predicted"]
    assert (one, two) == ([f"one: {overall(FINDINGS)}"], [f"two: {long.verdict}"])
    for row, each in zip([*rows, last], [long, *FINDINGS[1:], long], strict=True):
        assert row == [
            MARKS[each.verdict], in_symbols(each.part), str(each.measured),
            in_symbols(each.prediction),
        ]  # fmt: skip
        assert f"{each.verdict}: {each.part}: {each.measured}, predicted" in repr(shown)
    assert 'aria-label="agrees"' in shown._repr_html_()


def test_a_summary_tells_of_regimes_and_notes_where_there_are_any():
    both = [FINDINGS[0]._replace(note="but"), FINDINGS[0]._replace(regime=NEARER, verdict=D)]
    shown = summary(table([(claim("one"), both)], SETTING))
    _, heading, first, second = cells(shown)
    assert heading == [f"one: {A} ({NEARER}: {D})"]
    assert first[1] == f"{FINDINGS[0].part}but"
    assert second[1] == f"{FINDINGS[0].part}{NEARER}"
    assert f"({NEARER})" in repr(shown)
