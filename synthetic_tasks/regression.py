r"""Token regression: every token of a sample has a target, random or made by a teacher.

.. math:: \tfrac12 \sum_{i=1}^{N} \lVert F(X_i) - Y_i \rVert_F^2, \qquad
          X_i \in \mathbb R^{n \times D}, \quad Y_i \in \mathbb R^{n \times y}
"""

from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from synthetic_tasks.pool import Pooled
from synthetic_tasks.task import Batch
from synthetic_tasks.threefry import fold, normals
from synthetic_tasks.value import require_count, require_number, value


class Samples(NamedTuple):
    """The samples of one member."""

    prompt: Float[Tensor, "b n d"]
    target: Float[Tensor, "b n y"]


class Nothing(NamedTuple):
    """All is in the prompt and its target."""


@runtime_checkable
class Teacher(Protocol):
    """A model that makes targets: its weights are drawn from the member's key."""

    @property
    def token_width(self) -> int:
        """How many entries a token has."""

    def init(self, key: Int[Tensor, " 2"]) -> dict[str, Tensor]:
        """Its weights."""

    def forward(self, params: dict[str, Tensor], prompt: Tensor, mask: Tensor) -> Any:
        """Its trace, whose ``output`` has a row for each token."""


@value
class TokenRegression(Pooled):
    """``samples`` prompts of ``tokens`` standard normal tokens, which stay.

    Targets are standard normals, or what a ``teacher`` says whose weights each member draws anew.

    Raises:
        ValueError: for numbers out of range, and a teacher that takes other tokens.
        TypeError: for a teacher that is no model.
    """

    revision: ClassVar[int] = 1

    samples: int = 4  # N
    tokens: int = 4  # n
    width: int = 8  # D
    outputs: int = 1  # y, of random targets; a teacher's are its own
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "tokens", "width", "outputs"):
            require_count(name, getattr(self, name), 1)
        if self.teacher is None:
            return
        if not isinstance(self.teacher, Teacher):
            raise TypeError(f"teacher is {self.teacher!r}, but must be a model or None")
        if self.teacher.token_width != self.width:
            raise ValueError(
                f"the teacher takes tokens of width {self.teacher.token_width}, but width is "
                f"{self.width}"
            )

    @property
    def size(self) -> int:
        """N."""
        return self.samples

    @property
    def token_width(self) -> int:
        """D."""
        return self.width

    @property
    def columns(self) -> int:
        """As many as there are tokens."""
        return self.tokens

    def world(self, key: Int[Tensor, " 2"]) -> Samples:
        """The samples of the member with this key, in float64."""
        shape = (self.samples, self.tokens, self.width)
        prompt = normals(fold(key, 0), shape, torch.float64)
        if self.teacher is None:
            shape = (self.samples, self.tokens, self.outputs)
            return Samples(prompt, normals(fold(key, 1), shape, torch.float64))
        weights = self.teacher.init(fold(key, 1))
        mask = torch.ones(self.tokens, dtype=torch.bool)
        taught = [self.teacher.forward(weights, each, mask).output for each in prompt]
        return Samples(prompt, torch.stack(taught))

    def rows(self, world: Samples, row: Int[Tensor, " b"]) -> Batch:
        """Those samples."""
        return _batch(world, row)


@value
class KeysAndValues(Pooled):
    """One prompt, the same for every member: scalar keys, their values, and what is wanted.

    Raises:
        ValueError: unless there are as many values as keys, and at least one.
        TypeError: for what is no number.
    """

    revision: ClassVar[int] = 1
    size: ClassVar[int] = 1
    token_width: ClassVar[int] = 2

    keys: tuple[float, ...] = (-1, 0, 1)
    values: tuple[float, ...] = (1, 0, 0.5)
    wanted: float = 0.8

    def __post_init__(self) -> None:
        if not self.keys or len(self.keys) != len(self.values):
            raise ValueError(
                f"there are {len(self.keys)} keys and {len(self.values)} values, but must be as "
                "many of both, at least one"
            )
        require_number("wanted", self.wanted)
        for name in ("keys", "values"):
            for number in getattr(self, name):
                require_number(name, number)

    @property
    def columns(self) -> int:
        """As many as there are keys."""
        return len(self.keys)

    def world(self, _: Int[Tensor, " 2"]) -> Samples:
        """The prompt, a key and its value in each column, in float64."""
        prompt = torch.tensor([self.keys, self.values], dtype=torch.float64).T
        return Samples(prompt[None], torch.tensor([[self.wanted]], dtype=torch.float64))

    def rows(self, world: Samples, row: Int[Tensor, " b"]) -> Batch:
        """The prompt, as often as it is asked for."""
        return _batch(world, row)


def _batch(world: Samples, row: Tensor) -> Batch:
    prompt = world.prompt[row]
    mask = torch.ones_like(prompt[..., 0], dtype=torch.bool)
    return Batch(prompt, mask, world.target[row], Nothing())
