"""Intervals for means, proportions, statistics and slopes; seeds are the replicates.

Everything here is numpy in, :class:`Interval` out. A value that is not finite is an error that
says where it is: it is never averaged, never dropped.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

# A number, or an array over the axes that are left. Any, as a union would make every caller, who
# knows which of the two it is, prove it to the type checker.
Numbers = Any

FEWEST = 8  # seeds that a bootstrap needs


class Interval(NamedTuple):
    """An estimate and its confidence bounds: numbers, or arrays over the axes that are left."""

    estimate: Numbers
    low: Numbers
    high: Numbers

    def __str__(self) -> str:
        """``0.0214 [0.0199, 0.0229]``, rounded to about a hundredth of the width."""
        return "; ".join(map(_text, *map(np.ravel, self)))


def mean_interval(
    values: Real[np.ndarray, "..."], axis: int = 0, confidence: float = 0.95
) -> Interval:
    r"""Student's interval :math:`\bar v \pm t_{n-1} s / \sqrt n` over the replicate axis.

    One replicate says nothing about the spread: its interval is infinite, so that a run with a
    single seed reads as inconclusive instead of failing.

    Returns:
        Mean and bounds, over the axes that are left.

    Raises:
        ValueError: if a value is not finite, there is no replicate, or confidence is not in (0, 1).
    """
    _check_confidence(confidence)
    _check_finite(values, "values")
    n = values.shape[axis]
    if n == 0:
        raise ValueError(f"values of shape {values.shape} have no replicate along axis {axis}")
    mean = values.mean(axis, dtype=np.float64)
    if n == 1:
        return Interval(mean, mean - np.inf, mean + np.inf)
    half = _student(n, confidence) * values.std(axis, ddof=1, dtype=np.float64) / np.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def proportion_interval(successes: float | int, trials: int, confidence: float = 0.95) -> Interval:
    r"""Wilson's score interval for a proportion :math:`\hat p = k / n` (Wilson 1927).

    .. math:: \frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4 n^2}}{1 + z^2/n}

    It does not collapse at :math:`k = 0` or :math:`n`. A tie may count as half a success.

    Returns:
        The proportion and its bounds.

    Raises:
        ValueError: unless ``0 <= successes <= trials`` and ``trials >= 1``.
    """
    _check_confidence(confidence)
    if not (trials >= 1 and 0 <= successes <= trials):
        raise ValueError(f"{successes} successes in {trials} trials; need 0 <= successes <= trials")
    p, z = successes / trials, float(stats.norm.isf((1 - confidence) / 2))
    centre = p + z**2 / (2 * trials)
    half = z * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    low, high = (np.array([centre - half, centre + half]) / (1 + z**2 / trials)).clip(0, 1)
    return Interval(p, float(low), float(high))


def error_interval(
    errors: Real[np.ndarray, " seed"], prompts: int, confidence: float = 0.95
) -> Interval:
    """The mean of error rates, each over ``prompts`` prompts, with both uncertainties.

    Seeds that make no error at all have no spread, and Student's interval over them no width;
    Wilson's over all prompts still has. Each bound is the wider of the two, and stays in [0, 1].

    Returns:
        The mean and its bounds.

    Raises:
        ValueError: as :func:`mean_interval` and :func:`proportion_interval` do.
    """
    over_seeds = mean_interval(errors, 0, confidence)
    trials = prompts * len(errors)
    over_prompts = proportion_interval(float(over_seeds.estimate) * trials, trials, confidence)
    return Interval(
        over_seeds.estimate,
        max(0.0, min(over_seeds.low, over_prompts.low)),
        min(1.0, max(over_seeds.high, over_prompts.high)),
    )


def bootstrap_interval(
    values: Real[np.ndarray, "seed ..."],
    statistic: Callable[[np.ndarray], float],
    *,
    seed: int,
    replicates: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    r"""BCa bootstrap interval of ``statistic(values)``, resampling seeds, widened for few of them.

    Plain BCa (Efron 1987) covers too little at 8 to 32 seeds: a resample spreads by
    :math:`\sqrt{(n-1)/n}` too little and normal quantiles ignore that the spread is estimated.
    So the normal quantile :math:`z` becomes :math:`\sqrt{n/(n-1)}\, t_{n-1}` (Hesterberg 2015,
    "expanded percentile"), inside BCa's levels

    .. math:: \Phi\!\left(z_0 + \frac{z_0 \pm z}{1 - a (z_0 \pm z)}\right).

    A studentised bootstrap covers means as well, but needs a standard error in each resample, which
    the jackknife gets wrong for medians. Coverage of 95 % intervals, measured in 2,000 repeats with
    1,000 resamples (standard error 0.5 to 0.7 %)::

        seeds                     8      16     32
        mean of normal          94.1   94.9   94.4
        mean of exponential     90.5   93.0   94.4
        median of normal        97.7   96.9   95.3

    Under eight seeds it covers less than that (87 % for the exponential mean at five), so the
    interval is infinite, as it is for one seed in :func:`mean_interval`.

    Returns:
        ``statistic(values)`` and its bounds.

    Raises:
        ValueError: if a value is not finite, there is no seed, confidence is not in (0, 1), or
            every resample lies on one side of the estimate.
    """
    _check_confidence(confidence)
    _check_finite(values, "values")
    n = len(values)
    if n == 0:
        raise ValueError("values have no seed to resample")
    estimate = float(statistic(values))
    if n < FEWEST:
        return Interval(estimate, -np.inf, np.inf)
    rows = np.random.default_rng(seed).integers(n, size=(replicates, n))
    resampled = np.array([statistic(values[row]) for row in rows], dtype=np.float64)
    without_one = (np.delete(values, i, axis=0) for i in range(n))
    left_out = np.array([statistic(rest) for rest in without_one], dtype=np.float64)
    z = np.sqrt(n / (n - 1)) * _student(n, confidence)
    shift, a = _bias(resampled, estimate), _acceleration(left_out)
    low, high = np.quantile(resampled, [_level(shift, a, -z), _level(shift, a, z)])
    return Interval(estimate, float(low), float(high))


def slope_interval(
    x: Real[np.ndarray, " point"], y: Real[np.ndarray, "seed point"], confidence: float = 0.95
) -> Interval:
    r"""The least-squares slope of each seed, averaged, with Student's interval over seeds.

    .. math:: s = \sum_i (x_i - \bar x)\, y_i \Big/ \sum_i (x_i - \bar x)^2

    Returns:
        The mean slope and its bounds.

    Raises:
        ValueError: if a value is not finite, the shapes do not fit, or ``x`` is constant.
    """
    _check_points(x, y)
    centred = x - x.mean()
    slope = y @ centred / (centred @ centred)
    return mean_interval(slope, 0, confidence)


def power_law(
    x: Real[np.ndarray, " point"], y: Real[np.ndarray, "seed point"], confidence: float = 0.95
) -> Interval:
    r"""The exponent :math:`p` of :math:`y \propto x^p`: :func:`slope_interval` on log-log axes.

    Returns:
        The mean exponent and its bounds.

    Raises:
        ValueError: as there, or if a value is not positive.
    """
    _check_points(x, y)
    for name, values in (("x", x), ("y", y)):
        _refuse(values <= 0, values, name, "must be positive to have a logarithm")
    return slope_interval(np.log(x), np.log(y), confidence)


def _student(n: int, confidence: float) -> float:
    return float(stats.t.isf((1 - confidence) / 2, n - 1))


def _bias(resampled: Float[np.ndarray, " replicate"], estimate: float) -> float:
    r""":math:`z_0 = \Phi^{-1}` of the share of resamples below the estimate, ties by half."""
    below = np.mean(resampled < estimate) + np.mean(resampled == estimate) / 2
    if not 0 < below < 1:
        raise ValueError(
            f"all resamples lie {'above' if below == 0 else 'below'} the estimate {estimate:g};"
            " the bootstrap cannot bound this statistic"
        )
    return float(stats.norm.ppf(below))


def _acceleration(left_out: Float[np.ndarray, " seed"]) -> float:
    r""":math:`a = \sum d^3 / 6 (\sum d^2)^{3/2}`, :math:`d` the jackknife's deviations."""
    d = left_out.mean() - left_out
    square = (d**2).sum()
    return 0.0 if square == 0 else float((d**3).sum() / (6 * square**1.5))


