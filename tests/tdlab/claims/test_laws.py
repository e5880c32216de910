"""How a rule reads a law: what of a table is fitted, against the same numbers in arrays.

The fit itself is held against planted laws elsewhere. There are as many seeds as its interval
needs, and each has noise and a scale of its own.
"""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from tdlab.claims.claim import AGREES, INCONCLUSIVE, at_most
from tdlab.claims.laws import bounded, exponent_of, law_of
from tdlab.results import tidy
from tdlab.statistics import Interval, power_law

SEEDS = range(3, 12)
X = np.array([0.4, 0.7, 1.1, 2.3])
_RNG = np.random.default_rng(11)
Y = 140 * X**-0.7 * np.exp(0.2 * _RNG.normal(size=(9, 4)) + _RNG.normal(size=(9, 1)))


def rows(values=Y, x=X, **where):
    """Measured rows of a quantity with axes seed and at."""
    return tidy("time", values, "seed at", source="measured", seed=SEEDS, at=x, **where)


def shuffled(table, key=2):
    return table.sample(frac=1, random_state=key, ignore_index=True)


def slopes(values, x=X):
    return [np.polyfit(np.log(x), np.log(row), 1)[0] for row in values]


def assert_same(law, expected):
    """The same law, interval and all, but for rounding."""
    assert tuple(law.exponent) == pytest.approx(tuple(expected.exponent), rel=1e-10)
    assert law[1:] == pytest.approx(expected[1:], rel=1e-10)


# Of a table.


def test_a_law_is_that_of_the_values_of_each_seed_at_each_point():
    law = law_of(rows())
    assert_same(law, power_law(X, Y))
    assert law.exponent.estimate == pytest.approx(np.mean(slopes(Y)), rel=1e-10)
    assert (law.censored, law.of) == (0, 36)


def test_the_order_of_rows_does_not_matter():
    assert law_of(shuffled(rows())) == law_of(rows())
    assert_same(law_of(rows(Y[:, [2, 0, 3, 1]], X[[2, 0, 3, 1]])), power_law(X, Y))


def test_a_law_runs_along_the_column_that_is_named():
    table = rows().rename(columns={"at": "fraction"}).assign(at=7.0)
    assert_same(law_of(table, "fraction"), power_law(X, Y))


def test_only_measured_rows_of_the_selection_count():
    theory = tidy("time", 140 * X**-9, "at", source="theory", at=X, regime="ours", seed=99)
    bound = tidy("time", 9.0, "", source="theory", at=X[0], regime="nearer")
    table = pd.concat(
        [rows(regime="ours"), rows(Y * X**2, regime="nearer"), theory, bound], ignore_index=True
    )
    assert_same(law_of(table, regime="ours"), power_law(X, Y))
    assert_same(law_of(table, quantity="time", regime="nearer"), power_law(X, Y * X**2))
    with pytest.raises(ValueError, match=r"^the table has no rows with "):
        law_of(table, regime="neither")


def test_points_that_share_an_x_are_told_apart_by_other_columns():
    # Two at 0.7 by what is varied, and two at 1.1 by its value.
    places = [("tau", 0.6, 0.4), ("tau", 0.7, 0.7), ("rho", 0.6, 0.7), ("rho", 0.7, 1.1)]
    places += [("rho", 0.8, 1.1)]
    x = np.array([at for *_, at in places])
    values = np.stack([Y[:, 0], Y[:, 1], Y[:, 1] ** 1.1, Y[:, 2], Y[:, 3] * 1.3], axis=1)
    parts = [
        rows(values[:, [place]], x[[place]], varied=varied, of=of)
        for place, (varied, of, _) in enumerate(places)
    ]
    table = shuffled(pd.concat(parts, ignore_index=True))
    law = law_of(table, points=("varied", "of"))
    assert_same(law, power_law(x, values))
    assert law.exponent.estimate == pytest.approx(np.mean(slopes(values, x)), rel=1e-10)
    assert law.of == 45
    with pytest.raises(ValueError, match="duplicate"):
        law_of(table)


def test_a_value_that_is_missing_is_beyond_the_limit_of_its_point():
    limit = np.quantile(Y, 0.8, axis=0)
    seen = np.where(limit < Y, np.nan, Y)
    table = rows(seen, limit=("at", limit))
    law = law_of(shuffled(table))
    assert_same(law, power_law(X, seen, limit))
    assert law.censored == np.isnan(seen).sum() > 4
    assert law.of == 36
    # Each point has its own: that of another one is another law.
    assert law.exponent.estimate != power_law(X, seen, np.full(4, limit.max())).exponent.estimate


def test_a_missing_value_without_a_limit_is_an_error():
    seen = Y.copy()
    seen[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"^y\[2, 1\] is nan .*beyond a limit that is not given"):
        law_of(rows(seen))


