"""When something happens during training: the first time that a curve comes down to a level."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Real


def first_below(
    steps: Sequence[int] | Int[np.ndarray, " step"],
    values: Real[np.ndarray, "*a step"],
    level: float,
) -> Real[np.ndarray, "*a"]:
    """The first training step at which each curve is at or below ``level``.

    Between two snapshots the curve is taken to be straight.

    Returns:
        Steps, with fractions; NaN for a curve that never comes down so far, or has no steps.

    Raises:
        ValueError: unless the steps increase, one for each entry of the last axis.
    """
    at = np.asarray(steps, dtype=np.float64)
    if values.shape[-1:] != at.shape or (np.diff(at) <= 0).any():
        raise ValueError(
            f"values have shape {values.shape} and steps are {list(steps)}, but the last axis "
            "must be steps that increase"
        )
    leading = values.shape[:-1]
    flat = values.reshape(math.prod(leading), len(at)).astype(np.float64)
    return np.array([_first(at, curve, level) for curve in flat]).reshape(leading)


def _first(at: np.ndarray, curve: np.ndarray, level: float) -> float:
    below = np.flatnonzero(curve <= level)
    if not len(below):
        return np.nan
    end = below[0]
    if end == 0:
        return float(at[0])
    share = (curve[end - 1] - level) / (curve[end - 1] - curve[end])
    return float(at[end - 1] + share * (at[end] - at[end - 1]))
