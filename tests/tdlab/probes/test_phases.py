"""When a curve first comes down to a level: crossings that can be done in the head, and a scan."""

from itertools import pairwise

import numpy as np
import pytest

from tdlab.probes import first_below


@pytest.mark.parametrize(
    ("steps", "values", "level", "expected"),
    [
        ((0, 10), (1.0, 0.0), 0.25, 7.5),
        ((3, 5), (0.9, 0.1), 0.3, 4.5),
        ((2, 4, 12), (0.8, 0.6, -0.2), 0.1, 9.0),  # steps need not be evenly spaced
        ((0, 1, 2), (-1.0, -2.0, -5.0), -4.25, 1.75),
        ((0, 8, 16), (4, 2, 0), 1.0, 12.0),  # counts are no less a curve
    ],
)
def test_a_straight_line_is_met_where_it_crosses(steps, values, level, expected):
    assert first_below(steps, np.array(values), level) == pytest.approx(expected, rel=1e-12)


def test_a_curve_that_meets_the_level_at_a_snapshot_is_down_there():
    assert first_below((0, 7, 9), np.array([0.6, 0.25, 0.0]), 0.25) == 7
    assert first_below((0, 7, 9), np.array([0.6, 0.3, 0.25]), 0.25) == 9


@pytest.mark.parametrize("start", [0.25, 0.1])
def test_a_curve_that_starts_below_is_down_at_its_first_step_whatever_comes_next(start):
    assert first_below((5, 7, 9), np.array([start, 0.6, 0.0]), 0.25) == 5
    assert first_below((5,), np.array([start]), 0.25) == 5


def test_a_curve_that_never_comes_down_has_no_time():
    for values in ([0.6, 0.26, 0.3], [0.3, np.inf, 0.3], [np.nan, np.nan, np.nan]):
        assert np.isnan(first_below((0, 7, 9), np.array(values), 0.25))
    assert np.isnan(first_below((4,), np.array([0.6]), 0.25))


def test_a_curve_without_a_step_has_no_time():
    assert np.isnan(first_below((), np.zeros(0), 0.25))
    assert np.isnan(first_below([], np.zeros((2, 3, 0)), 0.25)).tolist() == [[True] * 3] * 2


def test_the_first_of_several_crossings_counts():
    values = np.array([1.0, 0.5, 0.9, 0.1, 0.8, 0.0])
    steps = (0, 10, 20, 30, 40, 50)
    assert first_below(steps, values, 0.6) == pytest.approx(8.0)
    assert first_below(steps, values, 0.3) == pytest.approx(27.5)  # the dip at 10 is not so deep
    assert first_below(steps, values, 0.05) == pytest.approx(49.375)


def test_a_plateau_at_the_level_is_reached_where_it_begins():
    assert first_below((0, 2, 4, 6), np.array([0.9, 0.25, 0.25, 0.0]), 0.25) == 2
    assert first_below((0, 2, 4, 6), np.array([0.5, 0.5, 0.5, 0.0]), 0.25) == 5


def scanned(steps, values, level):
    """One curve, snapshot by snapshot."""
    if values[0] <= level:
        return float(steps[0])
    for (a, u), (b, v) in pairwise(zip(steps, values, strict=True)):
        if v <= level:
            return a + (b - a) * (u - level) / (u - v)
    return np.nan


def test_leading_axes_are_kept_and_each_curve_has_its_own_time():
    generator = np.random.default_rng(5)
    steps = np.array([0, 1, 3, 4, 9, 20, 21])
    values = generator.random((3, 4, 7))
    times = first_below(steps, values, 0.15)
    assert times.shape == (3, 4)
    expected = [[scanned(steps, values[a, b], 0.15) for b in range(4)] for a in range(3)]
    np.testing.assert_allclose(times, expected)
    assert 0 < np.isnan(times).sum() < 9  # both kinds are among them
    assert first_below(steps, values[:1, :0], 0.15).shape == (1, 0)
    assert first_below(steps, values[0, 0], 0.15).shape == ()


def test_steps_are_a_list_a_tuple_or_an_array():
    values = np.array([[1.0, 0.0], [0.5, 0.0]], dtype=np.float32)
    for steps in ([0, 10], (0, 10), np.array([0, 10]), range(0, 20, 10)):
        np.testing.assert_allclose(first_below(steps, values, 0.25), [7.5, 5.0])


@pytest.mark.parametrize(
    ("steps", "shape", "said"),
    [
        (
            (0, 10, 10),
            (3,),
            r"^values have shape \(3,\) and steps are \[0, 10, 10\], but the last ",
        ),
        ((0, 10, 5), (3,), r"^values have shape \(3,\) and steps are \[0, 10, 5\], but the last "),
        ((0, 10), (2, 3), r"^values have shape \(2, 3\) and steps are \[0, 10\], but the last "),
        ((0, 1, 2, 3), (3,), r"^values have shape \(3,\) and steps are \[0, 1, 2, 3\], but the "),
        ((0, 1), (2, 1), r"^values have shape \(2, 1\) and steps are \[0, 1\], but the last axis "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_with_shape_and_steps(steps, shape, said):
    with pytest.raises(ValueError, match=said + r".*must be steps that increase$"):
        first_below(steps, np.zeros(shape), 0.1)
