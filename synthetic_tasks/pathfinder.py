"""Pathfinder: does a path join the two marked ends (after Linsley et al., NeurIPS 2018)?

An image holds two long paths, one of them cut, and short ones that mislead. The two ends of one
long path are marked; the target is +1 if that one is whole, and -1 if it is the cut one. A pixel of
a path is ``o``, a marked end ``X``::

    target +1                    target -1
    . o . . . . . o o o o .      . o . . . X . . . . . .
    . o . . . . o . . . . o      . o . . o . . . . . . .
    o . . . . . o . . . . o      o . . o . . . . . . . .
    o . . . . . o . . . . o      o . o . . . . . . . . .
    o . . . . . . o . . . o      . . o . o o . . . . . .
    o . . . . . . X . . . X      . o . . . . o o o o o .
    . o o . . . . . . . . .      . o . . . . . . . . . o
    . . . . . . . . . . . .      o . . . . . . . . . . o
    . . . . . . o . . . . .      . . . . . . . . . . . o
    . . . . . . o . . . . .      . . . . . . . . . . . o
    o . . . . . o . . . . .      . . o o X . . . . . . o
    . o o o . . . . . . . .      . . . . . . . . . o o .
"""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int16, Shaped, UInt8
from torch import Tensor

from synthetic_tasks.pool import PARTS, Pooled, require_part
from synthetic_tasks.task import Batch
from synthetic_tasks.threefry import fold, uniforms
from synthetic_tasks.value import require_count, value
from synthetic_tasks.walks import place, require_room

# What lies at a pixel. What the cut removed looks empty.
EMPTY, WHOLE, CUT, SHORT, REMOVED = range(5)

_PIECE = 2  # pixels that a cut leaves at the least on either side


class World(NamedTuple):
    """The pool of one member; the target alone says which of the two long paths is marked."""

    pixels: UInt8[Tensor, "*m b n q"]  # EMPTY .. REMOVED, of the pixels q of each token
    ends: Int16[Tensor, "*m b 2 2"]  # of the whole path and of the cut one, as places in (n q)
    target: Float[Tensor, "*m b"]


class Latent(NamedTuple):
    """What the generator knows of each prompt and no model may see."""

    pixels: UInt8[Tensor, "*b n q"]  # EMPTY, WHOLE, CUT, SHORT or REMOVED
    marked: Bool[Tensor, "*b n"]  # whether a token holds a pixel of the marked path,
    other: Bool[Tensor, "*b n"]  # of the other long one,
    removed: Bool[Tensor, "*b n"]  # one that the cut removed,
    end: Bool[Tensor, "*b n"]  # or a marked end


