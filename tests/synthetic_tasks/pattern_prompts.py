"""Tasks on patterns, what is read back off their prompts, and a bound for what chance does."""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from synthetic_tasks import Batch, InContextClassification, OutOfDomain, sample
from synthetic_tasks.icl import World
from synthetic_tasks.threefry import stream

SEED = 12
TASK = InContextClassification(
    relevant=5, irrelevant=7, label_width=4, length=9, alpha=0.7, kappa=0.4, beta=1.7
)
TRAINED = replace(TASK, relevant=7, irrelevant=8)
PAIRS = ((4, 1), (0, 6), (2, 3))
SHIFTED = OutOfDomain(trained=TRAINED, coefficient_sum=0.8, pairing=PAIRS)
MANY = 4000  # prompts of a statistical test

draw = partial(sample, seed=SEED, dtype=torch.float64)
Described = InContextClassification | OutOfDomain


def world_of(task: Described, seed: int = SEED) -> World:
    return task.world(stream(seed, "world"))


def noise(task: Described, batch: Batch) -> Tensor:
    """What each input holds of every irrelevant pattern, as multiples of it: (b, n, k)."""
    world, width = world_of(task), world_of(task).relevant.shape[-1]
    rest = batch.prompt[..., :width] - world.relevant[batch.latent.pattern]
    return torch.einsum("bnd, kd -> bnk", rest, world.irrelevant) / world.irrelevant[0].norm() ** 2


def within(measured: Tensor | float, chance: float, count: float, sigmas: float = 5) -> bool:
    """Whether a frequency among ``count`` coins of this chance is where it must be."""
    return abs(float(measured) - chance) < sigmas * math.sqrt(chance * (1 - chance) / count)
