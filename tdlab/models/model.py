"""What a model is: a frozen shape with two pure methods, for one prompt.

Batches, members and snapshots come from ``torch.func.vmap``; no model knows of them.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import Batch

Params = dict[str, Tensor]
# A named tuple of the quantities that the theorems name; its ``output`` is what the loss sees.
Trace = Any


@runtime_checkable
class Model(Protocol):
    """A frozen shape."""

    revision: ClassVar[int]  # raised when the same fields come to mean something else

    @property
    def moving(self) -> tuple[str, ...]:
        """What training moves unless a run says otherwise."""

    @property
    def token_width(self) -> int:
        """How many entries a token of its prompts must have."""

    def init(self, key: Int[Tensor, " 2"]) -> Params:
        """The parameters that the member with this key starts from, float64."""

    def forward(
        self,
        params: Params,
        prompt: Float[Tensor, "n d"],
        mask: Bool[Tensor, " n"],
        clamp: Float[Tensor, "..."] | None = None,
    ) -> Trace:
        """The trace of one prompt.

        ``clamp`` is attention, shaped as in the trace, that takes the place of the model's own
        wherever it is not NaN.
        """


@runtime_checkable
class LinearInTokens(Model, Protocol):
    """A model that meets its tokens in products only, so that coordinates can stand for them."""

    def of_coordinates(self, params: Params, atoms: Float[Tensor, "*m a d"]) -> Params:
        """The parameters that make of coordinates what ``params`` make of the prompt.

        ``forward(of_coordinates(params, atoms), prompt, mask)`` equals
        ``forward(params, prompt @ atoms, mask)``. Linear in each of the parameters; those that meet
        no token are handed back as they are. With ``atoms.mT`` it is its own transpose. Parameters
        and atoms may have leading axes in common.
        """


def over_prompts(
    model: Model, params: Params, batch: Batch, clamp: Float[Tensor, "b ..."] | None = None
) -> Trace:
    """The traces of one member on a batch: every field gets a leading prompt axis.

    Returns:
        Traces; with ``clamp``, attention in each prompt is held at that where it is not NaN
        (``tdlab.probes.only`` makes a clamp of some heads).

    Raises:
        ValueError: for a clamp of another number of prompts.
    """
    if clamp is None:
        return vmap(model.forward, (None, 0, 0))(params, batch.prompt, batch.mask)
    if len(clamp) != len(batch.prompt):
        raise ValueError(
            f"the clamp holds the attention of {len(clamp)} prompts, but there are "
            f"{len(batch.prompt)}: expand it over its first axis"
        )
    return vmap(model.forward, (None, 0, 0, 0))(params, batch.prompt, batch.mask, clamp)


def over_members(model: Model, params: Params, batch: Batch) -> Trace:
    """The traces of stacked members, each on its own batch: leading axes member, prompt."""
    return vmap(lambda one, its: over_prompts(model, one, its))(params, batch)


def stacked(each: Iterable[Params]) -> Params:
    """The parameters of several members with a leading member axis."""
    members = list(each)
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}