def test_a_seed_that_lacks_a_point_is_left_out():
    seen = np.where(Y > 500, np.nan, Y)
    table = rows(seen, limit=500.0)
    lacking = (table["seed"] == 5) & (table["at"] == X[2])
    kept = [place for place, seed in enumerate(SEEDS) if seed != 5]
    expected = power_law(X, seen[kept], np.full(4, 500.0))
    law = law_of(shuffled(table[~lacking]))
    assert_same(law, expected)
    assert law.of == 32
    assert 0 < law.censored < 16


def test_a_seed_whose_values_are_all_missing_is_not_left_out():
    seen = Y.copy()
    seen[4] = np.nan
    law = law_of(rows(seen, limit=9e4))
    assert_same(law, power_law(X, seen, np.full(4, 9e4)))
    assert (law.censored, law.of) == (4, 36)


def test_where_every_seed_lacks_a_point_there_is_no_law():
    table = rows()
    with pytest.raises(ArithmeticError, match="a law needs 3"):
        law_of(table[(table["seed"] % 4) != table["at"].map(dict(zip(X, range(4), strict=True)))])


@pytest.mark.parametrize("value", [0.0, -0.3])
def test_a_value_that_is_not_positive_was_reached_at_once_and_makes_no_law(value):
    values = Y.copy()
    values[3, 1] = value
    line = r"^a value was reached at once, which has no place in a law$"
    with pytest.raises(ArithmeticError, match=line):
        law_of(rows(values))
    # But that of a seed that is left out.
    table = rows(values)
    whole = table[(table["seed"] != 6) | (table["at"] != X[0])]
    assert law_of(whole).of == 32


def test_too_few_points_that_were_reached_make_no_law():
    seen = Y.copy()
    seen[:5, :2] = np.nan
    line = r"^at 2 of 4 points at least half the seeds have values; a law needs 3$"
    with pytest.raises(ArithmeticError, match=line):
        law_of(rows(seen, limit=9e4))


def test_a_table_stays_as_it_is():
    table = rows(limit=9e4)
    before = table.copy()
    law_of(table)
    pd.testing.assert_frame_equal(table, before)


# For a rule with one side.


def falls(limit):
    """The exponent is at most that."""
    return lambda exponent: at_most("exponent", exponent, limit, f"<= {limit}")


def test_a_rule_is_given_the_exponent_of_the_law_and_its_finding_notes_residuals():
    law = power_law(X, Y)
    finding = bounded(falls(0.0), lambda: law)
    note = f"a point is off the law by up to {100 * law.bend:.1f} %"
    assert finding == falls(0.0)(law.exponent)._replace(note=note)
    assert finding.verdict == AGREES
    assert bounded(falls(-2.0), lambda: law).verdict == falls(-2.0)(law.exponent).verdict != AGREES


def test_a_bent_law_has_an_exponent_that_is_bounded_all_the_same():
    law = power_law(X, Y * np.exp(-1.5 * np.log(X) ** 2))
    assert law.bend > 0.3
    assert bounded(falls(0.0), lambda: law).verdict == AGREES


def test_censored_values_are_noted():
    seen = np.where(Y > 500, np.nan, Y)
    finding = bounded(falls(0.0), partial(law_of, rows(seen, limit=500.0)))
    count = np.isnan(seen).sum()
    assert finding.note.endswith(f"; {count} of 36 values are beyond what could be seen")


@pytest.mark.parametrize("of_all", [np.nan, 0.0])
def test_where_there_is_no_law_the_finding_is_inconclusive_and_notes_why(of_all):
    law = partial(law_of, rows(np.full((9, 4), of_all), limit=80.0))
    with pytest.raises(ArithmeticError) as caught:
        law()
    finding = bounded(falls(-0.5), law)
    assert finding.note == str(caught.value)
    assert finding.verdict == INCONCLUSIVE
    assert math.isnan(finding.measured.estimate)
    assert finding.measured[1:] == (-math.inf, math.inf)
    assert finding.part == "exponent"


def test_another_error_is_no_finding():
    with pytest.raises(ValueError, match=r"^the table has no rows with "):
        bounded(falls(0.0), partial(law_of, rows(), quantity="length"))


# Without noise.


@pytest.mark.parametrize("exponent", [-2 / 3, 1.0, 2.25])
def test_the_exponent_of_a_pure_power_is_its_own(exponent):
    x = X[[2, 0, 3, 1]]
    assert exponent_of(37.0 * x**exponent, x) == pytest.approx(exponent, rel=1e-12)


def test_the_exponent_of_a_curved_law_is_that_of_a_fit():
    x = np.array([4.0, 7.0, 6.0, 16.0, 11.0])
    curved = 3.1 * x * np.sqrt(np.log(x))
    exponent = exponent_of(curved, x)
    assert exponent == pytest.approx(np.polyfit(np.log(x), np.log(curved), 1)[0], rel=1e-12)
    assert 1.1 < exponent < 1.5
    assert power_law(x, np.tile(curved, (9, 1))).exponent == pytest.approx(
        Interval(exponent, exponent, exponent), rel=1e-10
    )