@value
class Pathfinder(Pooled):
    """A pool of images; a token holds the pixels of a patch, and then the marks of the same pixels.

    Pixels and marks are channels of their own, 0 or 1: a mark is not a brighter piece of path, and
    one half of a token is the image without its marks.

    A long path is a walk of ``path`` pixels that goes straight on or turns by 45 degrees. No two
    pixels touch, by a side or by a corner, unless they follow each other on one path. The cut
    leaves on either side a quarter of what remains, or more.

    Which long path is marked is drawn independently of the image. So under both labels the image
    without its marks has the same distribution, and so have the marks alone: neither the number of
    its pixels nor the distance of the ends tells the label, and marks moved to the other long path
    turn it. Both together do: there is less path around the marks of a cut one, and that is why
    short paths, a wide gap and no distractors are easy.

    Raises:
        ValueError: for numbers out of range and paths that cannot fit; for paths that might, but
            are not made to by trying, ``world`` raises it.
    """

    revision: ClassVar[int] = 1

    side: int = 16  # pixels
    size: int = 4096  # images of the pool, with as many of either label
    path: int = 16  # pixels of a long path, before the cut
    gap: int = 3  # pixels that the cut removes
    distractors: int = 2
    short: int = 5  # pixels of a distractor
    patch: int = 1  # a token is a square of patch x patch pixels
    part: str = "training"

    def __post_init__(self) -> None:
        least = {"side": 8, "size": 1, "gap": 1, "distractors": 0, "short": 2, "patch": 1}
        for name, count in least.items():
            require_count(name, getattr(self, name), count)
        require_count(f"path, with a gap of {self.gap},", self.path, self.gap + 2 * _PIECE)
        require_part(self.part)
        if self.side % self.patch:
            raise ValueError(f"patch is {self.patch}, but must divide the side, {self.side}")
        require_room(self.side, self._lengths)

    @property
    def token_width(self) -> int:
        """Whether a path runs through each pixel of a patch, and whether it is marked."""
        return 2 * self.patch**2

    @property
    def columns(self) -> int:
        """How many patches an image has, row after row."""
        return (self.side // self.patch) ** 2

    @property
    def _lengths(self) -> tuple[int, ...]:
        return (self.path, self.path, *[self.short] * self.distractors)

    def world(self, key: Int[Tensor, " 2"]) -> World:
        """The images of the member with this key; either part has a key of its own."""
        key = fold(key, PARTS.index(self.part))
        walks = place(fold(key, 0), self.size, self.side, self._lengths)
        walks = _order(self.side, self.patch)[walks]
        # The first walk had all the room and the second had not: a coin says which one is cut.
        coin, where = uniforms(fold(key, 1), (self.size, 2), torch.float64).unbind(-1)
        long = walks[:, : 2 * self.path].unflatten(1, (2, self.path))
        long = torch.where((coin < 0.5)[:, None, None], long, long.flip(1))

        pixels = torch.full((self.size, self.side**2), EMPTY, dtype=torch.uint8)
        pixels.scatter_(1, walks[:, 2 * self.path :], SHORT)
        pixels.scatter_(1, long[:, 0], WHOLE)
        pixels.scatter_(1, long[:, 1], torch.where(self._removed(where), REMOVED, CUT).byte())
        order = uniforms(fold(key, 2), (self.size,), torch.float64).argsort(stable=True)
        return World(
            pixels=pixels.unflatten(1, (self.columns, -1)),
            ends=long[:, :, [0, -1]].to(torch.int16),
            target=1 - 2 * (order % 2).double(),
        )

    def rows(self, world: World, row: Int[Tensor, " b"]) -> Batch:
        """Those images."""
        pixels, target = world.pixels[row], world.target[row]
        positive = (target > 0)[:, None]
        whole, cut = (pixels == WHOLE).any(-1), (pixels == CUT).any(-1)
        ends = torch.where(positive, world.ends[row, 0], world.ends[row, 1])
        places = torch.arange(self.side**2, device=row.device)
        mark = (places == ends[:, :, None]).any(1).unflatten(1, pixels.shape[1:])
        seen = (pixels != EMPTY) & (pixels != REMOVED)
        return Batch(
            prompt=torch.cat([seen, mark], dim=-1).to(target.dtype),
            mask=torch.ones_like(whole),
            target=target,
            latent=Latent(
                pixels=pixels,
                marked=torch.where(positive, whole, cut),
                other=torch.where(positive, cut, whole),
                removed=(pixels == REMOVED).any(-1),
                end=mark.any(-1),
            ),
        )

    def image(self, tokens: Shaped[Tensor, "b n q"]) -> Shaped[Tensor, "b y x"]:
        """What tokens say of each of their pixels, as images."""
        return tokens.flatten(1)[:, _order(self.side, self.patch)].unflatten(1, (self.side, -1))

    def drawing(self, prompt: Float[Tensor, "b n d"]) -> list[str]:
        """Prompts for a person to look at."""
        seen, mark = (self.image(half) for half in prompt.chunk(2, dim=-1))
        return [
            "\n".join(" ".join(".oX"[int(pixel)] for pixel in line) for line in image)
            for image in (seen + mark).tolist()
        ]

    def _removed(self, u: Float[Tensor, " b"]) -> Bool[Tensor, "b l"]:
        """Which pixels of the path that is cut are removed."""
        left = self.path - self.gap
        piece = max(_PIECE, left // 4)
        start = piece + (u[:, None] * (left - 2 * piece + 1)).long()
        k = torch.arange(self.path)
        return (start <= k) & (k < start + self.gap)


def _order(side: int, patch: int) -> Int[Tensor, " p"]:
    """Where each pixel, row after row, stands in (n q)."""
    shape = (side // patch, side // patch, patch, patch)
    return torch.arange(side**2).reshape(shape).transpose(1, 2).flatten()
