"""Small runs, of which many are asked for at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from synthetic_tasks import FullBatch, InContextClassification, TokenRegression
from tdlab.models import KernelLayer, OneLayer, Params
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.schedule import Every
from tdlab.store import Memory
from tdlab.sweep import trained
from tdlab.trajectory import Trained

TASK = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
MODEL = OneLayer(width=9, label_width=3, neurons=6, xi=0.3)
RUN = Run(task=TASK, model=MODEL, batch=9, steps=10, snapshots=Every(stride=5))
WILD = replace(RUN, seed=5, optimiser=SGD(lr=1e6))
LAYER_MODEL = KernelLayer(width=7, heads=3, head_width=2, value_width=3, outputs=2)
LAYER = Run(
    task=FullBatch(of=TokenRegression(samples=3, tokens=5, width=7, outputs=2)),
    model=LAYER_MODEL,
    loss="token_squared",
    batch=3,
    dtype="float64",
)


def anew(runs: Sequence[Run], earlier: Sequence[Trained] = (), **settings: Any) -> list[Trained]:
    """These runs trained now, whatever was trained before, but for those ``earlier``."""
    return trained(runs, store=Memory(earlier), **settings)


def different(dtype: str, loss: str) -> list[Run]:
    """Five members that differ in seed, lr, alpha, beta, kappa, delta and xi."""
    base = replace(RUN, dtype=dtype, loss=loss)
    return [
        base,
        replace(base, seed=1, optimiser=SGD(lr=0.73)),
        replace(base, task=replace(TASK, alpha=0.31, kappa=0.05)),
        replace(base, seed=9, task=replace(TASK, beta=1.7), model=replace(MODEL, delta=0.11)),
        replace(base, seed=2**33, model=replace(MODEL, xi=0.07), optimiser=SGD(lr=0.2)),
    ]


def assert_same(one: Trained, other: Trained) -> None:
    assert (one.run, one.steps, one.ending) == (other.run, other.steps, other.ending)
    torch.testing.assert_close(one.loss, other.loss, rtol=0, atol=0, equal_nan=True)
    assert set(one.params) == set(other.params)
    assert all(one.params[name].equal(other.params[name]) for name in one.params)


def enough(place: int, at: int):
    def observe(step: int, params: Params) -> dict[str, Tensor]:
        stop = torch.zeros(len(params["a"]), dtype=torch.bool)
        stop[place] = step >= at
        return {"stop": stop, "norm": params["W_O"].norm(dim=(1, 2))}

    return observe
