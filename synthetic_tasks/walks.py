"""Random walks on a grid of pixels that curve gently and touch neither each other nor themselves.

A walk goes straight on or turns by 45 degrees. Two pixels touch, by a side or by a corner, only if
they follow each other on one walk; so a pixel taken out parts its walk in two.
"""

import torch
from jaxtyping import Bool, Int, Int16
from torch import Tensor

from synthetic_tasks.threefry import fold, uniforms

_COMPASS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
_TURNS = (-1, 0, 1)  # of 45 degrees
_WEIGHTS = (1.0, 2.0, 1.0)  # of the turns, where all are possible; tuned by eye

_RIM = 2  # pixels around a grid where nothing may lie: a walker looks two pixels ahead
_BLOCKED = 1000  # more pixels than a 3 x 3 square can count
_TRIES = 8  # of one walk among the earlier ones, before its grid is begun afresh
_ROUNDS = 64  # of a grid, before the lengths are refused
_HOPELESS = 64  # grids; where so many remain and a round completes none, it is over


def require_room(side: int, lengths: tuple[int, ...]) -> None:
    """Raises one line for walks that no grid of ``side`` holds; not all others fit."""
    # Among the 2 x 2 windows of a grid and its border, n pixels in a row meet at least 2 n + 2, and
    # none meets two walks.
    taken, windows = sum(2 * length + 2 for length in lengths), (side + 1) ** 2
    if taken > windows:
        raise ValueError(
            f"side is {side}, but paths of {_listed(lengths)} pixels need more room: "
            f"{taken} windows of 2 x 2 pixels, and there are {windows}"
        )


def place(
    key: Int[Tensor, " 2"], size: int, side: int, lengths: tuple[int, ...]
) -> Int[Tensor, "b l"]:
    """Walks of these lengths on each of ``size`` grids; the first grids of many are those of few.

    Returns:
        The places y ``side`` + x, walk after walk. They are laid one after the other, so that two
        walks of one length differ in distribution.

    Raises:
        ValueError: where many trials do not make them fit.
    """
    left = torch.arange(size)
    keys = fold(key.expand(size, 2), left)
    walks = torch.zeros(size, sum(lengths), dtype=torch.int64)
    for number in range(_ROUNDS):
        laid, whole = _lay(fold(keys[left], number), side, lengths)
        walks[left[whole]] = laid[whole]
        left = left[~whole]
        if len(left) == 0:
            y, x = walks // (side + 2 * _RIM) - _RIM, walks % (side + 2 * _RIM) - _RIM
            return y * side + x
        if len(whole) >= _HOPELESS and not whole.any():
            break
    raise ValueError(
        f"side is {side}, but paths of {_listed(lengths)} pixels found no room in {len(left)} of "
        f"{size} images; take fewer or shorter ones"
    )


def _listed(lengths: tuple[int, ...]) -> str:
    return " + ".join(map(str, lengths))


def _lay(
    keys: Int[Tensor, "b 2"], side: int, lengths: tuple[int, ...]
) -> tuple[Int[Tensor, "b l"], Bool[Tensor, " b"]]:
    """Walks laid one after the other, and on which grids all of them found a place."""
    near = torch.full((side + 2 * _RIM, side + 2 * _RIM), _BLOCKED, dtype=torch.int16)
    near[_RIM:-_RIM, _RIM:-_RIM] = 0
    near = near.flatten().repeat(len(keys), 1)
    walks = [torch.zeros(len(keys), length, dtype=torch.int64) for length in lengths]
    whole = torch.ones(len(keys), dtype=torch.bool)
    for number, walk in enumerate(walks):
        left = whole.nonzero()[:, 0]
        for attempt in range(_TRIES):
            crowd = near[left]
            steps, arrived = _walk(
                fold(keys[left], number * _TRIES + attempt), crowd, walk.shape[1]
            )
            near[left[arrived]], walk[left[arrived]] = crowd[arrived], steps[arrived]
            left = left[~arrived]
            if len(left) == 0:
                break
        whole[left] = False
    return torch.cat(walks, dim=1), whole


def _walk(
    keys: Int[Tensor, "b 2"], near: Int16[Tensor, "b p"], length: int
) -> tuple[Int[Tensor, "b l"], Bool[Tensor, " b"]]:
    """One walk on each grid, from a random free pixel.

    ``near``, which is updated, counts the pixels of walks in the 3 x 3 square around each pixel. A
    step leads to where that is only the pixel it comes from, and on the way to where another step
    is possible after it.

    Returns:
        The walks, and which of them came to their end.
    """
    width = round(near.shape[1] ** 0.5)
    step = torch.tensor([y * width + x for y, x in _COMPASS])
    square = torch.cat([step, torch.tensor([0])])
    turns, weights = torch.tensor(_TURNS), torch.tensor(_WEIGHTS, dtype=torch.float64)
    one = torch.ones(len(keys), len(square), dtype=near.dtype)
    u = uniforms(keys, (length + 1,), torch.float64)

    free = (near == 0).cumsum(-1)
    arrived = free[:, -1] > 0
    nth = (u[:, 0] * free[:, -1]).long()
    at = torch.where(arrived, (free <= nth[:, None]).sum(-1), width + 1)  # a place that is there
    heading = (8 * u[:, 1]).long()
    near.scatter_add_(1, at[:, None] + square, one)
    walk = [at]
    for k in range(1, length):
        turned = (heading[:, None] + turns) % 8
        there = at[:, None] + step[turned]
        possible = near.gather(1, there) == 1
        if k < length - 1:
            beyond = there[:, :, None] + step[(turned[:, :, None] + turns) % 8]
            open_ = near.gather(1, beyond.flatten(1)) == 0
            possible &= open_.unflatten(1, beyond.shape[1:]).any(-1)
        upto = (weights * possible).cumsum(-1)
        turn = (upto <= u[:, k + 1, None] * upto[:, -1:]).sum(-1).clamp(max=2)[:, None]
        moves = possible.any(-1)
        arrived &= moves
        heading = turned.gather(1, turn)[:, 0]
        at = torch.where(moves, there.gather(1, turn)[:, 0], at)
        near.scatter_add_(1, at[:, None] + square, one)
        walk.append(at)
    return torch.stack(walk, dim=1), arrived
