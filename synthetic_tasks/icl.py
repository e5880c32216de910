r"""In-context binary classification: which of two patterns is the query's (Li et al., ICML 2024).

A prompt belongs to a task (a, b): pattern a is labelled +1, pattern b is labelled -1. Of its
``length`` examples a fraction ``alpha`` carries a or b; the others carry some other pattern and a
random label. Every input adds to its relevant pattern a multiple of an irrelevant one::

    pattern     a   c   b   a   d   b | a     x_i = mu_j + kappa nu_k
    label       +   -   -   +   +   - | 0     kappa ~ U(-kappa_max, kappa_max)
    relevant    x   .   .   x   .   . |       y_i = +q or -q;  p_i = (x_i; y_i);  target +1
"""

import math
from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from synthetic_tasks import patterns
from synthetic_tasks.atoms import Coded
from synthetic_tasks.task import Batch
from synthetic_tasks.task_sets import Pair, check_coverage, task_set
from synthetic_tasks.threefry import fold
from synthetic_tasks.value import (
    Varying,
    require_between,
    require_choice,
    require_count,
    value,
)


class World(NamedTuple):
    """What one member keeps for life."""

    relevant: Float[Tensor, "*m j d"]  # mu, in-domain-relevant (IDR) patterns, of norm beta
    irrelevant: Float[Tensor, "*m k d"]  # nu, in-domain-irrelevant (IDI) patterns, of norm beta
    label: Float[Tensor, "*m y"]  # q, of norm 1
    tasks: Int[Tensor, "*m t 2"]
    alpha: Float[Tensor, "*m"]
    kappa: Float[Tensor, "*m"]


class Latent(NamedTuple):
    """What the generator knows of each prompt and no model may see."""

    task: Int[Tensor, "*b 2"]  # the patterns labelled +1 and -1
    pattern: Int[Tensor, "*b n"]  # the relevant pattern in each column, the query's last
    label: Float[Tensor, "*b l"]  # the sign of each example's label
    relevant: Bool[Tensor, "*b l"]  # whether an example carries the query's pattern


