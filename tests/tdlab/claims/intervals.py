"""Intervals by the textbook, beside those of `tdlab.statistics`: each is (estimate, low, high)."""

import math
from typing import Any

import numpy as np

from tdlab.statistics.bootstrap import expanded_bca, resamples

T_7 = 2.36462425159278  # 97.5 % of Student's distribution with seven degrees of freedom
Z_SQUARED = 3.841458820694124  # the normal distribution's, squared


def student(values: Any) -> tuple[float, float, float]:
    """Mean and 95 % bounds over eight seeds."""
    values = np.asarray(values, dtype=np.float64)
    half = T_7 * values.std(ddof=1) / math.sqrt(8)
    return values.mean(), values.mean() - half, values.mean() + half


def wilson(p: float, trials: int) -> tuple[float, float, float]:
    """A share of that many trials, and Wilson's 95 % bounds."""
    centre = p + Z_SQUARED / (2 * trials)
    half = math.sqrt(Z_SQUARED * (p * (1 - p) / trials + Z_SQUARED / (4 * trials**2)))
    low, high = ((centre + sign * half) / (1 + Z_SQUARED / trials) for sign in (-1, 1))
    return p, low, high


def bootstrapped(exponents: Any) -> tuple[float, float, float]:
    """The interval of a law over eight seeds whose own exponents these are; all is linear in them.

    The bootstrap itself is held against scipy's elsewhere.
    """
    exponents = np.asarray(exponents, dtype=np.float64)
    n = len(exponents)
    resampled = resamples(n, 4_000, 0) @ exponents / n
    left_out = (exponents.sum() - exponents) / (n - 1)
    return tuple(expanded_bca(exponents.mean(), resampled, left_out))
