"""Losses and errors, per prompt and unreduced; z is the target, F the output.

Means belong to whoever knows what is averaged: prompts in the trainer, prompts and seeds in a
table.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def hinge(output: Float[Tensor, "*b"], target: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    r""":math:`\max(0, 1 - z F)`."""
    return (1 - target * output).clamp(min=0)


def logistic(output: Float[Tensor, "*b"], target: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    r""":math:`\log(1 + e^{-z F})`, the cross-entropy of the two classes."""
    # Elementwise exponentials round by their place in memory, so by who else is in the ensemble;
    # those of a softmax over an axis of its own do not.
    margin = target * output
    return -torch.stack([margin, torch.zeros_like(margin)], dim=-1).log_softmax(-1)[..., 0]


def squared(output: Float[Tensor, "*b y"], target: Float[Tensor, "*b y"]) -> Float[Tensor, "*b"]:
    r""":math:`\tfrac12 \lVert z - F \rVert^2`."""
    return 0.5 * (target - output).square().sum(-1)


def token_squared(
    output: Float[Tensor, "*b n y"], target: Float[Tensor, "*b n y"]
) -> Float[Tensor, "*b"]:
    r""":math:`\tfrac12 \lVert Z - F \rVert_F^2`, summed over the tokens of a prompt."""
    return 0.5 * (target - output).square().sum((-2, -1))


def zero_one(output: Float[Tensor, "*b"], target: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    r""":math:`\mathbb 1[z F \le 0]`: an output of exactly zero names no class and is an error."""
    return (target * output <= 0).to(output.dtype)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": hinge,
    "logistic": logistic,
    "squared": squared,
    "token_squared": token_squared,
}
