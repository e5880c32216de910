"""The scorecard as one picture: what stands there, where, and that nothing runs into anything."""

from itertools import pairwise

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tdlab.scorecard import overview as drawn
from tdlab.scorecard.overview import COLOURS, WIDTH, counted, overview
from tests.tdlab.scorecard.cards import FINDINGS, FOUND, OTHER

ABOUT = "at preset quick; seeds: icl 3"
LONG = "the share of what one kernel alone has solved " * 4


@pytest.fixture
def ax():
    (ax,) = overview(FOUND.verdicts, ABOUT).axes
    return ax


def texts(ax):
    return [text.get_text() for text in ax.texts]


def boxes(figure):
    """Where each text is, in pixels of the picture as it is read: left, top, right, bottom."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    (ax,) = figure.axes
    for text in ax.texts:
        corners = text.get_window_extent(renderer).get_points()
        (left, bottom), (right, top) = ax.transData.inverted().transform(corners)
        yield left, top, right, bottom


def test_it_is_read_at_eight_hundred_pixels_and_holds_all_that_is_drawn():
    figure = overview(FOUND.verdicts, ABOUT)
    assert figure.get_size_inches()[0] * figure.dpi == 2 * WIDTH
    (ax,) = figure.axes
    height = ax.get_ylim()[0]
    for left, top, right, bottom in boxes(figure):
        assert 0 <= left < right <= WIDTH
        assert 0 <= top < bottom <= height


def test_a_row_has_the_verdict_the_claim_and_the_finding_that_decides(ax):
    shown = texts(ax)
    assert shown.count("✓") == 1  # of the first claim, in our regime
    assert shown.count("?") == 1
    assert shown.count("The risk ≤ ε & more.") == 2
    assert "risk ≤ ε  (nearer the theorem: ✗ disagrees)" in shown
    for finding in (FINDINGS[0], OTHER):
        assert str(finding.measured) in shown
    assert "≤ 0.1" in shown
    assert str(FINDINGS[1].measured) not in shown  # it is of the other regime
    assert shown.count("Us, ICML 2024") == 1


def test_the_interval_lies_on_what_agrees_where_it_agrees(ax):
    shaded, (left, _) = ax.patches[0], (drawn._BAR, None)
    (line,) = [each for each in ax.lines if each.get_color() == COLOURS["agrees"]][:1]
    (dot,) = [each for each in ax.lines if each.get_marker() == "o"][:1]
    low, high = line.get_xdata()
    assert shaded.get_x() == left  # no lower end
    assert left < low < dot.get_xdata()[0] < high < left + shaded.get_width()


def test_words_of_any_length_stay_in_their_column_and_their_row():
    verdicts = FOUND.verdicts
    verdicts = verdicts.assign(quantity=LONG, statement=LONG, prediction=LONG)
    figure = overview(verdicts, ABOUT)
    places = sorted(boxes(figure))
    claims = [place for place in places if drawn._CLAIM <= place[0] < drawn._BAR]
    assert all(right < drawn._BAR for _, _, right, _ in claims)
    columns = [claims, [place for place in places if place[0] >= drawn._NUMBERS - 1]]
    for column in columns:
        its = sorted(column, key=lambda place: place[1])
        assert all(
            first[3] <= second[1] + 1 for first, second in pairwise(its) if first[0] == second[0]
        )
    assert max(right for _, _, right, _ in places) <= WIDTH


def test_its_label_counts_the_verdicts():
    assert counted(FOUND.verdicts) == {"agrees": 1, "inconclusive": 1}
    label = overview(FOUND.verdicts, ABOUT).get_label()
    assert label == f"The verdict on every claim, {ABOUT}. agrees: 1, inconclusive: 1."


def test_no_number_has_no_dot():
    rows = FOUND.verdicts[FOUND.verdicts.claim == "cot.two"]
    (ax,) = overview(rows.assign(value=float("nan")), ABOUT).axes
    assert not [line for line in ax.lines if line.get_marker() == "o"]
    (ax,) = overview(pd.DataFrame(rows), ABOUT).axes
    assert len([line for line in ax.lines if line.get_marker() == "o"]) == 1


def test_what_a_terminal_spells_out_stands_in_symbols_and_a_dollar_begins_no_formula():
    rows = FOUND.verdicts.assign(statement="T = Theta(eps^-1)", prediction="$1 or $2")
    (ax,) = overview(rows, ABOUT).axes
    assert "T = Θ(ε⁻¹)" in texts(ax)
    literal = [text for text in ax.texts if text.get_text() == "$1 or $2"]
    assert literal
    assert not any(text.get_parse_math() for text in literal)
