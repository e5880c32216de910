"""The floor: the dense products of a step and nothing else, as fast as torch multiplies them."""

import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor

from tdlab.machine import side_by_side

Product = tuple[int, int, int, int]  # so many of (rows, inner, columns)


def seconds(products: Sequence[Product], members: int, repeats: int = 20) -> float:
    """The time of these products for so many members, shared out over the threads.

    Returns:
        Seconds: the sum over the products of the median of some repeats.
    """
    chance = torch.Generator()
    parts = [part for part in _shares(members, torch.get_num_threads()) if part]
    total = 0.0
    for count, rows, inner, columns in products:
        pairs = [
            (
                torch.randn(part, rows, inner, generator=chance),
                torch.randn(part, inner, columns, generator=chance),
            )
            for part in parts
        ]
        times = side_by_side(lambda pair: _times(*pair, repeats), pairs)
        total += count * median(map(max, zip(*times, strict=True)))
    return total


def _times(left: Tensor, right: Tensor, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        torch.bmm(left, right)
        times.append(time.perf_counter() - started)
    return times[2:]


def _shares(members: int, threads: int) -> list[int]:
    return [members // threads + (place < members % threads) for place in range(threads)]
