r"""A score that is linear in a kernel, :math:`f(x) = \sum_i a_i k(x_i, x) + c`."""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor


class Gram(NamedTuple):
    """The kernel at each pair of examples, and of each example with the query."""

    context: Float[Tensor, "b l l"]
    query: Float[Tensor, "b l"]


class Expansion(NamedTuple):
    """One weight a for each example, with its sign, and the intercept c."""

    weight: Float[Tensor, "b l"]
    intercept: Float[Tensor, " b"]

    def at(self, kernel: Float[Tensor, "b l"]) -> Float[Tensor, " b"]:
        """The score of an input from its kernel with each example."""
        return einsum(self.weight, kernel, "b l, b l -> b") + self.intercept


def linear(x: Float[Tensor, "b l d"], query: Float[Tensor, "b d"]) -> Gram:
    """Inner products, seen from the middle of the prompt's examples.

    A score with an intercept of its own is the same from anywhere, and rounds least from here.

    Returns:
        The linear kernel of each prompt.
    """
    middle = x.mean(1)
    x, query = x - middle[:, None], query - middle
    return Gram(
        einsum(x, x, "b l d, b other d -> b l other"), einsum(x, query, "b l d, b d -> b l")
    )


def gaussian(x: Float[Tensor, "b l d"], query: Float[Tensor, "b d"]) -> Gram:
    r""":math:`\exp(-\gamma |x - x'|^2)` with :math:`1 / \gamma = d \operatorname{Var}(x)`.

    The variance is that of all numbers in the prompt's examples; where they are all the same,
    gamma is 1.

    Returns:
        The Gaussian kernel of each prompt.
    """
    variance = (x - x.mean((1, 2), keepdim=True)).square().mean((1, 2))
    gamma = 1 / torch.where(variance > 0, x.shape[-1] * variance, 1.0)[:, None]
    return Gram(
        distance(linear(x, query).context).mul_(-gamma[..., None]).exp_(),
        torch.exp(-gamma * (x - query[:, None]).square().sum(-1)),
    )


def distance(kernel: Float[Tensor, "b l l"]) -> Float[Tensor, "b l l"]:
    """Squared distances between examples, where the kernel is an inner product."""
    own = kernel.diagonal(dim1=1, dim2=2)
    return (own[:, :, None] + own[:, None]).sub_(kernel, alpha=2).clamp_(min=0)


def rounding(kernel: Float[Tensor, "b l l"], weight: Float[Tensor, "b l"]) -> Float[Tensor, " b"]:
    """What a score of these weights may be wrong by in floating point."""
    largest = kernel.diagonal(dim1=1, dim2=2).amax(-1)
    return torch.finfo(weight.dtype).eps * largest * weight.abs().sum(-1)


def refuse_unsolved(learner: str, unsolved: int, prompts: int, steps: int) -> None:
    """Says so if the optimum was not reached everywhere.

    Raises:
        ArithmeticError: if some prompts are unsolved.
    """
    if unsolved:
        raise ArithmeticError(
            f"{learner}: {unsolved} of {prompts} prompts have not converged after {steps} steps;"
            " features of order one help"
        )
