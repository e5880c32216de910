"""Tensors in named tuples and dicts, and whether two lists of them are the same."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_tasks.threefry import normals, stream


class Pair(NamedTuple):
    """Two tensors."""

    matrix: Tensor
    scalar: Tensor


def numbers(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return normals(stream(seed, "probe"), shape, torch.float64).to(dtype)


def arguments(seed: int, size: int = 3) -> tuple[Pair, dict[str, Tensor]]:
    """A named tuple, and a dict with a list in it."""
    pair = Pair(numbers(seed, size, size), numbers(seed + 1, 1)[0])
    return pair, {"bias": numbers(seed + 2, size), "count": torch.tensor(seed)}


def assert_same(one: Sequence[Tensor], other: Sequence[Tensor]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.dtype == right.dtype
        assert left.equal(right)
