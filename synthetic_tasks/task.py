"""What a task is: a world that one member keeps for life, and a pure map from uniforms to batches.

Axes, here and everywhere: b prompt, n token, q token that asks, l context example, d feature,
y output, h head, m neuron, j pattern, t task, u uniform; a leading member axis and a step axis are
added by the callers.
"""

from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from synthetic_tasks.threefry import fold, stream, uniforms
from synthetic_tasks.value import require_count

# A named tuple of tensors, a different one for each family of tasks: what one member keeps for life
# (patterns, label vector, task set; its scalars as 0-d tensors).
World = Any
# A named tuple of tensors: what the generator knows of each prompt and no model may see.
Latent = Any


class Batch(NamedTuple):
    """Prompts with their answers; the query is always the last column, padding lies before it."""

    prompt: Float[Tensor, "*b n d"]
    mask: Bool[Tensor, "*b n"]  # False on padding
    target: Float[Tensor, "..."]  # b, then any trailing axes
    latent: Latent

    def __repr__(self) -> str:
        shapes = ((name, getattr(self, name)) for name in ("prompt", "mask", "target"))
        told = ", ".join(f"{name} {tuple(leaf.shape)}" for name, leaf in shapes)
        hidden = ", ".join(getattr(self.latent, "_fields", ()))
        return f"<batch: {told}; latent {hidden or 'nothing'}>"


@runtime_checkable
class Task(Protocol):
    """A frozen description of a distribution over prompts."""

    revision: ClassVar[int]  # raised when the same fields come to mean something else

    @property
    def token_width(self) -> int:
        """How many entries a token of its prompts has."""

    @property
    def columns(self) -> int:
        """How many tokens a prompt has, padding and query included."""

    @property
    def uniforms(self) -> int:
        """How many uniforms one prompt takes."""

    @property
    def balance(self) -> int:
        """A batch is a multiple of this many prompts: as many as it takes to be balanced."""

    def world(self, key: Int[Tensor, " 2"]) -> World:
        """What the member with this key keeps for life, in float64."""

    def draw(self, world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
        """One whole batch from one block of uniforms; pure, so it can be compiled and mapped."""


def require_balance(name: str, size: int, task: Task) -> None:
    """Raises one line unless ``size`` prompts make a balanced batch of the task."""
    if size % task.balance:
        raise ValueError(
            f"{name} is {size}, but a {type(task).__name__} needs a multiple of {task.balance}"
        )


def cast(values: World, dtype: torch.dtype) -> World:
    """A named tuple of tensors with its floating-point leaves in ``dtype``; raises for others."""
    if not hasattr(values, "_fields") or not all(isinstance(leaf, Tensor) for leaf in values):
        raise TypeError(f"a world is {values!r}, but must be a named tuple of tensors")
    return type(values)(*(leaf.to(dtype) if leaf.is_floating_point() else leaf for leaf in values))


def sample(
    task: Task,
    *,
    seed: int,
    size: int,
    step: int = 0,
    name: str = "evaluation",
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """``size`` prompts of the member ``seed``: a pure function of (seed, stream name, step)."""
    require_count("size", size, 1)
    require_balance("size", size, task)
    world = cast(task.world(stream(seed, "world")), dtype)
    return task.draw(world, uniforms(fold(stream(seed, name), step), (size, task.uniforms), dtype))
