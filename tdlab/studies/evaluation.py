"""Trained members on prompts of their own: drawn in blocks, run, reduced to numbers a prompt."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import Batch, Task
from synthetic_tasks.task import World
from synthetic_tasks.threefry import fold, uniforms
from tdlab.ensemble import Worlds, keys, worlds
from tdlab.losses import hinge, zero_one
from tdlab.machine import side_by_side
from tdlab.models import Params, over_prompts
from tdlab.probes import concentration, entropy
from tdlab.run import Run

# (ours) Numbers that are held at once, in prompts and uniforms: few enough for a processor's cache.
_NUMBERS = 1 << 21
_PROMPTS = 256  # (ours) of one member

# What is measured on the prompts of one member: numbers by their name, the prompt their last axis.
Measure = Callable[[Params, World, Batch], dict[str, Tensor]]


def prompts(
    tasks: Sequence[Task],
    runs: Sequence[Run],
    size: int,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Blocks of ``size`` prompts for each run, from its own world and evaluation stream.

    ``tasks`` holds one task a run: the task it was trained on, or one shifted from it. The prompts
    are those that ``synthetic_tasks.sample`` draws for the run's seed: they depend neither on the
    model, nor on who else is evaluated, nor on the size of a block. The last block is filled up to
    what the task needs for a balanced batch.

    Yields:
        Batches with leading axes member, prompt in every leaf.
    """
    yield from _blocks(tasks[0], runs, _worlds(tasks, runs, device), size)


def evaluate(
    runs: Sequence[Run],
    variants: Sequence[Params],
    tasks: Sequence[Task],
    size: int,
    measure: Callable[[Any, Batch], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """What ``measure`` says of the traces of every variant of the members' parameters.

    Returns:
        As ``measured`` does.
    """
    model = runs[0].model
    return measured(
        runs,
        variants,
        tasks,
        size,
        lambda params, _, batch: measure(over_prompts(model, params, batch), batch),
    )


def measured(
    runs: Sequence[Run],
    variants: Sequence[Params],
    tasks: Sequence[Task],
    size: int,
    measure: Measure,
) -> dict[str, Tensor]:
    """What ``measure`` says of every variant of the members' parameters, on the same prompts.

    Each variant has leading axis member; ``tasks`` holds one task a run. Members with long prompts
    are measured a few at a time, so that memory does not grow with their number.

    Returns:
        Each number by its name, with axes variant, member, and its own, of which prompt is the
        last.
    """
    at_once = min(size, _block(tasks[0])) * _size(tasks[0])
    count = math.ceil(len(runs) * at_once / _NUMBERS)
    if count > 1:  # as many parts as occupy every thread
        count = math.ceil(count / torch.get_num_threads()) * torch.get_num_threads()
    edges = [len(runs) * part // count for part in range(count + 1)]
    parts = [slice(first, end) for first, end in pairwise(edges) if end > first]

    def part(its: slice) -> dict[str, Tensor]:
        own = [{name: leaf[its] for name, leaf in params.items()} for params in variants]
        return _measured(runs[its], own, tasks[its], size, measure)

    found = side_by_side(part, parts)
    return {name: torch.cat([each[name] for each in found], dim=1) for name in found[0]}


def _measured(
    runs: Sequence[Run],
    variants: Sequence[Params],
    tasks: Sequence[Task],
    size: int,
    measure: Measure,
) -> dict[str, Tensor]:
    made = _worlds(tasks, runs, next(iter(variants[0].values())).device)
    of_members = vmap(measure, (0, made.axes, 0))
    blocks = [
        [of_members(params, made.world, batch) for params in variants]
        for batch in _blocks(tasks[0], runs, made, size)
    ]
    return {
        name: torch.cat(
            [torch.stack([variant[name] for variant in block]) for block in blocks], dim=-1
        )[..., :size].cpu()
        for name in blocks[0][0]
    }


def _worlds(tasks: Sequence[Task], runs: Sequence[Run], device: torch.device | str) -> Worlds:
    made = worlds(tasks, [run.seed for run in runs], runs[0].torch_dtype)
    return made._replace(world=type(made.world)(*(leaf.to(device) for leaf in made.world)))


def _blocks(task: Task, runs: Sequence[Run], made: Worlds, size: int) -> Iterator[Batch]:
    device = next(iter(made.world)).device
    key = fold(keys([run.seed for run in runs], "evaluation").to(device), 0)
    total = math.ceil(size / task.balance) * task.balance
    for first in range(0, total, _block(task)):
        shape = (min(_block(task), total - first), task.uniforms)
        block = uniforms(key, shape, runs[0].torch_dtype, skip=first * task.uniforms)
        yield vmap(task.draw, (made.axes, 0))(made.world, block)


def _block(task: Task) -> int:
    """How many prompts of one member are held at once."""
    return max(1, min(_PROMPTS, _NUMBERS // _size(task)) // task.balance) * task.balance


def _size(task: Task) -> int:
    """The numbers of one prompt."""
    return task.columns * task.token_width + task.uniforms


def risks(trace: Any, batch: Batch) -> dict[str, Tensor]:
    """Hinge and zero-one loss of each prompt."""
    return {
        "hinge": hinge(trace.output, batch.target),
        "zero_one": zero_one(trace.output, batch.target),
    }


def risks_and_attention(trace: Any, batch: Batch) -> dict[str, Tensor]:
    """Hinge and zero-one loss, concentration and attention entropy of each prompt."""
    return {
        **risks(trace, batch),
        "concentration": concentration(trace.attention, batch.latent.relevant),
        "entropy": entropy(trace.attention),
    }


def members(runs: Sequence[Run]) -> dict[str, Any]:
    """The member axis of a tidy table: run ids and seeds."""
    return {
        "member": range(len(runs)),
        "run": ("member", [run.id for run in runs]),
        "seed": ("member", [run.seed for run in runs]),
    }
