"""Odd or even: scikit-learn's 1,797 handwritten digits, 8 x 8 grey pixels read row after row."""

from functools import cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from synthetic_tasks.pool import PARTS, Pooled, require_part
from synthetic_tasks.task import Batch
from synthetic_tasks.threefry import key_of, uniforms
from synthetic_tasks.value import value

_SIZES = dict(zip(PARTS, (1347, 450), strict=True))
_DARKEST = 16
_FOURTH = 4  # one image in so many is for the test
_SPLIT = 8  # the seed of the split, which no member changes


class World(NamedTuple):
    """One part of the data set, the same for every member."""

    grey: UInt8[Tensor, "*m b n"]  # 0 .. 16
    target: Float[Tensor, "*m b"]
    digit: UInt8[Tensor, "*m b"]


class Latent(NamedTuple):
    """What is known of each prompt and no model may see."""

    digit: UInt8[Tensor, "*b"]


@value
class Digits(Pooled):
    """One pixel a token, grey from 0 to 1; the target is +1 for an odd digit, -1 for an even one.

    A fourth of the images of each digit is the test part. The split and the order are the same for
    every member: seeds differ in what they draw, and in their models.

    Raises:
        ValueError: for another part.
        ModuleNotFoundError: when the images are wanted and scikit-learn is not installed.
    """

    revision: ClassVar[int] = 1
    token_width: ClassVar[int] = 1
    columns: ClassVar[int] = 64

    part: str = "training"

    def __post_init__(self) -> None:
        require_part(self.part)

    @property
    def size(self) -> int:
        """1,347 images to train on, 450 for the test."""
        return _SIZES[self.part]

    def world(self, _: Int[Tensor, " 2"]) -> World:
        """The images of this part, whatever the key."""
        grey, digit = _images()
        row = _rows(self.part)
        return World(grey[row], 2 * (digit[row] % 2).double() - 1, digit[row])

    def rows(self, world: World, row: Int[Tensor, " b"]) -> Batch:
        """Those images."""
        target, grey = world.target[row], world.grey[row]
        return Batch(
            prompt=grey[..., None].to(target.dtype) / _DARKEST,
            mask=torch.ones_like(grey, dtype=torch.bool),
            target=target,
            latent=Latent(world.digit[row]),
        )


@cache
def _images() -> tuple[UInt8[Tensor, "b n"], UInt8[Tensor, " b"]]:
    """All images in scikit-learn's order, and their digits."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the digits come with scikit-learn: pip install 'tdlab[digits]'"
        ) from error
    grey, digit = load_digits(return_X_y=True)
    return torch.from_numpy(grey).byte(), torch.from_numpy(digit).byte()


def _rows(part: str) -> Int[Tensor, " b"]:
    """Which images belong to a part, in an order drawn once for all members."""
    _, digit = _images()
    shuffled, order = uniforms(key_of(_SPLIT), (2, len(digit)), torch.float64).argsort(stable=True)
    test = torch.zeros(len(digit), dtype=torch.bool)
    test[shuffled[digit[shuffled].argsort(stable=True)[::_FOURTH]]] = True
    return order[test[order] if part == "test" else ~test[order]]