def _level(shift: float, a: float, z: float) -> float:
    """BCa's quantile level; beyond its pole the level is that of the far end."""
    reach = shift + z
    stretch = 1 - a * reach
    return float(stats.norm.cdf(shift + reach / stretch if stretch > 0 else np.copysign(np.inf, z)))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")


def _check_points(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 1 or y.ndim != 2 or y.shape[1] != len(x):
        raise ValueError(f"x has shape {x.shape}, y {y.shape}; need [point] and [seed, point]")
    _check_finite(x, "x")
    _check_finite(y, "y")
    if len(np.unique(x)) < 2:
        raise ValueError(f"x takes {len(np.unique(x))} value; a slope needs two different ones")


def _check_finite(values: np.ndarray, name: str) -> None:
    _refuse(~np.isfinite(values), values, name, "must be finite; nothing is averaged around it")


def _refuse(wrong: np.ndarray, values: np.ndarray, name: str, rule: str) -> None:
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{name}{place} is {values[tuple(place)]} ({wrong.sum()} such of {wrong.size}); {rule}"
        )


def _text(estimate: float, low: float, high: float) -> str:
    width, size = high - low, max(abs(estimate), abs(low), abs(high))
    resolved = 0 < width < np.inf
    digits = 2 + max(0, int(np.ceil(np.log10(size / width)))) if resolved else 4
    return f"{estimate:.{digits}g} [{low:.{digits}g}, {high:.{digits}g}]"
