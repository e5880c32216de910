"""Prompts that the classical learners are held against, most of them drawn without our samplers."""

from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_tasks import InContextClassification, sample


class Prompts(NamedTuple):
    x: Tensor
    label: Tensor
    query: Tensor


class InContext(NamedTuple):
    x: Tensor
    pattern: Tensor
    label: Tensor
    query: Tensor
    query_pattern: Tensor
    target: Tensor


def draw(size, length, alpha, kappa, seed, patterns=6, irrelevant=14) -> InContext:
    """Prompts of the in-context setting, drawn here once more so that no sampler is trusted."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    order = uniform(size, patterns).argsort(-1)  # the first two are the task
    weight = torch.full((patterns,), (1 - alpha) / (patterns - 2), dtype=torch.float64)
    weight[:2] = alpha / 2
    place = torch.multinomial(weight.expand(size, -1), length, True, generator=generator)
    coin = torch.where(uniform(size, length) < 0.5, 1.0, -1.0).double()
    label = torch.where(place == 0, 1.0, torch.where(place == 1, -1.0, coin))
    target = torch.where(uniform(size) < 0.5, 1.0, -1.0).double()
    pattern = order.gather(1, place)
    query_pattern = order.gather(1, (target < 0).long()[:, None])[:, 0]

    def noisy(pattern):
        eye = 3 * torch.eye(patterns + irrelevant, dtype=torch.float64)
        other = patterns + (uniform(*pattern.shape) * irrelevant).long()
        return eye[pattern] + kappa * (2 * uniform(*pattern.shape, 1) - 1) * eye[other]

    return InContext(noisy(pattern), pattern, label, noisy(query_pattern), query_pattern, target)


def overlapping(size, length, seed) -> Prompts:
    """Uneven classes that overlap in the plane, where a learner's penalty and width decide."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.ones(size, length, dtype=torch.float64)
    label[:, : length // 3] = -1
    x = label[..., None] + 2 * torch.randn(size, length, 2, generator=generator).double()
    return Prompts(x, label, 2 * torch.randn(size, 2, generator=generator).double())


def normal(size, length, width, apart, seed, copies=0) -> Prompts:
    """Normal inputs whose classes lie so far apart; the first ones come again with other labels."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.randn(size, length, generator=generator) < 0.3).double() * 2 - 1
    label[:, 0], label[:, 1] = 1, -1
    x = torch.randn(size, length, width, generator=generator, dtype=torch.float64)
    x[..., 0] += apart * label / 2
    if copies:
        x[:, -copies:], label[:, -copies:] = x[:, :copies], -label[:, :copies]
        x[:, -copies - 1] = x[:, 0]  # and one with its own
        label[:, -copies - 1] = label[:, 0]
    return _on_a_grid(x, label, torch.randn(size, width, generator=generator).double())


def of_the_task(length, size=40, on_a_grid=True) -> Prompts:
    """Those prompts with both classes that the study would fit."""
    task = InContextClassification(alpha=0.6, kappa=1.0, length=length).on_unseen()
    batch = sample(task, seed=3, size=size)
    mixed = batch.latent.label.amin(-1) != batch.latent.label.amax(-1)
    x = batch.prompt[mixed, :, : task.width].double()
    prompts = Prompts(x[:, :-1], batch.latent.label[mixed].double(), x[:, -1])
    return _on_a_grid(*prompts) if on_a_grid else prompts


def _on_a_grid(x, label, query) -> Prompts:
    """LIBSVM keeps kernels in 32 bits; with steps of 1/16 inner products are exact there."""
    return Prompts((16 * x).round() / 16, label, (16 * query).round() / 16)


GENERIC = {
    "fewer examples than features": normal(30, 6, 9, apart=0, seed=1),
    "more examples than features": normal(30, 25, 3, apart=0.5, seed=2),
    "separable": normal(30, 12, 4, apart=8, seed=3),
    "copies": normal(30, 12, 5, apart=0, seed=4, copies=3),
    "two examples": normal(30, 2, 5, apart=0, seed=5),
    "5 of the task": of_the_task(5),
    "20 of the task": of_the_task(20),
    "40 of the task": of_the_task(40),
}
