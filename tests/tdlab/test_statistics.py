"""Intervals against scipy, planted answers, and their coverage in simulation."""

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from tdlab.statistics import (
    Interval,
    bootstrap_interval,
    error_interval,
    mean_interval,
    power_law,
    proportion_interval,
    slope_interval,
)


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


def mean(values):
    return np.add.reduce(values) / len(values)  # a third of the time of ndarray.mean


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


def test_bootstrap_of_a_mean_approaches_students(rng):
    # At n seeds plain BCa would be sqrt((n-1)/n) z/t of Student's width: 22 % narrower at n = 8.
    half = rng.normal(size=4)
    values = np.concatenate([half, -half])  # no skew, so both intervals are symmetric about 0
    student = mean_interval(values)
    measured = bootstrap_interval(values, mean, seed=1)
    assert abs(measured.high / student.high - 1) < 0.1
    assert abs(measured.low / student.low - 1) < 0.1


def test_bootstrap_is_scipys_bca_at_the_widened_level(rng):
    # At the confidence whose normal quantile is sqrt(n / (n-1)) t, scipy's BCa is ours. Both draw
    # one integer array [replicate, seed] from the generator, so even the resamples are the same.
    values, n = rng.exponential(size=10), 10
    z = np.sqrt(n / (n - 1)) * stats.t.ppf(0.95, n - 1)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=2000,
        confidence_level=2 * stats.norm.cdf(z) - 1,
        method="BCa",
        rng=np.random.default_rng(5),
    ).confidence_interval
    measured = bootstrap_interval(values, np.mean, seed=5, replicates=2000, confidence=0.9)
    np.testing.assert_allclose(measured, [values.mean(), *expected])


def test_bootstrap_of_a_skewed_mean_leans_to_the_long_tail(rng):
    measured = bootstrap_interval(rng.exponential(size=30), mean, seed=1)
    assert measured.high - measured.estimate > 1.2 * (measured.estimate - measured.low)


def test_bootstrap_depends_on_its_seed_alone(rng):
    values = rng.normal(size=(12, 3))
    first, again, other = (
        bootstrap_interval(values, np.median, seed=seed, replicates=500) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_bootstrap_of_a_constant_is_that_constant():
    assert bootstrap_interval(np.full(8, 2.5), mean, seed=0, replicates=100) == (2.5, 2.5, 2.5)


def test_bootstrap_of_fewer_than_eight_seeds_is_infinite():
    assert bootstrap_interval(np.arange(7.0), mean, seed=0) == (3.0, -np.inf, np.inf)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "draw", "truth", "documented"),
    [(8, "normal", 0.0, 0.94), (16, "exponential", 1.0, 0.93), (32, "normal", 0.0, 0.944)],
)
def test_bootstrap_covers_as_documented(rng, n, draw, truth, documented):
    # Hits are Binomial(1000, p): at p = 0.94 the standard error is 0.0075. Four of those (0.03), as
    # the documented figure carries an error of its own (0.005).
    repeats, hits = 1000, 0
    for seed in range(repeats):
        values = getattr(rng, draw)(size=n)
        interval = bootstrap_interval(values, mean, seed=seed, replicates=400)
        hits += interval.low <= truth <= interval.high
    assert abs(hits / repeats - documented) < 0.03


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


def test_power_law_recovers_the_planted_exponent(rng):
    x = np.array([0.05, 0.1, 0.2, 0.8])
    y = np.exp(rng.normal(size=(5, 1))) * x ** (-2 / 3)
    np.testing.assert_allclose(power_law(x, y), [-2 / 3] * 3)


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
    with pytest.raises(ValueError, match="values" + place):
        bootstrap_interval(y, np.mean, seed=0)
    with pytest.raises(ValueError, match="y" + place):
        slope_interval(x, y)


def test_power_law_of_a_value_without_logarithm_is_refused():
    with pytest.raises(ValueError, match=r"y\[0, 1\] is 0\.0 \(2 such of 3\); must be positive"):
        power_law(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 0.0, -2.0]]))


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
        (lambda: bootstrap_interval(np.ones(0), mean, seed=0), "have no seed to resample"),
        (
            lambda: bootstrap_interval(np.arange(9.0), len_below_nine, seed=0, replicates=50),
            "all resamples lie above the estimate 0",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def len_below_nine(values):
    """A statistic that only the sample itself makes zero: how many values are repeated."""
    return len(values) - len(np.unique(values))


def test_points_that_do_not_fit_are_refused_without_the_shape_checks_too():
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"x has shape \(3,\), y \(2, 4\)"):
            slope_interval(np.arange(3.0), np.ones((2, 4)))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
