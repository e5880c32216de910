"""What can be seen of one trained run at each of its snapshots, as tidy tables."""

from functools import cached_property
from itertools import product
from math import ceil
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from synthetic_tasks import Batch, sample
from synthetic_tasks.threefry import stream
from tdlab.models import over_prompts
from tdlab.probes import concentration
from tdlab.results import tidy
from tdlab.studies import icl
from tdlab.trajectory import Trained

SAMPLE = 64  # (ours) prompts over which a curve is a mean
_NUMBERS = 1 << 24  # (ours) of attention that are held at once


class Seen:
    """One run on prompts of its own evaluation stream; nothing is measured before it is asked for.

    Attention is that of the last token, which asks: a row for each head, on what lies before it.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained

    @property
    def steps(self) -> tuple[int, ...]:
        """Those of the snapshots."""
        return self.trained.steps

    @cached_property
    def batch(self) -> Batch:
        """Its prompts; as many as ``SAMPLE``, and more where a balanced batch needs them."""
        run = self.trained.run
        size = ceil(SAMPLE / run.task.balance) * run.task.balance
        return sample(run.task, seed=run.seed, size=size, dtype=run.torch_dtype)

    @cached_property
    def loss(self) -> pd.DataFrame:
        """The training loss at every step that was taken."""
        run, loss = self.trained.run, self.trained.loss[: self.trained.ending.losses]
        return self._tidy("loss", loss, "step", step=range(len(loss)), kind=run.loss)

    @cached_property
    def concentration(self) -> pd.DataFrame | None:
        """Attention mass on the relevant columns, mean over prompts, by ``head``.

        None of a task that does not say which columns are relevant.
        """
        if self._relevant is None:
            return None
        mass = concentration(self._attention, self._relevant[:, None])
        axes = {"step": self.steps, "head": self._heads}
        return self._tidy("concentration", mass.mean(1), "step head", **axes)

    @cached_property
    def neurons(self) -> pd.DataFrame | None:
        """Angle and norm of every neuron, as ``tdlab.studies.icl.neurons`` has them.

        None of a model that has no such neurons, a task without such directions, and a run that
        diverged.
        """
        run = self.trained.run
        world = run.task.world(stream(run.seed, "world"))
        there = {*self.trained.params, *getattr(world, "_fields", ())}
        if not (self.trained.finished and {"W_O", "W_V", "a", "relevant", "label"} <= there):
            return None
        return icl.neurons([self.trained])

    def attention(self, prompt: int) -> pd.DataFrame:
        """Where the last token of a prompt looks, by ``head`` and ``column`` (from 1).

        Returns:
            A tidy table at every snapshot; ``relevant`` says of each column whether the task calls
            it that, and is missing where the task does not say.
        """
        looks = self._attention[:, prompt]
        columns = range(1, looks.shape[-1] + 1)
        axes = {"step": self.steps, "head": self._heads, "column": columns}
        table = self._tidy("attention", looks, "step head column", **axes)
        if self._relevant is None:
            return table.assign(relevant=None)
        return table.assign(relevant=self._relevant[prompt].expand_as(looks).flatten().numpy())

    @cached_property
    def _attention(self) -> Float[Tensor, "step b head n"]:
        looks = self._looks
        return looks.unsqueeze(2) if looks.ndim == 3 else looks.flatten(2, -2)

    @cached_property
    def _looks(self) -> Float[Tensor, "step b *head n"]:
        with torch.inference_mode():
            return torch.stack([self._at(step) for step in self.steps])

    def _at(self, step: int) -> Float[Tensor, "b *head n"]:
        params, size = self.trained.at(step), len(self.batch.target)
        block = max(1, min(size, _NUMBERS // self.batch.prompt.shape[-2] ** 2))
        rows = []
        for begin in range(0, size, block):
            part = _part(self.batch, slice(begin, begin + block))
            attention = over_prompts(self.trained.run.model, params, part).attention
            rows.append(attention if attention.ndim == 2 else attention[..., -1, :])
        return torch.cat(rows)

    @cached_property
    def _heads(self) -> list[str]:
        """Names of the rows of attention, the first layer's heads first."""
        match tuple(self._looks.shape[2:-1]):
            case (layers, heads):
                both = product(range(1, layers + 1), range(1, heads + 1))
                return [f"layer {layer}, head {head}" for layer, head in both]
            case (heads,):
                return [f"head {head}" for head in range(1, heads + 1)]
            case _:
                return ["head 1"]

    @cached_property
    def _relevant(self) -> Bool[Tensor, "b n"] | None:
        """Which columns the task calls relevant; a token that looks at itself is not."""
        relevant = getattr(self.batch.latent, "relevant", None)
        if relevant is None:
            return None
        return functional.pad(relevant, (0, self._looks.shape[-1] - relevant.shape[-1]))

    def _tidy(self, quantity: str, values: Tensor, axes: str, **places: object) -> pd.DataFrame:
        run = self.trained.run
        own: dict[str, Any] = {"run": run.id, "seed": run.seed, **places}
        return tidy(quantity, values, axes, source="measured", **own)


def _part(batch: Batch, its: slice) -> Batch:
    """Some of the prompts; no model sees their latent facts."""
    return Batch(batch.prompt[its], batch.mask[its], batch.target[its], ())
