"""Activations as values: what an MLP makes of what its neurons read.

Some have coefficients: parameters of the model, one set a layer, trained with the others.
"""

from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from synthetic_tasks.value import require_choice, value


@runtime_checkable
class Activation(Protocol):
    """A function of the pre-activations of one layer, and of its coefficients."""

    revision: ClassVar[int]  # raised when the same fields come to mean something else
    start: ClassVar[tuple[float, ...]]  # the coefficients before training

    def __call__(
        self, x: Float[Tensor, "*n m"], coefficients: Float[Tensor, " a"], /
    ) -> Float[Tensor, "*n m"]:
        """The activations."""


@value
class ReLU:
    r""":math:`\max(0, x)`."""

    revision: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = ()

    def __call__(self, x: Float[Tensor, "*n m"], _: Float[Tensor, " a"]) -> Float[Tensor, "*n m"]:
        """The activations."""
        return x.relu()


@value
class SquaredReLU:
    r""":math:`\max(0, x)^2` (So et al., "Primer", NeurIPS 2021)."""

    revision: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = ()

    def __call__(self, x: Float[Tensor, "*n m"], _: Float[Tensor, " a"]) -> Float[Tensor, "*n m"]:
        """The activations."""
        return x.relu().square()


@value
class GELU:
    r""":math:`x\,\Phi(x)` (Hendrycks and Gimpel, 2016), by default the form with tanh of GPT-2.

    Raises:
        ValueError: for an unknown approximation.
    """

    revision: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = ()

    approximate: str = "tanh"  # or "none", as in torch.nn.functional.gelu

    def __post_init__(self) -> None:
        require_choice("approximate", self.approximate, ("tanh", "none"))

    def __call__(self, x: Float[Tensor, "*n m"], _: Float[Tensor, " a"]) -> Float[Tensor, "*n m"]:
        """The activations."""
        return torch.nn.functional.gelu(x, approximate=self.approximate)


@value
class SiLU:
    r""":math:`x / (1 + e^{-x})`."""

    revision: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = ()

    def __call__(self, x: Float[Tensor, "*n m"], _: Float[Tensor, " a"]) -> Float[Tensor, "*n m"]:
        """The activations."""
        return torch.nn.functional.silu(x)


@value
class PolyReLU:
    r""":math:`\sum_{i=0}^{3} a_i \max(0, x)^i`, started at :math:`a_0 = 0` and thirds.

    (Zhuo et al., "Polynomial composition activations", ICLR 2025.)
    """

    revision: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = (0.0, 1 / 3, 1 / 3, 1 / 3)

    def __call__(
        self, x: Float[Tensor, "*n m"], coefficients: Float[Tensor, " a"]
    ) -> Float[Tensor, "*n m"]:
        """The activations."""
        return _polynomial(coefficients, *_powers(x.relu()))


@value
class PolyNorm:
    r""":math:`a_0 + \sum_{i=1}^{3} a_i\, x^i / \mathrm{rms}(x^i)`, started as :class:`PolyReLU`.

    The root mean square is over the neurons of one token, and the mean in it is raised by 1e-6, as
    in the authors' own (Zhuo et al., as there).
    """

    revision: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = (0.0, 1 / 3, 1 / 3, 1 / 3)

    def __call__(
        self, x: Float[Tensor, "*n m"], coefficients: Float[Tensor, " a"]
    ) -> Float[Tensor, "*n m"]:
        """The activations."""
        return _polynomial(coefficients, *map(_normalized, _powers(x)))


_EPS = 1e-6  # added to the mean square of a power, as in the authors' own


def _powers(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Products, not ``pow``, whose rounding follows the place of a number in memory."""
    square = x * x
    return x, square, square * x


def _polynomial(a: Float[Tensor, " a"], *powers: Tensor) -> Tensor:
    return a[0] + sum(a[i] * power for i, power in enumerate(powers, start=1))


def _normalized(x: Float[Tensor, "*n m"]) -> Float[Tensor, "*n m"]:
    return x * (x.square().mean(-1, keepdim=True) + _EPS).rsqrt()
