"""Pools: tasks that build their prompts once, and draw rows of them or take the whole as a batch.

An image generator and a real data set are no maps of uniforms. A member builds its pool from its
key and keeps it for life; a mini-batch is drawn from it with replacement.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from synthetic_tasks.task import Batch, World
from synthetic_tasks.value import require_choice, value

# A training pool and a test pool of one member share no prompt that is drawn.
PARTS = ("training", "test")


class Pooled(ABC):
    """A task whose prompts are rows of a pool."""

    revision: ClassVar[int]

    uniforms: ClassVar[int] = 1  # says which row
    balance: ClassVar[int] = 1

    @property
    @abstractmethod
    def size(self) -> int:
        """How many prompts the pool has."""

    @property
    @abstractmethod
    def token_width(self) -> int:
        """How many entries a token of its prompts has."""

    @property
    @abstractmethod
    def columns(self) -> int:
        """How many tokens a prompt has."""

    @abstractmethod
    def world(self, key: Int[Tensor, " 2"]) -> World:
        """The pool of the member with this key, floating-point numbers in float64."""

    @abstractmethod
    def rows(self, world: World, row: Int[Tensor, " b"]) -> Batch:
        """Those rows of the pool as a batch."""

    def draw(self, world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
        """Rows drawn with replacement, one for each uniform."""
        row = (uniforms[:, 0] * self.size).long()
        return self.rows(world, row.clamp(max=self.size - 1))  # rounding, at the very end


@value
class FullBatch:
    """The whole pool of ``of`` in order, at every step: gradient descent instead of its noise.

    It draws nothing; a run's ``batch`` is the size of the pool.

    Raises:
        TypeError: unless ``of`` is a task with a pool.
    """

    revision: ClassVar[int] = 1
    uniforms: ClassVar[int] = 0

    of: Pooled

    def __post_init__(self) -> None:
        if not isinstance(self.of, Pooled):
            raise TypeError(f"of is {self.of!r}, but must be a task with a pool")

    @property
    def token_width(self) -> int:
        """That of the pool's prompts."""
        return self.of.token_width

    @property
    def columns(self) -> int:
        """That of the pool's prompts."""
        return self.of.columns

    @property
    def balance(self) -> int:
        """The size of the pool."""
        return self.of.size

    def world(self, key: Int[Tensor, " 2"]) -> World:
        """The pool itself."""
        return self.of.world(key)

    def draw(self, world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
        """Row after row, from the start again where the pool ends."""
        row = torch.arange(len(uniforms), device=uniforms.device) % self.of.size
        return self.of.rows(world, row)


def require_part(part: object) -> None:
    """Raises one line unless ``part`` is one of ``PARTS``."""
    require_choice("part", part, PARTS)
