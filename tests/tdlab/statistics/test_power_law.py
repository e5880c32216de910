"""Power laws: planted exponents, censored values, and the coverage of the interval."""

import numpy as np
import pytest
from scipy import optimize, stats

from tdlab.statistics import bootstrap_interval, power_law
from tdlab.statistics.power_law import POINTS

X = np.array([0.4, 0.5, 0.63, 0.8, 1.0])
EXPONENT, SCALE = -2 / 3, 140.0


def planted(noise, exponent=EXPONENT):
    """Values about a law, as [seed, point]; noise is added to their logarithms."""
    return SCALE * X**exponent * np.exp(noise)


def censored(y, limit):
    """What is known of values where no more than ``limit`` can be seen."""
    return np.where(y > limit, np.nan, y)


def slopes(y):
    return np.array([stats.linregress(np.log(X), np.log(row)).slope for row in y])


def test_the_exponent_is_the_mean_of_the_seeds_own(rng):
    y = planted(0.2 * rng.normal(size=(9, 5)))
    law = power_law(X, y)
    assert law.exponent.estimate == pytest.approx(slopes(y).mean())
    assert (law.censored, law.of) == (0, 45)


def test_the_interval_is_that_of_the_bootstrap_over_seeds(rng):
    y = planted(0.2 * rng.normal(size=(12, 5)) + rng.normal(size=(12, 1)))
    law = power_law(X, y, replicates=20_000)
    expected = bootstrap_interval(slopes(y), np.mean, seed=3, replicates=20_000)
    np.testing.assert_allclose(law.exponent, expected, atol=0.003)


def test_a_law_without_noise_is_found_exactly_with_its_scale(rng):
    law = power_law(X, planted(np.zeros((8, 5))))
    np.testing.assert_allclose(law.exponent, [EXPONENT] * 3)
    assert law.scale == pytest.approx(SCALE)
    assert law.bend == pytest.approx(0, abs=1e-9)
    apart = planted(np.zeros((8, 5))) * np.exp(rng.normal(size=(8, 1)))  # a scale for each seed
    np.testing.assert_allclose(power_law(X, apart).exponent, [EXPONENT] * 3)


def test_the_bend_is_the_largest_share_by_which_a_point_is_off(rng):
    curved = planted(0.3 * np.log(X / 0.63) ** 2 + np.zeros((8, 5)))
    law = power_law(X, curved)
    fitted = law.scale * X**law.exponent.estimate
    assert law.bend == pytest.approx(np.abs(curved[0] / fitted - 1).max())
    assert law.bend > 0.02
    noisy = curved * np.exp(0.05 * rng.normal(size=(8, 5)))
    mean = np.exp(np.log(noisy).mean(0))
    again = power_law(X, noisy)
    expected = np.abs(mean / (again.scale * X**again.exponent.estimate) - 1).max()
    assert again.bend == pytest.approx(expected)


def test_a_limit_that_no_value_reaches_changes_nothing(rng):
    y = planted(0.1 * rng.normal(size=(8, 5)))
    assert power_law(X, y, np.full(5, 1e4)) == power_law(X, y)


def test_with_censored_values_and_one_spread_it_is_near_the_maximum_of_the_likelihood(rng):
    y, limit = planted(0.15 * rng.normal(size=(400, 5))), np.full(5, 240.0)
    seen = censored(y, limit)
    assert 0.1 < np.isnan(seen).mean() < 0.3

    def unlikely(theta):
        level, slope, log_spread = theta
        fitted = level + slope * np.log(X)
        sure = stats.norm.logpdf(np.log(seen), fitted, np.exp(log_spread))
        beyond = stats.norm.logsf(np.log(limit), fitted, np.exp(log_spread))
        return -np.where(np.isnan(seen), beyond, sure).sum()

    best = optimize.minimize(unlikely, [5.0, -0.5, -2.0], method="Nelder-Mead", tol=1e-9).x
    law = power_law(X, seen, limit, replicates=200)
    assert law.exponent.estimate == pytest.approx(best[1], abs=0.02)
    assert np.log(law.scale) == pytest.approx(best[0], abs=0.01)
    assert (law.censored, law.of) == (np.isnan(seen).sum(), 2000)


def test_to_leave_out_what_was_not_reached_would_flatten_the_law(rng):
    y, limit = planted(0.2 * rng.normal(size=(64, 5))), np.full(5, 230.0)
    seen = censored(y, limit)
    law = power_law(X, seen, limit)
    assert law.exponent.low < EXPONENT < law.exponent.high
    known = ~np.isnan(seen)
    at = np.broadcast_to(np.log(X), seen.shape)[known]
    left_out = stats.linregress(at, np.log(seen[known])).slope
    assert left_out > law.exponent.high
    at_limit = slopes(np.where(known, seen, 230.0)).mean()  # nor is the limit a value
    assert at_limit > law.exponent.high


def test_each_point_has_a_spread_of_its_own(rng):
    # Five times as much noise where values are censored: one spread for all would be off by 0.06.
    noise = np.linspace(0.25, 0.05, 5) * rng.normal(size=(4000, 5))
    y = planted(noise)
    limit = np.full(5, np.quantile(y, 0.8))
    law = power_law(X, censored(y, limit), limit, replicates=20)
    assert law.exponent.estimate == pytest.approx(EXPONENT, abs=0.02)


