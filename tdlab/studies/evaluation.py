"""Stacked members on prompts of their own: drawn in blocks, run, reduced to numbers a prompt."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import Batch, Task
from synthetic_tasks.threefry import fold, uniforms
from tdlab.ensemble import keys, worlds
from tdlab.losses import hinge, zero_one
from tdlab.models import Params, over_members
from tdlab.probes import concentration, entropy
from tdlab.run import Run

# Prompts of one member held at once: a constant, lest they depend on who else is evaluated.
_BLOCK = 256

Measure = Callable[[Any, Batch], dict[str, Tensor]]  # (trace, batch) to numbers (member, prompt)


def prompts(
    tasks: Sequence[Task],
    runs: Sequence[Run],
    size: int,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Blocks of ``size`` prompts for each run, from its own world and evaluation stream.

    ``tasks`` holds one task a run: the task it was trained on, or one shifted from it. The prompts
    depend neither on the model nor on who else is evaluated, and the first prompts of many are
    those of few.

    Yields:
        Batches with leading axes member, prompt in every leaf.
    """
    dtype, seeds = runs[0].torch_dtype, [run.seed for run in runs]
    world, axes = worlds(tasks, seeds, dtype)
    world = type(world)(*(leaf.to(device) for leaf in world))
    key = keys(seeds, "evaluation").to(device)
    for number, first in enumerate(range(0, size, _BLOCK)):
        shape = (min(_BLOCK, size - first), tasks[0].uniforms)
        yield vmap(tasks[0].draw, (axes, 0))(world, uniforms(fold(key, number), shape, dtype))


def evaluate(
    runs: Sequence[Run],
    variants: Sequence[Params],
    tasks: Sequence[Task],
    size: int,
    measure: Measure,
) -> dict[str, Tensor]:
    """What ``measure`` says of every variant of the members' parameters, on the same prompts.

    Each variant has leading axis member.

    Returns:
        Each number by its name, with axes (variant, member, prompt).
    """
    device = next(iter(variants[0].values())).device
    blocks: list[list[dict[str, Tensor]]] = []
    for batch in prompts(tasks, runs, size, device):
        traces = (over_members(runs[0].model, params, batch) for params in variants)
        blocks.append([measure(trace, batch) for trace in traces])
    names = blocks[0][0]
    return {
        name: torch.cat(
            [torch.stack([variant[name] for variant in block]) for block in blocks], dim=-1
        ).cpu()
        for name in names
    }


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
