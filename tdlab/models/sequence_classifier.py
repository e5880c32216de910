r"""A few transformer layers and mean pooling: the classifier of the attention-kernel study.

.. math:: x \leftarrow x + \sum_h S_h\, \bar x\, W_{V,h} W_{O,h}, \qquad
          x \leftarrow x + \mathrm{relu}(\bar x\, W_1 + b_1)\, W_2 + b_2

:math:`\bar x` is x with each token brought to mean 0 and variance 1, :math:`S_h` the chosen kernel
of :math:`\bar x W_{Q,h}` and :math:`\bar x W_{K,h}`. The output is linear in the mean of the last
:math:`\bar x` over all tokens.
"""

import math
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from synthetic_tasks.threefry import fold, normals
from synthetic_tasks.value import require_choice, require_count, value
from tdlab.models.clamp import clamped, of_each_layer
from tdlab.models.kernels import KERNELS, concatenated, of_heads
from tdlab.models.model import Params
from tdlab.models.normalization import standardized


class Trace(NamedTuple):
    """What one prompt makes of the parameters."""

    output: Float[Tensor, ""]
    attention: Float[Tensor, "layer h n n"]  # rows are queries
    pooled: Float[Tensor, " d"]


@value
class SequenceClassifier:
    r"""The shape and the initialization.

    Every matrix starts at :math:`N(0, 1 / \text{fan-in})`, positions at N(0, 1), biases at 0; what
    a layer writes is divided by the root of twice the number of layers (ours). Layers are stacked:
    each leaf but the ends has a leading layer axis.

    Raises:
        ValueError: for numbers out of range, an unknown kernel, and heads that do not divide the
            width.
    """

    revision: ClassVar[int] = 1
    moving: ClassVar[tuple[str, ...]] = (
        *("E", "P", "W_Q", "W_K", "W_V", "W_O", "W_1", "b_1", "W_2", "b_2", "a", "b"),
    )

    kernel: str = "softmax"
    token_width: int = 1
    columns: int = 64  # n
    width: int = 64  # D, of the embedding
    hidden: int = 128
    heads: int = 2
    layers: int = 2

    def __post_init__(self) -> None:
        require_choice("kernel", self.kernel, tuple(KERNELS))
        for name in ("token_width", "columns", "width", "hidden", "heads", "layers"):
            require_count(name, getattr(self, name), 1)
        if self.width % self.heads:
            raise ValueError(
                f"width is {self.width}, but must be a multiple of heads, {self.heads}"
            )

    def init(self, key: Int[Tensor, " 2"]) -> Params:
        """The parameters that the member with this key starts from, float64."""
        head = self.width // self.heads
        into_head = (self.layers, self.heads, self.width, head)
        quiet = 1 / math.sqrt(2 * self.layers)
        shapes = {  # shape, and the variance of an entry
            "E": ((self.token_width, self.width), 1 / self.token_width),
            "P": ((self.columns, self.width), 1.0),
            "W_Q": (into_head, 1 / self.width),
            "W_K": (into_head, 1 / self.width),
            "W_V": (into_head, 1 / self.width),
            "W_O": ((self.layers, self.heads, head, self.width), quiet**2 / self.width),
            "W_1": ((self.layers, self.width, self.hidden), 1 / self.width),
            "W_2": ((self.layers, self.hidden, self.width), quiet**2 / self.hidden),
            "a": ((self.width,), 1 / self.width),
        }
        drawn = {
            name: math.sqrt(variance) * normals(fold(key, place), shape, torch.float64)
            for place, (name, (shape, variance)) in enumerate(shapes.items())
        }
        zeros = {
            name: torch.zeros(shape, dtype=torch.float64)
            for name, shape in {
                "b_1": (self.layers, self.hidden),
                "b_2": (self.layers, self.width),
                "b": (),
            }.items()
        }
        return drawn | zeros

    def forward(
        self,
        params: Params,
        prompt: Float[Tensor, "n d"],
        mask: Bool[Tensor, " n"],
        clamp: Float[Tensor, "layer h n n"] | None = None,
    ) -> Trace:
        """The trace of one prompt; ``ValueError`` unless it has as many tokens as the model."""
        if len(prompt) != self.columns:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens, but the model takes {self.columns}"
            )
        x = prompt @ params["E"] + params["P"]
        attention = []
        for layer, held in enumerate(of_each_layer(clamp, self.layers)):
            its = {name: leaf[layer] for name, leaf in params.items() if name not in _ENDS}
            seen = standardized(x)
            heads = {name: of_heads(seen, its[name]) for name in ("W_Q", "W_K", "W_V")}
            own = KERNELS[self.kernel](heads["W_Q"], heads["W_K"], mask)
            attention.append(clamped(own, held))
            x = x + concatenated(attention[-1] @ heads["W_V"], its["W_O"])
            seen = standardized(x)
            x = x + (seen @ its["W_1"] + its["b_1"]).relu() @ its["W_2"] + its["b_2"]
        weight = mask.to(x.dtype) / mask.sum()
        pooled = weight @ standardized(x)
        return Trace(pooled @ params["a"] + params["b"], torch.stack(attention), pooled)


_ENDS = ("E", "P", "a", "b")
