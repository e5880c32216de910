"""Planted rows: a number of its own in every place, times the factors of five seeds."""

from collections.abc import Sequence
from itertools import chain
from typing import Any
from zlib import crc32

import pandas as pd

FACTORS = (0.4, 1.0, 2.2, 0.6, 1.4)  # of the seeds: median 1, and the mean is another
MEAN, BAND = 1.12, (0.48, 1.88)  # 10 and 90 % lie 0.4 of the way between two seeds


def level(*place: object) -> float:
    """A number between 0.05 and 0.45 that no other place has."""
    return 0.05 + 0.4 * crc32(repr(place).encode()) / 2**32


def measured(quantity: str, its_level: float, **where: Any) -> list[dict[str, Any]]:
    row = {"quantity": quantity, "source": "measured", "step": 40, **where}
    return [{**row, "seed": k, "value": its_level * factor} for k, factor in enumerate(FACTORS)]


def theory(quantity: str, value: float, **where: Any) -> list[dict[str, Any]]:
    return [{"quantity": quantity, "source": "theory", "step": 40, **where, "value": value}]


def table(*rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(chain(*rows))).assign(run="r")
