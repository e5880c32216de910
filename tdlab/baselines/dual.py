r"""The dual problem of a support vector machine, and how far some weights are from its maximum.

.. math:: \max_a \sum_i y_i a_i - \tfrac12 \sum_{ij} a_i K_{ij} a_j, \qquad
          0 \le y_i a_i \le C, \quad \sum_i a_i = 0

The weights a carry their examples' signs, and C is 1. With the gradient :math:`g = y - K a`, they
are at the maximum where some c parts the examples that have room to rise from those that have room
to fall: :math:`g_i \le c` for the first, :math:`g_j \ge c` for the second. That c is the intercept.
"""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tdlab.baselines.expansion import rounding

C = 1.0  # scikit-learn's default
LIBSVM_TOLERANCE = 1e-3


class Dual(NamedTuple):
    """Prompts that are being solved: their places in the batch, the problem, and the weights."""

    prompt: Int[Tensor, " b"]
    kernel: Float[Tensor, "b l l"]  # K
    label: Float[Tensor, "b l"]  # y
    up: Float[Tensor, "b l"]  # how far each weight may rise
    down: Float[Tensor, "b l"]  # and fall
    gradient: Float[Tensor, "b l"]  # g

    @property
    def weight(self) -> Float[Tensor, "b l"]:
        """a, exactly on a bound where there is no room."""
        lower, upper = bounds(self.label)
        return torch.where(self.up < self.down, upper - self.up, lower + self.down)

    @property
    def free(self) -> Bool[Tensor, "b l"]:
        """Which weights are inside their bounds."""
        return (self.up > 0) & (self.down > 0)

    @property
    def sides(self) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The largest gradient with room to rise, and the smallest with room to fall."""
        rising = self.gradient.masked_fill(self.up <= 0, -torch.inf).amax(-1)
        falling = self.gradient.masked_fill(self.down <= 0, torch.inf).amin(-1)
        return rising, falling

    @property
    def intercept(self) -> Float[Tensor, " b"]:
        """As LIBSVM has it: any free example's gradient, or without one the middle of the gap."""
        rising, falling = self.sides  # which meet in the free ones
        return (rising + falling) / 2

    def solved(self, tolerance: float) -> Bool[Tensor, " b"]:
        """Whether the sides overlap by no more than the tolerance.

        It is a share of the largest gradient, or of 1. What rounding leaves uncertain comes on top,
        up to the tolerance that LIBSVM has by default.

        Returns:
            True for the prompts that are at the maximum.
        """
        rising, falling = self.sides
        allowed = tolerance * self.gradient.abs().amax(-1).clamp(min=1)
        uncertain = rounding(self.kernel, self.weight).clamp(max=LIBSVM_TOLERANCE)
        return rising - falling <= allowed + uncertain

    def only(self, chosen: Int[Tensor, " b"]) -> "Dual":
        """Some of the prompts."""
        return Dual(*(leaf.index_select(0, chosen) for leaf in self))

    def moved(self, up: Float[Tensor, "b l"], down: Float[Tensor, "b l"]) -> "Dual":
        """The same problems at other weights, given by their room."""
        there = self._replace(up=up, down=down)
        product = einsum(self.kernel, there.weight, "b l other, b other -> b l")
        return there._replace(gradient=self.label - product)


def dual(kernel: Float[Tensor, "b l l"], label: Float[Tensor, "b l"]) -> Dual:
    """The problems with all weights 0."""
    place = torch.arange(len(label), device=label.device)
    return Dual(place, kernel, label, C * label.clamp(min=0), C * (-label).clamp(min=0), label)


def bounds(label: Float[Tensor, "b l"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"]]:
    """The least and the largest weight of each example."""
    return C * label.clamp(max=0), C * label.clamp(min=0)
