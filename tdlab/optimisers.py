"""Optimisers that act coordinate by coordinate, so that a member's step does not see the others.

Each is a frozen value; its scalars reach ``update`` as tensors, because members may differ in them.
Whether a step follows a mini-batch or the full batch is the task's business, not the optimiser's.
"""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks.value import Varying, require_between, require_count, value

Leaves = dict[str, Tensor]
State = dict[str, Leaves]
# The loss of the batch whose gradient is given, at other parameters.
Risk = Callable[[Leaves], Tensor]


@runtime_checkable
class Optimiser(Protocol):
    """A rule that turns gradients into steps."""

    revision: ClassVar[int]  # raised when the same fields come to mean something else
    isometric: ClassVar[bool]  # whether its steps are the same in every orthonormal basis

    def init(self, params: Leaves) -> State:
        """The state before the first step."""

    def update(
        self, scalars: Mapping[str, Tensor], params: Leaves, grads: Leaves, state: State, risk: Risk
    ) -> tuple[Leaves, State]:
        """Parameters and state after one step; ``scalars`` are the optimiser's varying fields."""


@value
class SGD:
    r"""Gradient descent on the batch: :math:`\theta \leftarrow \theta - \eta g`."""

    revision: ClassVar[int] = 1
    isometric: ClassVar[bool] = True

    lr: Varying[float] = 0.1  # eta (ours)

    def __post_init__(self) -> None:
        require_between("lr", self.lr, 0, math.inf)

    def init(self, params: Leaves) -> State:
        """Nothing to remember."""
        return {}

    def update(
        self, scalars: Mapping[str, Tensor], params: Leaves, grads: Leaves, state: State, risk: Risk
    ) -> tuple[Leaves, State]:
        """One step against the gradient."""
        return _stepped(params, grads, scalars["lr"]), state


@value
class Backtracking:
    r"""Gradient descent with a step size found by backtracking (Armijo 1966).

    Step sizes twice, once, half, ... the last one are tried, all of them in one tensor program, and
    the largest is taken that brings the loss down by enough:

    .. math:: L(\theta - \eta g) \le L(\theta) - c\, \eta \lVert g \rVert^2

    Where none does, the parameters stay, and the next step goes on from the smallest.
    """

    revision: ClassVar[int] = 1
    isometric: ClassVar[bool] = True

    lr: Varying[float] = 1.0  # eta before the first step (ours)
    decrease: Varying[float] = 0.5  # c: at 1/2 a step stays below 1 / curvature (ours)
    tries: int = 4  # (ours)

    def __post_init__(self) -> None:
        require_between("lr", self.lr, 0, math.inf, above=True)
        require_between("decrease", self.decrease, 0, 1, above=True, below=True)
        require_count("tries", self.tries, 3)  # of two, none is smaller than the last one

    def init(self, params: Leaves) -> State:
        """The last step size, as a multiple of ``lr``."""
        return {"size": {"size": next(iter(params.values())).new_ones(())}}

    def update(
        self, scalars: Mapping[str, Tensor], params: Leaves, grads: Leaves, state: State, risk: Risk
    ) -> tuple[Leaves, State]:
        """The largest of the steps that suffice."""
        size = state["size"]["size"]
        ladder = 2.0 ** (1 - torch.arange(self.tries, dtype=size.dtype, device=size.device))
        tried = torch.cat([ladder.new_zeros(1), ladder * size])
        eta = scalars["lr"] * tried
        losses = vmap(lambda at: risk(_stepped(params, grads, at)))(eta)
        square = torch.stack([leaf.square().sum() for leaf in grads.values()]).sum()
        enough = (losses <= losses[0] - scalars["decrease"] * eta * square)[1:]  # a NaN is not
        first = torch.where(enough.any(), enough.int().argmax(), self.tries - 1)
        taken = torch.where(enough.any(), eta[1:].gather(0, first[None])[0], 0)
        left = torch.where(square > 0, tried[1:].gather(0, first[None])[0], size)
        return _stepped(params, grads, taken), {"size": {"size": left}}


@value
class Adam:
    r"""Adam with bias correction (Kingma and Ba, ICLR 2015, Algorithm 1).

    .. math:: \theta \leftarrow \theta - \eta\, \hat m / (\sqrt{\hat v} + \epsilon)
    """

    revision: ClassVar[int] = 1
    isometric: ClassVar[bool] = False

    lr: Varying[float] = 1e-3  # eta
    beta1: Varying[float] = 0.9
    beta2: Varying[float] = 0.999
    eps: Varying[float] = 1e-8

    def __post_init__(self) -> None:
        require_between("lr", self.lr, 0, math.inf)
        require_between("beta1", self.beta1, 0, 1, below=True)
        require_between("beta2", self.beta2, 0, 1, below=True)
        require_between("eps", self.eps, 0, math.inf)

    def init(self, params: Leaves) -> State:
        """Zero moments, and how many steps were taken (a float: it enters an exponent)."""
        zeros = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
        any_leaf = next(iter(params.values()))
        return {"m": zeros, "v": dict(zeros), "t": {"t": any_leaf.new_zeros(())}}

    def update(
        self, scalars: Mapping[str, Tensor], params: Leaves, grads: Leaves, state: State, risk: Risk
    ) -> tuple[Leaves, State]:
        """One step of Algorithm 1."""
        beta1, beta2, t = scalars["beta1"], scalars["beta2"], state["t"]["t"] + 1
        m = {k: beta1 * state["m"][k] + (1 - beta1) * g for k, g in grads.items()}
        v = {k: beta2 * state["v"][k] + (1 - beta2) * g.square() for k, g in grads.items()}
        moved = {
            k: params[k]
            - scalars["lr"]
            * (m[k] / (1 - beta1**t))
            / ((v[k] / (1 - beta2**t)).sqrt() + scalars["eps"])
            for k in params
        }
        return moved, {"m": m, "v": v, "t": {"t": t}}


def _stepped(params: Leaves, grads: Leaves, eta: Tensor) -> Leaves:
    return {name: params[name] - eta * grads[name] for name in params}