def test_a_limit_may_differ_from_point_to_point(rng):
    y = planted(0.1 * rng.normal(size=(500, 5)))
    limit = SCALE * X**EXPONENT * np.array([1.05, 9, 9, 1.1, 9])
    law = power_law(X, censored(y, limit), limit, replicates=20)
    assert law.exponent.estimate == pytest.approx(EXPONENT, abs=0.02)


# As documented: at least 900 of 1,000, but where noise is skewed and what is censored is its tail.
COVERED = {
    ("normal", "all known"): 0.929,
    ("normal", "censored"): 0.945,
    ("uneven", "all known"): 0.940,
    ("uneven", "censored"): 0.930,
    ("skewed", "all known"): 0.933,
    ("skewed", "censored"): 0.877,
}


@pytest.mark.parametrize(("kind", "part"), COVERED)
@pytest.mark.parametrize("repeats", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_interval_covers_a_planted_exponent_as_documented(rng, repeats, kind, part):
    made = {
        "normal": lambda n: 0.1 * rng.normal(size=(n, 5)) + 0.1 * rng.normal(size=(n, 1)),
        "skewed": lambda n: 0.15 * (rng.exponential(size=(n, 5)) - 1),
        "uneven": lambda n: np.linspace(0.25, 0.05, 5) * rng.normal(size=(n, 5)),
    }[kind]
    most = np.inf if part == "all known" else np.quantile(planted(made(20_000)), 0.8)
    limit = None if part == "all known" else np.full(5, most)
    hits = 0
    for _ in range(repeats):
        low, high = power_law(X, censored(planted(made(16)), most), limit, replicates=800)[0][1:]
        hits += low <= EXPONENT <= high
    covered = COVERED[kind, part]
    # Three standard errors of so many repeats below; those of the documented figure are smaller.
    assert hits / repeats >= covered - 3 * np.sqrt(covered * (1 - covered) / repeats)
    assert hits >= 900 or repeats < 1000 or (kind, part) == ("skewed", "censored")


def test_the_interval_depends_on_its_seed_alone(rng):
    y = planted(0.1 * rng.normal(size=(8, 5)))
    first, again, other = (power_law(X, y, seed=seed, replicates=300) for seed in (1, 1, 2))
    assert first == again != other


def test_fewer_than_eight_seeds_have_an_infinite_interval(rng):
    y = planted(0.1 * rng.normal(size=(7, 5)))
    assert power_law(X, y).exponent == (pytest.approx(slopes(y).mean()), -np.inf, np.inf)
    assert np.isfinite(power_law(X, planted(0.1 * rng.normal(size=(8, 5)))).exponent).all()


def test_points_that_hardly_any_seed_reached_leave_nothing_to_fit(rng):
    y, limit = planted(np.zeros((8, 5))), np.full(5, 1000.0)
    for at in range(5 - POINTS + 1):
        y[:5, at] = np.nan
    line = rf"^at {POINTS - 1} of 5 points at least half the seeds have values; a law needs 3$"
    with pytest.raises(ArithmeticError, match=line):
        power_law(X, y, limit)
    y[4, 0] = 300.0  # half of eight
    assert power_law(X, y, limit).censored == 14


def test_points_may_share_their_x(rng):
    x = np.array([0.4, 0.4, 0.63, 1.0, 1.0])
    y = x**EXPONENT * np.exp(0.1 * rng.normal(size=(8, 5)))
    expected = np.mean([stats.linregress(np.log(x), np.log(row)).slope for row in y])
    assert power_law(x, y).exponent.estimate == pytest.approx(expected)
    line = "^at 2 of 2 points at least half the seeds have values; a law needs 3$"
    with pytest.raises(ArithmeticError, match=line):
        power_law(np.array([0.4, 0.4, 1.0, 1.0, 1.0]), y)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"y": np.array([[1.0, 0.0, -2.0]])}, r"^y\[0, 1\] is 0\.0 \(2 such of 3\); must be pos"),
        ({"y": np.array([[1.0, np.inf, 2.0]])}, r"^y\[0, 1\] is inf .*; must be finite; a value"),
        ({"y": np.array([[1.0, np.nan, 2.0]])}, r"^y\[0, 1\] is nan .*; is beyond a limit that is"),
        ({"limit": np.array([1.0, 0.5, 1.0])}, r"^y\[0, 1\] is 1\.0 .*; is above its limit, and"),
        ({"limit": np.array([1.0, 0.0, 1.0])}, r"^limit\[1\] is 0\.0 .*; must be positive"),
        ({"x": np.array([1.0, -2.0, 3.0])}, r"^x\[1\] is -2\.0 .*; must be positive"),
        ({"x": np.array([1.0, np.nan, 3.0])}, r"^x\[1\] is nan .*; must be finite"),
        ({"confidence": 95.0}, "^confidence is 95.0; it must lie between 0 and 1$"),
    ],
)
def test_what_has_no_law_is_refused_by_name(change, line):
    given = {"x": np.array([1.0, 2.0, 3.0]), "y": np.ones((1, 3)), **change}
    with pytest.raises(ValueError, match=line):
        power_law(given.pop("x"), given.pop("y"), **given)
