"""Intervals against scipy and planted answers, and their coverage in simulation."""

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from tdlab.statistics import (
    Interval,
    error_interval,
    mean_interval,
    proportion_interval,
    slope_interval,
)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_mean_interval_is_students(rng, confidence):
    values = rng.normal(size=(9, 4))
    measured = mean_interval(values, 0, confidence)
    expected = stats.t.interval(confidence, 8, values.mean(0), stats.sem(values, 0))
    np.testing.assert_allclose([measured.low, measured.high], expected)
    np.testing.assert_allclose(measured.estimate, values.mean(0))


def test_mean_interval_runs_over_the_axis_named(rng):
    values = rng.normal(size=(3, 7, 2))
    np.testing.assert_allclose(mean_interval(values, 1), mean_interval(values.swapaxes(0, 1), 0))


def test_one_replicate_has_an_infinite_interval():
    assert mean_interval(np.array([0.3])) == (0.3, -np.inf, np.inf)


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (3, 20), (20, 20), (1, 1)])
def test_proportion_interval_is_wilsons(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.9, method="wilson")
    measured = proportion_interval(successes, trials, 0.9)
    np.testing.assert_allclose(measured, [successes / trials, *expected], atol=1e-12)


@pytest.mark.parametrize("trials", range(1, 40))
def test_a_proportion_lies_within_its_interval_also_where_none_or_all_succeed(trials):
    assert proportion_interval(0, trials).low == 0
    assert proportion_interval(trials, trials).high == 1


def both(errors, prompts):
    """Student's interval over seeds and Wilson's over all prompts, by scipy."""
    n, mean = len(errors), errors.mean()
    student = stats.t.interval(0.95, n - 1, mean, stats.sem(errors))
    wrong = round(mean * n * prompts)
    wilson = stats.binomtest(wrong, n * prompts).proportion_ci(0.95, method="wilson")
    return student, (wilson.low, wilson.high)


def test_an_error_has_the_wider_of_students_and_wilsons_bounds(rng):
    alike = np.array([0.29, 0.3, 0.3, 0.3, 0.31, 0.3])  # of 100 prompts, so Wilson's is wider
    apart = np.array([0.1, 0.5, 0.3, 0.2, 0.4, 0.3])  # and here Student's
    for errors, wider in ((alike, 1), (apart, 0)):
        bounds = both(errors, 100)
        assert np.diff(bounds[wider]) > 1.5 * np.diff(bounds[1 - wider])
        measured = error_interval(errors, 100)
        np.testing.assert_allclose(measured, [errors.mean(), *bounds[wider]])


def test_each_bound_of_an_error_is_the_wider_one_by_itself():
    # At a small mean Wilson's interval leans to the right: one bound comes from each.
    errors = np.array([0.02, 0.03, 0.0, 0.02, 0.03])
    student, wilson = both(errors, 100)
    assert student[0] < wilson[0]
    assert student[1] < wilson[1]
    np.testing.assert_allclose(
        error_interval(errors, 100), [0.02, max(0.0, student[0]), wilson[1]], atol=1e-12
    )


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_error_interval_has_the_confidence_asked_for(confidence):
    errors = np.array([0.1, 0.5, 0.3, 0.2])
    narrow = mean_interval(errors, 0, confidence)
    np.testing.assert_allclose(error_interval(errors, 10_000, confidence), narrow)


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize(("seeds", "prompts"), [(2, 1), (8, 500)])
def test_seeds_that_are_all_right_or_all_wrong_keep_a_width(rate, seeds, prompts):
    errors = np.full(seeds, rate)
    assert mean_interval(errors) == (rate, rate, rate)
    measured = error_interval(errors, prompts)
    assert measured == pytest.approx(proportion_interval(rate * seeds * prompts, seeds * prompts))
    z2 = stats.norm.isf(0.025) ** 2
    assert measured.high - measured.low == pytest.approx(z2 / (seeds * prompts + z2))


def test_an_error_interval_stays_among_the_rates_and_holds_its_estimate(rng):
    for _ in range(200):
        seeds, prompts = rng.integers(2, 9), rng.integers(1, 60)
        errors = rng.binomial(prompts, rng.choice([0.01, 0.2, 0.5, 0.99]), seeds) / prompts
        measured = error_interval(errors, int(prompts))
        assert 0 <= measured.low <= measured.estimate <= measured.high <= 1
        assert measured.low < measured.high


def test_one_seed_says_nothing_about_an_error_rate():
    assert error_interval(np.array([0.3]), 1000) == (0.3, 0.0, 1.0)


def test_mean_interval_covers_at_its_confidence(rng):
    # Exact for normal values: 20,000 hits have standard error sqrt(.9 * .1 / 20000) = 0.0021.
    interval = mean_interval(rng.normal(size=(4, 20_000)), 0, 0.9)
    hits = (interval.low <= 0) & (interval.high >= 0)
    assert abs(hits.mean() - 0.9) < 4 * 0.0021


def test_slope_interval_agrees_with_scipy_and_contains_the_planted_slope(rng):
    x = rng.uniform(size=6)
    slopes = -1.7 + 0.1 * rng.normal(size=10)
    y = slopes[:, None] * x + rng.normal(size=(10, 1))
    measured = slope_interval(x, y, 0.99)
    expected = mean_interval(np.array([stats.linregress(x, row).slope for row in y]), 0, 0.99)
    np.testing.assert_allclose(measured, expected)
    assert measured.low < -1.7 < measured.high


def test_flat_curves_have_a_slope_of_zero_and_not_of_rounding(rng):
    x = np.log([0.025, 0.05, 0.1, 0.2, 0.4])
    y = np.broadcast_to(np.log(0.5 + 0.05 * rng.normal(size=(8, 1))), (8, 5))
    assert slope_interval(x, y) == (0, 0, 0)
    small = slope_interval(x, y + 1e-9 * x)
    np.testing.assert_allclose(small, [1e-9] * 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.98213, 0.98171, 0.98255), "0.98213 [0.98171, 0.98255]"),
        (Interval(1 / 3, -0.12, 0.79), "0.33 [-0.12, 0.79]"),
        (Interval(1 / 3, -np.inf, np.inf), "0.3333 [-inf, inf]"),
        (Interval(0.0, 0.0, 0.0), "0 [0, 0]"),
        (Interval(np.array([1.0, 2.0]), np.zeros(2), np.full(2, 3.0)), "1 [0, 3]; 2 [0, 3]"),
    ],
)
def test_interval_prints_the_digits_it_resolves(interval, text):
    assert str(interval) == text


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_value_that_is_not_finite_is_named_with_its_place(bad):
    x, y = np.arange(3.0), np.ones((2, 3))
    y[1, 2] = bad
    place = rf"\[1, 2\] is {bad} \(1 such of 6\); must be finite"
    with pytest.raises(ValueError, match="values" + place):
        mean_interval(y)
    with pytest.raises(ValueError, match="y" + place):
        slope_interval(x, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(np.ones((0, 3))), "have no replicate along axis 0"),
        (
            lambda: mean_interval(np.ones(3), 0, 95.0),
            "confidence is 95.0; it must lie between 0 and 1",
        ),
        (lambda: proportion_interval(7, 5), "7 successes in 5 trials"),
        (lambda: proportion_interval(0, 0), "0 successes in 0 trials"),
        (lambda: slope_interval(np.ones(3), np.ones((2, 3))), "x takes 1 value"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_points_that_do_not_fit_are_refused_without_the_shape_checks_too():
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"x has shape \(3,\), y \(2, 4\)"):
            slope_interval(np.arange(3.0), np.ones((2, 4)))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
