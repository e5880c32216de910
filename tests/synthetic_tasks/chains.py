"""Tasks of chains, what their prompts show, and bounds for what chance does."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from synthetic_tasks import Batch, NoisyReasoning, Reasoning, sample
from synthetic_tasks.cot import NOTHING, Latent
from synthetic_tasks.threefry import stream
from synthetic_tasks.transitions import common_shift

SEED = 12
TASK = Reasoning(width=12, patterns=4, steps=3, length=7, alpha=0.35)  # K M = 12
TRAINED = Reasoning(width=13, patterns=5, steps=3, length=2)
NOISY = NoisyReasoning(
    trained=TRAINED,
    transitions=common_shift(3, 4, correct=0.6),
    length=6,
    alpha=0.55,
    component=0.7,
    noise=0.3,
)
MANY = 6000  # prompts of a statistical test

draw = partial(sample, seed=SEED, dtype=torch.float64)


def world_of(task: Reasoning | NoisyReasoning, seed: int = SEED) -> Any:
    return task.world(stream(seed, "world"))


def within(measured: Tensor | float, chance: float, count: float, sigmas: float = 5) -> bool:
    """Whether a frequency among ``count`` coins of this chance is where it must be."""
    return abs(float(measured) - chance) <= sigmas * math.sqrt(chance * (1 - chance) / count)


def below(chi_square: float, freedom: float) -> bool:
    """Laurent and Massart (2000): P(X > f + 2 sqrt(f t) + 2 t) <= exp(-t), here 8e-7."""
    return chi_square < freedom + 2 * math.sqrt(14 * freedom) + 28


def examples(task: Reasoning | NoisyReasoning, batch: Batch) -> Tensor:
    """The chains y_0 .. y_K of the context: (b, l, K + 1)."""
    context = task.steps * task.length
    upper = batch.latent.pattern[:, :context].unflatten(1, (-1, task.steps))
    lower = batch.latent.output[:, :context].unflatten(1, (-1, task.steps))
    assert upper[..., 1:].equal(lower[..., :-1])
    return torch.cat([upper, lower[..., -1:]], dim=-1)


def bijections(task: Reasoning | NoisyReasoning, batch: Batch) -> Tensor:
    """What the context shows of f_1 .. f_K: (b, K, j), NOTHING where no example passes."""
    y = examples(task, batch)
    f = torch.full((len(y), task.steps, task.patterns), NOTHING)
    return f.scatter(2, y[..., :-1].movedim(1, 2), y[..., 1:].movedim(1, 2))


def assert_equal(one: Batch, other: Batch) -> None:
    flat = [[*batch[:3], *batch.latent] for batch in (one, other)]
    assert all(a.equal(b) for a, b in zip(*flat, strict=True))


def first(batch: Batch, count: int) -> Batch:
    latent = Latent(*(part[:count] for part in batch.latent))
    return Batch(batch.prompt[:count], batch.mask[:count], batch.target[:count], latent)


def refuses(task: Any, wrong: dict[str, Any], error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=f"^{line}$") as caught:
        replace(task, **wrong)
    assert caught.type is error
    assert "\n" not in str(caught.value)
