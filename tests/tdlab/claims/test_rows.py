"""How a rule reads a table: the rows it takes, the number of each seed, the interval over seeds.

The table is made by `tidy`, as those of the studies are, so that its columns have their types:
seeds and steps are integers that may be missing, other numbers are floats.
"""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from tdlab.claims.rows import by_seed, over_seeds, paired, select
from tdlab.results import tidy
from tdlab.statistics import mean_interval

SEEDS = (3, 7, 12)
AT = (0.1, 0.3, 0.7)
# Generic numbers, axes seed and at.
ERROR = np.array([[0.31, 0.22, 0.05], [0.37, 0.11, 0.04], [0.29, 0.24, 0.09]])
MASS = 1 - ERROR**2


def measured(quantity, values, **where):
    where |= {"seed": SEEDS, "at": AT, "run": ("seed", [f"run {seed}" for seed in SEEDS])}
    return tidy(quantity, values, "seed at", source="measured", **where)


@pytest.fixture
def table():
    """Two quantities at two lengths; rows of the theory with a seed, without, and with no step."""
    theory = partial(tidy, axes="", source="theory", at=0.3)
    return pd.concat(
        [
            measured("error", ERROR, length=10, step=40),
            measured("error", ERROR / 2, length=20, step=40),
            measured("mass", MASS, step=0),
            theory("error", 9.0, length=10, step=40),
            theory("error", 8.0, length=10, step=40, seed=7),
            theory("bound", 7.0),
        ],
        ignore_index=True,
    )


def values(table):
    return sorted(table.value)


# Rows.


def test_rows_are_those_where_every_column_has_its_value(table):
    found = select(table, quantity="error", length=20, seed=12)
    assert found.value.tolist() == (ERROR[2] / 2).tolist()
    assert values(select(table, quantity="mass", at=0.3)) == sorted(MASS[:, 1])
    assert values(select(table, length=10, source="theory")) == [8.0, 9.0]


def test_without_a_condition_all_rows_are_taken_and_none_is_changed(table):
    before = table.copy()
    pd.testing.assert_frame_equal(select(table), table)
    assert len(select(table, quantity="bound")) == 1
    pd.testing.assert_frame_equal(table, before)


def test_a_missing_value_equals_none(table):
    assert values(select(table, seed=7, quantity="error", at=0.3)) == [0.055, 0.11, 8.0]
    assert values(select(table, step=40, source="theory")) == [8.0, 9.0]  # the bound has no step
    assert (select(table, length=10).quantity == "error").all()  # NaN, where a mass is measured
    assert len(select(table, length=10.0)) == len(select(table, length=10)) == 9 + 2
    with pytest.raises(ValueError, match=r"^the table has no rows with \{'length': nan\}$"):
        select(table, length=math.nan)


@pytest.mark.parametrize("wanted", [0.3, 0.1 + 0.2, 0.3 * (1 + 1e-9), np.float64(0.3)])
def test_a_float_is_found_but_for_rounding(table, wanted):
    assert values(select(table, quantity="mass", at=wanted)) == sorted(MASS[:, 1])


def test_a_float_is_found_among_floats_that_were_rounded():
    table = measured("error", ERROR).replace({"at": {0.3: 0.1 + 0.2}})
    assert values(select(table, at=0.3)) == sorted(ERROR[:, 1])


@pytest.mark.parametrize("wanted", [0.3001, 0.31, 0.0, 1e-6, -0.3, math.nan, 0, 1])
def test_another_number_is_not_found(table, wanted):
    with pytest.raises(ValueError, match=r"^the table has no rows with "):
        select(table, at=wanted)


def test_zero_is_found_as_zero_alone():
    small = tidy("error", np.array([0.5, 0.6, 0.7]), "at", source="measured", at=(0.0, 1e-6, 0.2))
    assert values(select(small, at=0.0)) == [0.5]


def test_where_there_are_no_rows_the_line_says_what_was_asked_for(table):
    where = {"quantity": "error", "source": "theory", "length": 20}
    assert all(len(select(table, **{name: each})) for name, each in where.items())
    with pytest.raises(ValueError, match=r"^the table") as caught:
        select(table, **where)
    assert str(caught.value) == (
        "the table has no rows with {'quantity': 'error', 'source': 'theory', 'length': 20}"
    )
    with pytest.raises(ValueError, match=r"^the table has no rows with \{\}$"):
        select(table[:0])


