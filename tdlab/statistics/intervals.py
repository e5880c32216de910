"""Intervals for means, proportions and slopes; seeds are the replicates.

Everything here is numpy in, :class:`Interval` out. A value that is not finite is an error that
says where it is: it is never averaged, never dropped.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Real
from scipy import stats

# A number, or an array over the axes that are left. Any, as a union would make every caller, who
# knows which of the two it is, prove it to the type checker.
Numbers = Any


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
    check_confidence(confidence)
    check_finite(values, "values")
    n = values.shape[axis]
    if n == 0:
        raise ValueError(f"values of shape {values.shape} have no replicate along axis {axis}")
    mean = values.mean(axis, dtype=np.float64)
    if n == 1:
        return Interval(mean, mean - np.inf, mean + np.inf)
    half = student(n, confidence) * values.std(axis, ddof=1, dtype=np.float64) / np.sqrt(n)
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
    check_confidence(confidence)
    if not (trials >= 1 and 0 <= successes <= trials):
        raise ValueError(f"{successes} successes in {trials} trials; need 0 <= successes <= trials")
    p, z = successes / trials, float(stats.norm.isf((1 - confidence) / 2))
    centre = p + z**2 / (2 * trials)
    half = z * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    low, high = (np.array([centre - half, centre + half]) / (1 + z**2 / trials)).clip(0, 1)
    # At the ends one bound is the proportion itself, which rounding would miss.
    return Interval(p, min(p, float(low)), max(p, float(high)))


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
    # A flat curve has no slope; what rounding leaves of it has the same sign for all seeds.
    rounding = 4 * np.finfo(np.float64).eps * np.abs(y) @ np.abs(centred) / (centred @ centred)
    return mean_interval(np.where(np.abs(slope) <= rounding, 0.0, slope), 0, confidence)


def student(n: int, confidence: float) -> float:
    return float(stats.t.isf((1 - confidence) / 2, n - 1))


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")


def _check_points(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 1 or y.ndim != 2 or y.shape[1] != len(x):
        raise ValueError(f"x has shape {x.shape}, y {y.shape}; need [point] and [seed, point]")
    check_finite(x, "x")
    check_finite(y, "y")
    if len(np.unique(x)) < 2:
        raise ValueError(f"x takes {len(np.unique(x))} value; a slope needs two different ones")


def check_finite(values: np.ndarray, name: str) -> None:
    refuse(~np.isfinite(values), values, name, "must be finite; nothing is averaged around it")


def refuse(wrong: np.ndarray, values: np.ndarray, name: str, rule: str) -> None:
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
