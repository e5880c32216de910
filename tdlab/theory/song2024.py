r"""Softmax against Gaussian attention: when zero loss is in reach, how fast, what is in the way.

After Song, Han, Zhang, Ding, Hong, "Unraveling the gradient descent dynamics of transformers"
(NeurIPS 2024, arXiv 2411.07538), whose full text we could not read: what the paper claims comes
from its public abstract, the equations below are derived by us. ``estimate_`` marks what holds near
the start only; the rest is exact.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq


def capacity(heads: int, width: int, samples: int, tokens: int) -> float:
    r""":math:`H D / N n`, the unknowns of a layer with frozen scores for each number it must reach.

    With frozen scores every target is reached where :math:`B = [S_1 X, \dots, S_H X]`, stacked over
    samples, has rank N n, which takes at least 1.

    Returns:
        The ratio.
    """
    return heads * width / (samples * tokens)


def losses_with_frozen_scores(
    jacobian: Float[np.ndarray, "r p"], residual: Float[np.ndarray, " r"], lr: float, steps: int
) -> Float[np.ndarray, " step"]:
    r"""The loss of gradient descent while only ``W_V`` moves: a convex quadratic, mode by mode.

    .. math:: L_t = \tfrac12 \sum_i (1 - \eta \sigma_i^2)^{2 t}\, c_i^2
              + \tfrac12 \lVert r_\perp \rVert^2

    with :math:`\sigma_i` the singular values of the Jacobian of the outputs, :math:`c_i` the
    residual at the start along its left singular vectors, :math:`r_\perp` what they do not reach.

    Returns:
        :math:`L_0, \dots, L_{steps-1}`, of the loss that sums over samples.
    """
    left, sigma, _ = np.linalg.svd(jacobian, full_matrices=False)
    along = left.T @ residual
    out_of_reach = residual - left @ along  # itself, as a difference of squares would only round
    shrink = (1 - lr * sigma**2) ** 2
    modes = np.exp(np.outer(np.arange(steps), np.log(np.maximum(shrink, 1e-300)))) @ along**2
    return 0.5 * (modes + out_of_reach @ out_of_reach)


def rate_with_frozen_scores(smallest: float, lr: float) -> float:
    r"""How fast the log of the loss falls at last while only ``W_V`` moves, for each step.

    .. math:: -\log (1 - \eta \sigma_{\min}^2)^2

    Returns:
        The rate, with :math:`\sigma_{\min}` the ``smallest`` singular value of the Jacobian.
    """
    x = lr * smallest**2
    return -math.log1p(-x * (2 - x))


def estimate_rate(smallest: float, lr: float) -> float:
    r""":math:`2 \eta \sigma_{\min}^2`: no slower near the start, whatever moves besides W_V.

    The matrix that drives the outputs is a sum of one positive semidefinite part for each trained
    matrix; that of ``W_V`` alone is at least :math:`\sigma_{\min}^2`, of the ``smallest`` singular
    value of the Jacobian in it. It stays only while the scores and ``W_O`` do.

    Returns:
        The rate at which the log of the loss falls, for each step.
    """
    return 2 * lr * smallest**2


def softmax_output(
    q: Float[np.ndarray, "*q"], keys: Sequence[float], values: Sequence[float]
) -> Float[np.ndarray, "*q"]:
    r""":math:`o(q) = \sum_j v_j e^{q k_j} / \sum_j e^{q k_j}`."""
    return _softmax(q, keys) @ np.asarray(values, dtype=np.float64)


def softmax_slope(
    q: Float[np.ndarray, "*q"], keys: Sequence[float], values: Sequence[float]
) -> Float[np.ndarray, "*q"]:
    r""":math:`o'(q)`, the covariance of keys and values under the attention weights."""
    weights, k, v = _softmax(q, keys), np.asarray(keys, float), np.asarray(values, float)
    return weights @ (k * v) - (weights @ k) * (weights @ v)


def gaussian_output(
    q: Float[np.ndarray, "*q"], keys: Sequence[float], values: Sequence[float]
) -> Float[np.ndarray, "*q"]:
    r""":math:`o(q) = \sum_j v_j e^{-(q - k_j)^2 / 2}`."""
    distance = np.asarray(q, float)[..., None] - np.asarray(keys, float)
    return np.exp(-0.5 * distance**2) @ np.asarray(values, float)


def gaussian_slope(
    q: Float[np.ndarray, "*q"], keys: Sequence[float], values: Sequence[float]
) -> Float[np.ndarray, "*q"]:
    r""":math:`o'(q) = -\sum_j v_j (q - k_j) e^{-(q - k_j)^2 / 2}`."""
    distance = np.asarray(q, float)[..., None] - np.asarray(keys, float)
    return -(distance * np.exp(-0.5 * distance**2)) @ np.asarray(values, float)


def normalized_gaussian_output(
    q: Float[np.ndarray, "*q"], keys: Sequence[float], values: Sequence[float]
) -> Float[np.ndarray, "*q"]:
    r""":math:`o(q) = \sum_j v_j e^{q k_j - k_j^2 / 2} / \sum_j e^{q k_j - k_j^2 / 2}`."""
    scores = np.asarray(q, float)[..., None] * np.asarray(keys, float)
    return _normalized(scores - 0.5 * np.square(keys)) @ np.asarray(values, float)


def barrier(
    keys: Sequence[float], values: Sequence[float], low: float = 0.0, high: float = 10.0
) -> float:
    r"""Where the softmax output turns between ``low`` and ``high``; a bad basin lies beyond.

    For keys (-1, 0, 1) and values (1, 0, 1/2) it is :math:`\log(1 + \sqrt 3)`.

    Returns:
        The root of the slope.

    Raises:
        ValueError: if the slope has the same sign at both ends.
    """
    return float(brentq(lambda q: softmax_slope(np.array([q]), keys, values)[0], low, high))


def plateau_loss(keys: Sequence[float], values: Sequence[float], wanted: float) -> float:
    r"""The squared loss of softmax as :math:`q \to \infty`: all attention on the largest key."""
    return 0.5 * (values[int(np.argmax(keys))] - wanted) ** 2


def solution(
    keys: Sequence[float], values: Sequence[float], wanted: float, low: float, high: float
) -> float:
    """The query between ``low`` and ``high`` at which the Gaussian output is what is wanted.

    Returns:
        The root of the error.

    Raises:
        ValueError: if the error has the same sign at both ends.
    """
    return float(
        brentq(lambda q: gaussian_output(np.array([q]), keys, values)[0] - wanted, low, high)
    )


def _softmax(q: Float[np.ndarray, "*q"], keys: Sequence[float]) -> Float[np.ndarray, "*q k"]:
    return _normalized(np.asarray(q, float)[..., None] * np.asarray(keys, float))


def _normalized(scores: Float[np.ndarray, "*q k"]) -> Float[np.ndarray, "*q k"]:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
