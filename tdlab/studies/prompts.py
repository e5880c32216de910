"""Prompts of trained members' own: drawn in blocks, for one task or for several at once."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from synthetic_tasks import Batch, Task
from synthetic_tasks.task import World, cast
from synthetic_tasks.threefry import fold, stream, uniforms
from tdlab.run import Run
from tdlab.train.ensemble import keys

# (ours) Numbers that are held at once, in prompts and uniforms: enough to make up for the calls of
# Python, in which threads take turns.
NUMBERS = 1 << 23
_PROMPTS = 256  # (ours) of one member

Draw = Callable[[World, Float[Tensor, "b u"]], Any]  # for one member: a batch, or its parts


class Worlds(NamedTuple):
    """Worlds by task and member: where all of them share a leaf, it has no axis for that."""

    world: World
    over_tasks: World  # the same kind of named tuple: 0 where a leaf has such an axis, else None
    over_members: World

    @property
    def flattened(self) -> tuple[World, World]:
        """The worlds with one axis for both, task after task, and which of their leaves have it."""
        both = tuple(self.world[0].shape[:2])  # the first leaf has both axes
        leaves: list[Tensor] = []
        axes: list[int | None] = []
        for leaf, over_tasks, over_members in zip(*self, strict=True):
            if over_tasks is None and over_members is None:
                leaves.append(leaf)
                axes.append(None)
                continue
            its = leaf if over_tasks == 0 else leaf[None]
            its = its if over_members == 0 else its[:, None]
            leaves.append(its.expand(*both, *its.shape[2:]).flatten(0, 1))
            axes.append(0)
        kind = type(self.world)
        return kind(*leaves), kind(*axes)


def prompts(
    task: Task, runs: Sequence[Run], size: int, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Blocks of ``size`` prompts of a task for each run, from its own world and evaluation stream.

    The prompts are those that ``synthetic_tasks.sample`` draws for the run's seed: they depend
    neither on the model, nor on who else is evaluated, nor on the size of a block. The last block
    is filled up to what the task needs for a balanced batch.

    Yields:
        Batches with leading axes member, prompt in every leaf.
    """
    for batch in blocks([task], runs, worlds([task], runs, device), size, task.draw):
        yield tree_map(lambda leaf: leaf[0], batch)


def blocks(
    tasks: Sequence[Task], runs: Sequence[Run], made: Worlds, size: int, draw: Draw
) -> Iterator[Any]:
    """As ``prompts`` of each of these tasks, which differ in nothing but numbers.

    What chance has for a member is the same in all tasks, and so is what depends on nothing else.

    Yields:
        What ``draw`` makes of it, with leading axes task, member, prompt in every leaf.
    """
    first = tasks[0]
    key = fold(keys([run.seed for run in runs], "evaluation").to(next(iter(made.world)).device), 0)
    total = math.ceil(size / first.balance) * first.balance
    of_members = vmap(draw, (made.over_members, 0))
    of_tasks = vmap(of_members, (made.over_tasks, None))
    for begin in range(0, total, block_of(tasks)):
        shape = (min(block_of(tasks), total - begin), first.uniforms)
        chance = uniforms(key, shape, runs[0].torch_dtype, skip=begin * first.uniforms)
        yield of_tasks(made.world, chance)


def block_of(tasks: Sequence[Task]) -> int:
    """How many prompts of one member are held at once."""
    balance = tasks[0].balance
    return max(1, min(_PROMPTS, NUMBERS // numbers_of(tasks)) // balance) * balance


def numbers_of(tasks: Sequence[Task]) -> int:
    """The numbers of one prompt in each of the tasks."""
    first = tasks[0]
    return len(tasks) * first.columns * first.token_width + first.uniforms


def worlds(tasks: Sequence[Task], runs: Sequence[Run], device: torch.device | str) -> Worlds:
    """The worlds of these tasks for the runs' seeds."""
    rows = [[task.world(stream(run.seed, "world")) for run in runs] for task in tasks]
    each = [[cast(world, runs[0].torch_dtype) for world in row] for row in rows]
    kind = type(each[0][0])
    leaves = []
    for place in range(len(each[0][0])):
        leaf = torch.stack([torch.stack([world[place] for world in row]) for row in each])
        # One leaf keeps both axes, or nothing would be left to map over.
        leaves.append(_without_copies(leaf.to(device), keep=place == 0))
    return Worlds(*(kind(*part) for part in zip(*leaves, strict=True)))


def _without_copies(
    leaf: Shaped[Tensor, "task member ..."], keep: bool
) -> tuple[Tensor, int | None, int | None]:
    over_tasks = keep or not bool((leaf == leaf[:1]).all())
    over_members = keep or not bool((leaf == leaf[:, :1]).all())
    leaf = leaf if over_members else leaf[:, 0]
    return leaf if over_tasks else leaf[0], 0 if over_tasks else None, 0 if over_members else None