def test_a_column_that_is_not_there_is_an_error(table):
    with pytest.raises(KeyError, match="lenght"):
        select(table, lenght=10)


# Seeds.


def test_the_number_of_a_seed_is_the_mean_of_its_rows(table):
    found = by_seed(table, quantity="error")
    assert found.index.tolist() == list(SEEDS)
    assert found.tolist() == pytest.approx((0.75 * ERROR.mean(axis=1)).tolist(), rel=1e-14)
    one = by_seed(table, quantity="error", at=0.7, length=20)
    assert one.to_dict() == dict(zip(SEEDS, ERROR[:, 2] / 2, strict=True))


def test_rows_of_the_theory_are_no_measurement(table):
    # One of them even has a seed.
    at = {"quantity": "error", "length": 10, "at": 0.3}
    assert by_seed(table, **at).to_dict() == dict(zip(SEEDS, ERROR[:, 1], strict=True))
    assert tuple(over_seeds(table, **at)) == tuple(mean_interval(ERROR[:, 1]))
    line = r"^the table has no rows with \{'source': 'measured', 'quantity': 'bound'\}$"
    for read in (by_seed, over_seeds):
        with pytest.raises(ValueError, match=line):
            read(table, quantity="bound")


def test_the_interval_is_that_of_the_seeds_and_not_of_their_rows(table):
    found = over_seeds(table, quantity="mass")
    assert tuple(found) == pytest.approx(tuple(mean_interval(MASS.mean(axis=1))), rel=1e-14)
    # Seeds count alike, whatever the number of their rows.
    few = table.drop(table.index[(table.seed == 3) & (table["at"] < 0.5)])
    expected = [MASS[0, 2], MASS[1].mean(), MASS[2].mean()]
    assert tuple(over_seeds(few, quantity="mass")) == pytest.approx(
        tuple(mean_interval(np.array(expected))), rel=1e-14
    )


def test_a_single_seed_has_an_infinite_interval(table):
    found = over_seeds(table[table.seed == 7], quantity="mass", at=0.1)
    assert tuple(found) == (MASS[1, 0], -math.inf, math.inf)


# Pairs.


def series(values, seeds=SEEDS):
    return pd.Series(values, index=pd.Index(seeds, dtype="Int64"))


def test_a_difference_is_that_of_the_same_seed(table):
    # What the seeds have in common drops out, in whichever order they stand.
    common, added = np.array([0.0, 5.0, -3.0]), np.array([0.2, 0.21, 0.22])
    one, other = series(common + added), series(common)
    expected = tuple(mean_interval(added))
    assert tuple(paired(one, other)) == pytest.approx(expected, rel=1e-12)
    assert tuple(paired(one, other[::-1])) == pytest.approx(expected, rel=1e-12)
    less = tuple(mean_interval(-added))
    assert tuple(paired(other, one)) == pytest.approx(less, rel=1e-12)
    read = paired(
        by_seed(table, quantity="mass", at=0.7), by_seed(table, quantity="error", length=10, at=0.1)
    )
    assert tuple(read) == pytest.approx(tuple(mean_interval(MASS[:, 2] - ERROR[:, 0])), rel=1e-14)


def test_a_seed_that_one_side_lacks_is_dropped():
    one = series([0.9, 0.7, 0.4, 9.0], (3, 7, 12, 20))
    other = series([0.1, -9.0, 0.3, 0.2], (12, 1, 3, 7))
    expected = mean_interval(np.array([0.6, 0.5, 0.3]))  # seeds 3, 7, 12
    assert tuple(paired(one, other)) == pytest.approx(tuple(expected), rel=1e-12)


def test_seeds_that_have_nothing_in_common_have_no_difference():
    with pytest.raises(ValueError, match="no replicate"):
        paired(series([0.9, 0.7, 0.4]), series([0.1, 0.2, 0.3], (4, 8, 13)))
    found = paired(series([0.9, 0.7, 0.4]), series([0.1, 0.2, 0.3], (4, 8, 12)))
    assert found.estimate == pytest.approx(0.1)
    assert found[1:] == (-math.inf, math.inf)  # one seed alone says nothing
