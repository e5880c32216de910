"""In-context classification of patterns that training has not seen (Li et al., ICML 2024)."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from synthetic_tasks import patterns
from synthetic_tasks.atoms import Coded
from synthetic_tasks.icl import InContextClassification, World, atoms, code, draw
from synthetic_tasks.task import Batch
from synthetic_tasks.task_sets import Pair, check_disjoint, task_set
from synthetic_tasks.threefry import fold
from synthetic_tasks.value import (
    Varying,
    require_between,
    require_choice,
    require_number,
    value,
)


@value
class OutOfDomain:
    r"""The trained task on patterns it has not seen: mixtures of the IDR ones.

    The IDR patterns are paired, and each pair makes one out-of-domain-relevant (ODR) pattern
    :math:`\mu' = \sqrt{1 - r^2} \sum_i k_i \mu_i + r \nu`, with coefficient sum
    :math:`S_1 = \sum_i k_i` and, for ``outside`` = r > 0, a part along an IDI pattern of its own,
    outside the span of the IDR ones. The out-of-domain-irrelevant (ODI) patterns are a random
    rotation of the remaining IDI ones. All ordered pairs of ODR patterns are tasks.

    ``pairing`` is ``"drawn"`` (uniformly, for each key), or a list of disjoint pairs; ``alpha``,
    ``length`` and ``kappa`` are those of the trained task.
    """

    revision: ClassVar[int] = 1
    balance: ClassVar[int] = 1

    trained: InContextClassification
    coefficient_sum: Varying[float] = 1.0  # S_1
    outside: Varying[float] = 0.0  # r
    pairing: str | tuple[Pair, ...] = "drawn"

    def __post_init__(self) -> None:
        patterns.coefficients(2, require_number("coefficient_sum", self.coefficient_sum))
        require_between("outside", self.outside, 0, 1)
        if not isinstance(self.trained, InContextClassification):
            raise TypeError(f"trained is {self.trained!r}, but must be an InContextClassification")
        if isinstance(self.pairing, str):
            require_choice("pairing", self.pairing, ("drawn",))
        else:
            check_disjoint("pairing", self.pairing, self.trained.relevant)
        count = self.trained.relevant // 2 if self.pairing == "drawn" else len(self.pairing)
        if count < 3:
            raise ValueError(
                f"{count} pairs of relevant patterns, but a task needs at least 3 "
                "(M1 of at least 6)"
            )
        if self.trained.irrelevant <= count:
            raise ValueError(
                f"irrelevant (M2) is {self.trained.irrelevant}, but out of domain it must exceed "
                f"the {count} pairs"
            )

    @property
    def token_width(self) -> int:
        """As for the trained task."""
        return self.trained.token_width

    @property
    def columns(self) -> int:
        """As for the trained task."""
        return self.trained.columns

    @property
    def uniforms(self) -> int:
        """As for the trained task."""
        return self.trained.uniforms

    def pairs(self, key: Int[Tensor, " 2"]) -> Int[Tensor, "o 2"]:
        """The IDR patterns that each ODR pattern of the member with this key mixes."""
        if self.pairing == "drawn":
            return patterns.random_pairs(fold(key, 2), self.trained.relevant)
        return torch.tensor(self.pairing)

    def world(self, key: Int[Tensor, " 2"]) -> World:
        """The trained member's world with its patterns mixed."""
        trained = self.trained.world(key)
        pairs = self.pairs(key)
        mixed = patterns.mixtures(trained.relevant, pairs, self.coefficient_sum)
        outside, rest = trained.irrelevant[: len(pairs)], trained.irrelevant[len(pairs) :]
        inside = math.sqrt(1 - self.outside**2)
        return trained._replace(
            relevant=inside * mixed + self.outside * outside,
            irrelevant=patterns.rotate(fold(key, 3), rest),
            tasks=torch.tensor(task_set("all", len(pairs))),
        )

    def draw(self, world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
        """One batch of prompts."""
        return draw(world, uniforms)

    def atoms(self, world: World) -> Float[Tensor, "a d"]:
        """The ODR patterns, the ODI ones, and the label vector."""
        return atoms(world)

    def code(self, world: World, uniforms: Float[Tensor, "b u"]) -> Coded:
        """The same batch in atoms."""
        return code(world, uniforms)
