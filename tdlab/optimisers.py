"""Optimisers that act coordinate by coordinate, so that a member's step does not see the others.

Each is a frozen value; its scalars reach ``update`` as tensors, because members may differ in them.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from synthetic_tasks.value import Varying, require_between, value

Leaves = dict[str, Tensor]
State = dict[str, Leaves]


@runtime_checkable
class Optimiser(Protocol):
    """A rule that turns gradients into steps."""

    revision: ClassVar[int]  # raised when the same fields come to mean something else

    def init(self, params: Leaves) -> State:
        """The state before the first step."""

    def update(
        self, scalars: Mapping[str, Tensor], params: Leaves, grads: Leaves, state: State
    ) -> tuple[Leaves, State]:
        """Parameters and state after one step; ``scalars`` are the optimiser's varying fields."""


@value
class SGD:
    r"""Gradient descent on the batch: :math:`\theta \leftarrow \theta - \eta g`."""

    revision: ClassVar[int] = 1

    lr: Varying[float] = 0.1  # eta (ours)

    def __post_init__(self) -> None:
        require_between("lr", self.lr, 0, math.inf)

    def init(self, params: Leaves) -> State:
        """Nothing to remember."""
        return {}

    def update(
        self, scalars: Mapping[str, Tensor], params: Leaves, grads: Leaves, state: State
    ) -> tuple[Leaves, State]:
        """One step against the gradient."""
        return {name: params[name] - scalars["lr"] * grads[name] for name in params}, state


@value
class Adam:
    r"""Adam with bias correction (Kingma and Ba, ICLR 2015, Algorithm 1).

    .. math:: \theta \leftarrow \theta - \eta\, \hat m / (\sqrt{\hat v} + \epsilon)
    """

    revision: ClassVar[int] = 1

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
        self, scalars: Mapping[str, Tensor], params: Leaves, grads: Leaves, state: State
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
