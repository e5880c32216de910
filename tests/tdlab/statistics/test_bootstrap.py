"""The bootstrap over seeds against scipy's, and its coverage in simulation."""

import numpy as np
import pytest
from scipy import stats

from tdlab.statistics import bootstrap_interval, mean_interval


def mean(values):
    return np.add.reduce(values) / len(values)  # a third of the time of ndarray.mean


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


def len_below_nine(values):
    """A statistic that only the sample itself makes zero: how many values are repeated."""
    return len(values) - len(np.unique(values))


def test_what_a_bootstrap_cannot_bound_is_named():
    with pytest.raises(ValueError, match="have no seed to resample"):
        bootstrap_interval(np.ones(0), mean, seed=0)
    with pytest.raises(ValueError, match=r"^values\[1\] is nan \(1 such of 2\); must be finite"):
        bootstrap_interval(np.array([1.0, np.nan]), mean, seed=0)
    with pytest.raises(ValueError, match="all resamples lie above the estimate 0"):
        bootstrap_interval(np.arange(9.0), len_below_nine, seed=0, replicates=50)
