r"""Chain of thought by one attention head: rates, conditions and limits.

Li, Lu, Chen, Cui, Wang, "Training nonlinear transformers for chain-of-thought inference: a
theoretical generalization analysis" (ICLR 2025, arXiv 2410.02167).

``bound_`` marks what the paper proves, up to constants it does not name; ``estimate_`` an argument
of ours; the rest is exact under the stated condition. What we know of the paper comes from its
authors' public talks, posters and the reviews.
"""

import math


def initial_mass(alpha: float, steps: int, length: int) -> tuple[float, float]:
    r"""Attention mass on the query's step before training, by pattern: other, same.

    Attention is uniform at W = 0. A prompt that asks for step k = 1..K has l K context columns and
    k - 1 of its own, and l of them have the query's step:

    .. math:: \frac1K \sum_{k=1}^{K} \frac{l}{l K + k - 1}\, (1 - \alpha,\ \alpha)

    Returns:
        The two expectations over training prompts.
    """
    same_step = sum(length / (length * steps + k) for k in range(steps)) / steps
    return (1 - alpha) * same_step, alpha * same_step


def limit_mass() -> float:
    """Attention mass on the query's step and pattern once trained: 1, at every step of a chain."""
    return 1.0


def limit_error() -> float:
    """Error with enough context: 0, for a chain of thought, and in context under Condition 1."""
    return 0.0


def rate_iterations(lr: float, alpha: float, steps: int, patterns: int, loss: float) -> float:
    r"""Steps until the loss is at most epsilon, up to a constant.

    .. math:: T = \Theta\big( \eta^{-1} \alpha^{-2} K^3
              + \eta^{-1} M K (\alpha^{-1} + \epsilon^{-1}) \big)

    Returns:
        Optimiser steps, with one in place of both constants.
    """
    return (steps**3 / alpha**2 + patterns * steps * (1 / alpha + 1 / loss)) / lr


def rate_exponents() -> dict[str, tuple[float, float]]:
    """The exponents of each number in the terms of ``rate_iterations``.

    Returns:
        The lowest and the highest one, by what is varied (alpha, steps K, patterns M, loss). The
        exponent of the sum lies between them, whatever the constants of its terms.
    """
    return {"alpha": (-2.0, 0.0), "steps": (1.0, 3.0), "patterns": (0.0, 1.0), "loss": (-1.0, 0.0)}


def bound_training_length(alpha: float) -> float:
    r"""Context examples that suffice to train, up to a constant: :math:`l \ge \Omega(1/\alpha)`."""
    return 1 / alpha


def bound_test_length(alpha: float, tau: float, rho: float) -> float:
    r"""Context examples that suffice, up to a constant: :math:`(\alpha' \tau \rho)^{-2}`.

    Returns:
        The bound for a chain of thought; with tau_o and rho_o it is that for in-context inference,
        which needs Condition 1 as well.
    """
    return (alpha * tau * rho) ** -2


def bound_vote_error(length: float, alpha: float, tau: float, rho: float, patterns: int) -> float:
    r"""Error of a vote among the columns of the query's step and pattern (ours).

    Attention that is all on these columns answers with their most frequent output. For noise in one
    step, the lead of the correct output over a wrong one is a sum of l independent terms in [-1, 1]
    of mean at least :math:`\alpha' \tau \rho`, so that Hoeffding's inequality and a union over the
    M' - 1 wrong outputs give

    .. math:: (M' - 1)\, e^{-l (\alpha' \tau \rho)^2 / 2},

    which is where the length in ``bound_test_length`` comes from.

    Returns:
        A bound on the probability of a wrong step, at most 1.
    """
    return min(1.0, (patterns - 1) * math.exp(-length * (alpha * tau * rho) ** 2 / 2))


def bound_noise() -> float:
    r"""The norm of the noise below which the nearest pattern is the right one: :math:`\sqrt2/2`."""
    return math.sqrt(0.5)