@value
class InContextClassification:
    """In-context binary classification prompts, every knob of the setting.

    ``tasks`` is ``"cyclic"`` (pattern i against i + 1: the smallest set that covers), ``"all"``,
    ``"unseen"`` (all but the cyclic ones) or a list of pairs.

    Raises:
        ValueError: for numbers outside their range, and for a task set that does not show every
            pattern with both labels equally often, unless ``coverage="violated"`` says that this
            is meant.
    """

    revision: ClassVar[int] = 1
    balance: ClassVar[int] = 1  # tasks and labels are balanced in expectation

    relevant: int = 6  # M1
    irrelevant: int = 24  # M2; d_X = M1 + M2
    label_width: int = 30  # d_Y
    length: int = 20  # l
    alpha: Varying[float] = 0.8
    kappa: Varying[float] = 0.5  # kappa_max
    beta: Varying[float] = 3.0  # (ours)
    tasks: str | tuple[Pair, ...] = "cyclic"
    coverage: str = "required"

    def __post_init__(self) -> None:
        require_count("relevant (M1)", self.relevant, 3)
        require_count("irrelevant (M2)", self.irrelevant, 1)
        require_count("label_width", self.label_width, 1)
        require_count("length", self.length, 1)
        require_between("alpha", self.alpha, 0, 1, above=True)
        require_between("kappa", self.kappa, 0, math.inf)
        require_between("beta", self.beta, 0, math.inf, above=True)
        require_choice("coverage", self.coverage, ("required", "violated"))
        pairs = self.pairs
        if self.coverage == "required":
            check_coverage(pairs, self.relevant)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The task set as ordered pairs."""
        return task_set(self.tasks, self.relevant)

    @property
    def width(self) -> int:
        """d_X, the dimension of an input."""
        return self.relevant + self.irrelevant

    @property
    def token_width(self) -> int:
        """d_X + d_Y, an input and its label."""
        return self.width + self.label_width

    @property
    def columns(self) -> int:
        """The examples and the query."""
        return self.length + 1

    @property
    def uniforms(self) -> int:
        """Two for each column: its pattern and label; its irrelevant pattern and kappa."""
        return 2 * self.columns

    def on_unseen(self) -> "InContextClassification":
        """The same prompts on every task that is not in this one's set."""
        rest = tuple(pair for pair in task_set("all", self.relevant) if pair not in self.pairs)
        return replace(self, tasks=rest, coverage="violated")

    def world(self, key: Int[Tensor, " 2"]) -> World:
        """Patterns and label vector of the member with this key, float64."""
        dictionary = patterns.dictionary(fold(key, 0), self.width, self.width, self.beta)
        return World(
            relevant=dictionary[: self.relevant],
            irrelevant=dictionary[self.relevant :],
            label=patterns.dictionary(fold(key, 1), 1, self.label_width, 1.0)[0],
            tasks=torch.tensor(self.pairs),
            alpha=torch.tensor(self.alpha, dtype=torch.float64),
            kappa=torch.tensor(self.kappa, dtype=torch.float64),
        )

    def draw(self, world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
        """One batch of prompts."""
        return draw(world, uniforms)

    def atoms(self, world: World) -> Float[Tensor, "a d"]:
        """The relevant patterns, the irrelevant ones, and the label vector."""
        return atoms(world)

    def code(self, world: World, uniforms: Float[Tensor, "b u"]) -> Coded:
        """The same batch in atoms."""
        return code(world, uniforms)


def draw(world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
    """Prompts of any world of this family; tasks and labels are balanced in expectation."""
    facts = _facts(world, uniforms)
    latent = facts.latent
    k = facts.irrelevant.long()
    x = torch.addcmul(world.relevant[latent.pattern], facts.kappa[..., None], world.irrelevant[k])
    y = torch.nn.functional.pad(facts.label, (0, 1))[..., None] * world.label
    return Batch(
        prompt=torch.cat([x, y], dim=-1),
        mask=torch.ones_like(latent.pattern, dtype=torch.bool),
        target=facts.target,
        latent=latent,
    )


def atoms(world: World) -> Float[Tensor, "a d"]:
    """What the tokens of any world of this family are made of, the patterns at norm 1."""
    patterns_ = torch.cat([world.relevant, world.irrelevant]) / _beta(world)
    inputs = torch.nn.functional.pad(patterns_, (0, len(world.label)))
    label = torch.nn.functional.pad(world.label, (world.relevant.shape[-1], 0))
    return torch.cat([inputs, label[None]])


def code(world: World, uniforms: Float[Tensor, "b u"]) -> Coded:
    """What ``draw`` writes out: a relevant pattern, kappa of an irrelevant one, and the label."""
    facts, beta = _facts(world, uniforms), _beta(world)
    relevant, irrelevant = len(world.relevant), len(world.irrelevant)
    pattern, k = facts.pattern.int(), facts.irrelevant.int() + relevant
    q = torch.full_like(pattern, relevant + irrelevant)
    label = torch.nn.functional.pad(facts.label, (0, 1))
    return Coded(
        atom=torch.stack([pattern, k, q]),
        weight=torch.stack([beta.expand(q.shape), facts.kappa * beta, label]),
        mask=torch.ones_like(q, dtype=torch.bool),
        target=facts.target,
        latent=facts.latent,
    )


def _beta(world: World) -> Float[Tensor, ""]:
    """The norm that all patterns have."""
    return world.irrelevant[0].norm()


class _Facts(NamedTuple):
    """All there is to say of a batch; whole numbers are floating-point ones, which are faster."""

    task: Int[Tensor, "b 2"]
    pattern: Float[Tensor, "b n"]
    label: Float[Tensor, "b l"]
    irrelevant: Float[Tensor, "b n"]
    kappa: Float[Tensor, "b n"]
    target: Float[Tensor, " b"]

    @property
    def latent(self) -> Latent:
        pattern = self.pattern.long()
        return Latent(self.task, pattern, self.label, pattern[:, :-1] == pattern[:, -1:])


def _facts(world: World, uniforms: Float[Tensor, "b u"]) -> _Facts:
    columns, noise = uniforms.chunk(2, dim=-1)
    which, _ = _split(columns[:, -1], 2 * len(world.tasks))  # a task, and one of its two patterns
    task = world.tasks[(which / 2).floor().long()]
    positive = _is_even(which)
    both = task.to(uniforms.dtype)
    query = torch.where(positive, both[:, 0], both[:, 1])
    context, label = _context(columns[:, :-1], both, world)
    k, rest = _split(noise, len(world.irrelevant))
    return _Facts(
        task=task,
        pattern=torch.cat([context, query[:, None]], dim=1),
        label=label,
        irrelevant=k,
        kappa=(2 * rest - 1) * world.kappa,
        target=_sign(positive, uniforms.dtype),
    )


def _context(
    u: Float[Tensor, "b l"], task: Float[Tensor, "b 2"], world: World
) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"]]:
    """Pattern and label sign of each example: a, b, or one of the others with a random label."""
    first, second = task[:, :1], task[:, 1:]
    others = len(world.relevant) - 2
    half = world.alpha / 2
    # Where u >= alpha, what is left of it is uniform again; elsewhere this value is not used.
    left = ((u - world.alpha) / (1 - world.alpha).clamp(min=1e-6)).clamp(0, 1 - 2**-23)
    cell, _ = _split(left, 2 * others)
    other = (cell / 2).floor()
    other = other + (other >= torch.minimum(first, second))
    other = other + (other >= torch.maximum(first, second))
    pattern = torch.where(u < half, first, torch.where(u < world.alpha, second, other))
    positive = torch.where(u < world.alpha, u < half, _is_even(cell))
    return pattern, _sign(positive, u.dtype)


def _split(u: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """One uniform as a whole number below ``cells`` and, independent of it, a uniform again."""
    scaled = u * cells
    cell = scaled.floor()
    return cell, scaled - cell


def _is_even(whole: Tensor) -> Tensor:
    half = whole / 2
    return half == half.floor()


def _sign(positive: Tensor, dtype: torch.dtype) -> Tensor:
    return 2 * positive.to(dtype) - 1
