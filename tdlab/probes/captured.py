"""What a model showed of itself on prompts: attention and activations, as plain tensors."""

import re
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Captured(NamedTuple):
    """What a model showed, by the names of its submodules, in the order in which they were called.

    A submodule that was called again has a number after its name. Of a Hugging Face model the names
    are those of its output's fields, and so is the order.

    A probe is given some prompts at a time: ``prompts`` says which, so that what is said of each,
    such as its length, is ``lengths[seen.prompts]``.
    """

    attention: dict[str, Float[Tensor, "*b h n m"]]  # rows are queries, and sum to one
    activations: dict[str, Tensor]
    output: Any  # of the model
    prompts: slice = slice(None)

    def __repr__(self) -> str:
        shapes = {
            kind: {name: tuple(each.shape) for name, each in of.items()}
            for kind, of in (("attention", self.attention), ("activations", self.activations))
        }
        return f"Captured({shapes}, output: {type(self.output).__name__})"

    @property
    def layers(self) -> Float[Tensor, "layer *b h n m"]:
        """Attention of all layers.

        ``ValueError`` where there is none, and where layers have different shapes or are of several
        kinds: names that differ in more than numbers between dots, such as those of an encoder and
        a decoder.
        """
        if not self.attention:
            raise ValueError("there is no attention: it was not asked for")
        kinds = {_LAYER.sub("*", name.split(" (")[0]): None for name in self.attention}
        if len(kinds) > 1:
            raise ValueError(
                f"there is attention of several kinds, {', '.join(kinds)}, which one axis would "
                "mix; take them from `attention` by their names"
            )
        shapes = {name: tuple(each.shape) for name, each in self.attention.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"layers differ in the shape of their attention: {shapes}")
        return torch.stack(list(self.attention.values()))

    def from_query(self, query: int | Int[Tensor, " b"] = -1) -> Float[Tensor, "layer h b m"]:
        """Where one token looks: the last, that place, or one place for each prompt.

        Of prompts that are padded on the right the last token is padding; their own last ones stand
        at ``lengths - 1``, in a probe at ``lengths[seen.prompts] - 1``.

        Returns:
            Attention with the axes that ``concentration`` and ``entropy`` take, prompts and columns
            last.

        Raises:
            ValueError: where there is not one place a prompt, or no axis of prompts or heads.
        """
        layers = self.layers
        if isinstance(query, int):
            return layers[..., query, :].movedim(1, -2)
        if layers.ndim != 5:
            raise ValueError(
                f"attention has shape {tuple(layers.shape)}, but must be (layer, b, h, n, m) where "
                "each prompt has a place of its own"
            )
        if query.shape != layers.shape[1:2]:
            raise ValueError(
                f"places have shape {tuple(query.shape)}, but there are {layers.shape[1]} prompts; "
                "in a probe, which is given some at a time, take those at [seen.prompts]"
            )
        return layers[:, torch.arange(len(query), device=query.device), :, query].movedim(0, 2)


_LAYER = re.compile(r"(?<![^.])\d+(?![^.])")  # a number between dots; that of "attn2" is a name
