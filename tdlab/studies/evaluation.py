"""Trained members on prompts of their own, reduced to numbers a prompt."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from synthetic_tasks import Batch, Task
from synthetic_tasks.task import World
from synthetic_tasks.value import program
from tdlab.losses import hinge, zero_one
from tdlab.machine import side_by_side
from tdlab.models import Params, over_prompts
from tdlab.probes import concentration, entropy
from tdlab.run import Run
from tdlab.studies.prompts import NUMBERS, Draw, block_of, blocks, numbers_of, worlds
from tdlab.train.basis import atoms, have_coordinates, written

_TOGETHER = 8  # (ours) variants whose numbers are still held in a processor's cache

# What is measured on the prompts of one member: numbers by their name, the prompt their last axis.
Measure = Callable[[Params, World, Batch], dict[str, Tensor]]


def evaluate(
    runs: Sequence[Run],
    variants: Sequence[Params],
    tasks: Sequence[Task],
    size: int,
    measure: Callable[[Any, Batch], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """What ``measure`` says of the traces of every variant of the members' parameters.

    Where task and model allow it, prompts are in coordinates, those that ``measure`` sees as well.

    Returns:
        As ``measured`` does.
    """
    model = runs[0].model

    def of_program(alike: list[Task]) -> dict[str, Tensor]:
        pair = have_coordinates(alike[0], model)

        def found(params: Params, world: World, batch: Batch) -> dict[str, Tensor]:
            if pair is not None:
                params = pair[1].of_coordinates(params, atoms(pair[0], world))
            return measure(over_prompts(model, params, batch), batch)

        if pair is None:
            return _in_parts(runs, variants, alike, size, found, alike[0].draw)
        task, _ = pair
        return _in_parts(
            runs,
            variants,
            alike,
            size,
            found,
            task.code,
            lambda world, coded: written(coded, atoms(task, world)),
        )

    return _by_program(tasks, of_program)


def measured(
    runs: Sequence[Run],
    variants: Sequence[Params],
    tasks: Sequence[Task],
    size: int,
    measure: Measure,
) -> dict[str, Tensor]:
    """What ``measure`` says of every variant of the members' parameters, on prompts of each task.

    Each variant has leading axis member. All variants see the same prompts, and chance is the same
    in all tasks. Members with long prompts are measured a few at a time, so that memory does not
    grow with their number.

    Returns:
        Each number by its name, with axes variant, task, member, and its own, of which prompt is
        the last.
    """

    def of_program(alike: list[Task]) -> dict[str, Tensor]:
        return _in_parts(runs, variants, alike, size, measure, alike[0].draw)

    return _by_program(tasks, of_program)


def _by_program(
    tasks: Sequence[Task], of_program: Callable[[list[Task]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Numbers of all tasks; those that differ in nothing but scalars are measured together."""
    groups: dict[Any, list[Task]] = {}
    for task in dict.fromkeys(tasks):
        groups.setdefault(program(task), []).append(task)
    found: dict[Task, dict[str, Tensor]] = {}
    for alike in groups.values():
        numbers = of_program(alike)
        for place, task in enumerate(alike):
            found[task] = {name: each[:, place] for name, each in numbers.items()}
    names = found[tasks[0]]
    return {name: torch.stack([found[task][name] for task in tasks], dim=1) for name in names}


class _Bundle(NamedTuple):
    """Variants that are measured together; leaves have axes variant, member, or all share one."""

    params: Params
    axes: dict[str, int | None]

    def of_members(self, its: slice, copies: int) -> "_Bundle":
        """The same of some members, so many copies one after the other."""
        params = {}
        for name, leaf in self.params.items():
            axis = self.axes[name]
            own = leaf[its] if axis is None else leaf[:, its]
            params[name] = torch.cat([own] * copies, dim=0 if axis is None else 1)
        return self._replace(params=params)

    def measured(self, measure: Measure, world: World, batch: Batch) -> dict[str, Tensor]:
        """Numbers with leading axis variant."""
        if any(axis == 0 for axis in self.axes.values()):
            return vmap(measure, (self.axes, None, None))(self.params, world, batch)
        return {name: each[None] for name, each in measure(self.params, world, batch).items()}


def _bundles(variants: Sequence[Params]) -> list[_Bundle]:
    """What comes of leaves that are the same tensor in all variants is computed once a bundle."""
    first = variants[0]
    shared = {name for name in first if all(each[name] is first[name] for each in variants)}
    # Variants that share nothing gain nothing together, but that each prompt is copied for them.
    if not shared or len(shared) == len(first):
        return [_Bundle(each, dict.fromkeys(first)) for each in variants]
    bundles = []
    for at in range(0, len(variants), _TOGETHER):
        its = variants[at : at + _TOGETHER]
        params = {
            name: leaf if name in shared else torch.stack([each[name] for each in its])
            for name, leaf in first.items()
        }
        bundles.append(_Bundle(params, {n: None if n in shared else 0 for n in first}))
    return bundles


def _in_parts(
    runs: Sequence[Run],
    variants: Sequence[Params],
    tasks: Sequence[Task],
    size: int,
    measure: Measure,
    draw: Draw,
    write: Callable[[World, Any], Batch] = lambda _, batch: batch,
) -> dict[str, Tensor]:
    """Numbers on tasks that share a program; ``write`` makes a batch of what ``draw`` says."""
    at_once = min(size, block_of(tasks)) * numbers_of(tasks)
    count = math.ceil(len(runs) * at_once / NUMBERS)
    if count > 1:  # as many parts as occupy every thread
        count = math.ceil(count / torch.get_num_threads()) * torch.get_num_threads()
    edges = [len(runs) * part // count for part in range(count + 1)]
    parts = [slice(first, end) for first, end in pairwise(edges) if end > first]
    bundles = _bundles(variants)

    def part(its: slice) -> dict[str, Tensor]:
        own = [bundle.of_members(its, len(tasks)) for bundle in bundles]
        made = worlds(tasks, runs[its], next(iter(own[0].params.values())).device)
        world, axes = made.flattened
        # Of tasks too: one map over both is faster than two.
        written_ = vmap(write, (axes, 0))
        of_members = vmap(measure, (0, axes, 0))
        found: list[dict[str, Tensor]] = []
        for drawn in blocks(tasks, runs[its], made, size, draw):
            batch = written_(world, tree_map(lambda leaf: leaf.flatten(0, 1), drawn))
            each = [bundle.measured(of_members, world, batch) for bundle in own]
            found.append({name: torch.cat([one[name] for one in each]) for name in each[0]})
        return {
            name: torch.cat([block[name] for block in found], dim=-1)[..., :size]
            .unflatten(1, (len(tasks), -1))
            .cpu()
            for name in found[0]
        }

    found = side_by_side(part, parts)
    return {name: torch.cat([each[name] for each in found], dim=2) for name in found[0]}


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
