"""The bootstrap over training seeds: an interval for whatever is computed of all seeds together."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Real
from scipy import stats

from tdlab.statistics.intervals import Interval, check_confidence, check_finite, student

FEWEST = 8  # seeds that a bootstrap needs


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
    check_confidence(confidence)
    check_finite(values, "values")
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
    return expanded_bca(estimate, resampled, left_out, confidence)


def resamples(seeds: int, replicates: int, seed: int) -> Int[np.ndarray, "replicate seed"]:
    """How often each seed stands in each resample: for statistics that are functions of sums."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates)


def expanded_bca(
    estimate: float,
    resampled: Float[np.ndarray, " replicate"],
    left_out: Float[np.ndarray, " seed"],
    confidence: float = 0.95,
) -> Interval:
    """The interval of :func:`bootstrap_interval` from what a statistic is in each resample.

    ``left_out`` is what it is without each of the seeds.

    Returns:
        The estimate and its bounds.

    Raises:
        ValueError: if every resample lies on one side of the estimate.
    """
    n = len(left_out)
    z = np.sqrt(n / (n - 1)) * student(n, confidence)
    shift, a = _bias(resampled, estimate), _acceleration(left_out)
    low, high = np.quantile(resampled, [_level(shift, a, -z), _level(shift, a, z)])
    return Interval(estimate, float(low), float(high))


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
