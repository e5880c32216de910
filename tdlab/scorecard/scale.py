"""Where numbers stand on the line of a finding."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


class Scale:
    """Numbers from 0 to ``width``, finite ones away from its ends by ``edge``."""

    def __init__(self, numbers: Sequence[float], width: float, edge: float) -> None:
        finite = [float(number) for number in numbers if math.isfinite(number)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        margin = 0.2 * (high - low) or 0.2 * abs(low) or 1.0
        self._low, self._span = low - margin, high - low + 2 * margin
        self._width, self._edge = width, edge

    def __call__(self, number: float) -> float:
        """Where that number stands; infinite ones at the ends."""
        if math.isinf(number):
            return 0.0 if number < 0 else float(self._width)
        inside = (number - self._low) / self._span * (self._width - 2 * self._edge)
        return float(np.clip(self._edge + inside, 0, self._width))


def of_finding(row: Any, width: float, edge: float) -> Scale:
    """The scale on which a finding's interval and the values that would agree have room."""
    return Scale([row["from"], row["to"], row.low, row.high, row.value], width, edge)
