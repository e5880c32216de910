r"""In-context learning by a one-layer transformer: closed forms, rates and conditions.

Li, Wang, Lu, Cui, Chen, "How do nonlinear transformers learn and generalize in in-context
learning?" (ICML 2024, arXiv 2402.15607).

``bound_`` marks what the paper proves, up to constants it does not name; ``estimate_`` a
leading-order argument of ours; the rest is exact under the stated condition. What we know of the
paper comes from its authors' public talks and summaries.
"""

import math

import numpy as np
from scipy.stats import binom


def initial_concentration(alpha: float, delta: float, beta: float, length: int) -> float:
    r"""Attention mass on the query's pattern before training.

    .. math::
        E\Big[ \frac{n g}{n g + l - n} \Big], \qquad
        g = e^{(\delta\beta)^2},\; n \sim B(l, \alpha'/2)

    Exact at kappa = 0 for the block-identity start W_Q = W_K = delta I on the inputs; the kappa
    terms move it by less than the sampling error of some thousand prompts.

    Returns:
        The expectation over prompts, in [0, 1]; a prompt with n = 0 counts as no mass.
    """
    n = np.arange(length + 1)
    g = math.exp((delta * beta) ** 2)
    mass = n * g / (n * g + length - n)
    return float(binom.pmf(n, length, alpha / 2) @ mass)


def long_prompt_concentration(alpha: float, delta: float, beta: float) -> float:
    r"""The limit of ``initial_concentration`` for long prompts.

    .. math:: \frac{(\alpha'/2) g}{(\alpha'/2) g + 1 - \alpha'/2}, \qquad g = e^{(\delta\beta)^2}

    Returns:
        The expected attention mass on the query's pattern, in [0, 1].
    """
    g = math.exp((delta * beta) ** 2)
    return (alpha / 2) * g / ((alpha / 2) * g + 1 - alpha / 2)


def limit_concentration() -> float:
    r"""Concentration for small steps: :math:`1 - \eta^C \to 1`, all mass on the query's pattern."""
    return 1.0


def limit_angle() -> float:
    r"""Degrees between a neuron and the mean pattern, or :math:`\pm q`, for small steps."""
    return 0.0


def limit_risk() -> float:
    r"""Risk on unseen tasks, and out of domain if :math:`S_1 \ge 1`: :math:`O(\epsilon) \to 0`."""
    return 0.0


def bound_shift_threshold() -> float:
    r"""The coefficient sum :math:`S_1` from which risk out of domain stays :math:`O(\epsilon)`."""
    return 1.0


def rate_iterations(lr: float, patterns: int, alpha: float, beta: float) -> float:
    r"""Steps until the risk is small, up to a constant.

    .. math:: T = \Theta(\eta^{-1} M_1 \alpha^{-2/3} \beta^{-2/3} \sqrt{\log M_1})

    Returns:
        Optimiser steps, with one in place of the constant.
    """
    return patterns * math.sqrt(math.log(patterns)) / (lr * alpha ** (2 / 3) * beta ** (2 / 3))


def bound_training_length(alpha: float) -> float:
    r"""Prompt length that suffices to train, up to a constant: :math:`l \ge \Omega(1/\alpha)`."""
    return 1 / alpha


def bound_test_length(alpha: float) -> float:
    r"""Prompt length that suffices in testing: :math:`l' \ge 1/\alpha'`."""
    return 1 / alpha


def bound_pruning_small(neurons: int, accuracy: float = 0.0) -> float:
    r"""Cost of pruning every small neuron, up to a constant: :math:`O(\epsilon + M^{-1/2})`."""
    return accuracy + neurons**-0.5


def estimate_pruned_hinge(margin: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    r"""Hinge risk after pruning a fraction R of the large neurons, each of equal share (ours).

    .. math:: E_{prompt} \max(0,\, 1 - (1 - R)\, z F)

    ``margin`` holds z F over the last axis (prompts). The output is linear in the rows of W_O that
    are active, so the estimate is exact for equal shares; the paper's statement is the
    :math:`\Omega(R)` that it grows by.

    Returns:
        The mean over prompts, with one entry for each fraction in place of the last axis.
    """
    kept = 1 - np.asarray(fraction)
    return np.maximum(0, 1 - kept[:, None] * margin[..., None, :]).mean(-1)
