r"""K-step reasoning under test: patterns of their own, bounded noise, and wrong steps.

The prompts of ``cot``, at the first step of the query's chain; which steps of the context examples
are wrong, and how often, is said by ``transitions`` (Li et al., ICLR 2025).
"""

import math
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from synthetic_tasks import patterns
from synthetic_tasks.cot import NOTHING, Latent, Reasoning, starts, walk
from synthetic_tasks.task import Batch
from synthetic_tasks.threefry import fold
from synthetic_tasks.transitions import Transitions
from synthetic_tasks.value import Varying, require_between, require_count, value

NOISE_BOUND = math.sqrt(0.5)  # patterns lie sqrt 2 apart: from here on a wrong one may be nearer


class NoisyWorld(NamedTuple):
    """What one member keeps for life, and how its context examples go wrong."""

    patterns: Float[Tensor, "*m j d"]  # mu', testing-relevant (TSR), orthonormal
    codes: Float[Tensor, "*m k d"]
    alpha: Float[Tensor, "*m"]
    cumulative: Float[Tensor, "*m k j j"]  # A_1 .. A_K, summed along each row
    correct: Int[Tensor, "*m k j"]


@value
class NoisyReasoning:
    r"""Test prompts: the first step of a chain, with patterns, noise and wrong steps of their own.

    Each testing-relevant (TSR) pattern has a part of norm ``component`` in the span of the TRR
    ones, uniformly oriented there, and the rest in a direction of its own outside. Wherever a
    context example's pattern appears, the same vector of norm ``noise`` is added to it, uniform in
    direction. A step of an example goes from i to j with probability :math:`A_k(i, j)`. The
    patterns are renamed at random in each prompt and at each step, so that the bijections are drawn
    afresh, while tau, rho and Condition 1 stay those of the ``transitions``.

    ``alpha`` and ``length`` are of the test prompts: alpha', the probability that an example starts
    from the query's pattern, and how many examples there are.

    Raises:
        ValueError: for numbers out of range, and for patterns that do not fit.
    """

    revision: ClassVar[int] = 1
    balance: ClassVar[int] = 1

    trained: Reasoning
    transitions: Transitions
    length: int
    alpha: Varying[float] = 0.8
    component: Varying[float] = 1.0
    noise: float = 0.2  # (ours) no scalar of an ensemble: without noise none is drawn

    def __post_init__(self) -> None:
        for name, kind in (("trained", Reasoning), ("transitions", Transitions)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is {getattr(self, name)!r}, but must be {kind.__name__}")
        require_count("length (l)", self.length, 1)
        require_between("alpha", self.alpha, 0, 1, above=True)
        require_between("component", self.component, 0, 1)
        require_between("noise", self.noise, 0, NOISE_BOUND, below=True)
        trained, count = self.trained, self.patterns
        if self.steps != trained.steps:
            raise ValueError(
                f"transitions have {self.steps} steps, but the trained task has K = {trained.steps}"
            )
        if count > trained.patterns:
            raise ValueError(
                f"patterns (M') is {count}, but the span of the trained ones holds only "
                f"M = {trained.patterns} of d_X = {trained.width} orthogonal directions"
            )
        if (needed := trained.patterns + trained.steps + count) > trained.width and (
            self.component < 1
        ):
            raise ValueError(
                f"width (d_X) is {trained.width}, but component {self.component:g} takes {needed}: "
                f"{trained.patterns} patterns, {trained.steps} codes, and {count} directions "
                "outside their span"
            )

    @property
    def steps(self) -> int:
        """K."""
        return self.transitions.steps

    @property
    def patterns(self) -> int:
        """M', the number of TSR patterns."""
        return self.transitions.patterns

    @property
    def token_width(self) -> int:
        """As for the trained task."""
        return self.trained.token_width

    @property
    def columns(self) -> int:
        """K for each example, and the query."""
        return self.steps * self.length + 1

    @property
    def uniforms(self) -> int:
        """For the names of the patterns, the query's start, the examples' steps, and the noise."""
        return sum(self._split)

    @property
    def _split(self) -> tuple[int, int, int, int]:
        chains = self.length * (self.steps + 1)
        noise = self.trained.width if self.noise else 0
        return (self.steps + 1) * self.patterns, 1, chains, (chains + 1) * (noise + noise % 2)

    def world(self, key: Int[Tensor, " 2"]) -> NoisyWorld:
        """The trained member's codes, with TSR patterns."""
        trained, directions = self.trained.world(key), self.trained.directions(key)
        inside = patterns.rotate(fold(key, 1), trained.patterns)[: self.patterns]
        used = self.trained.patterns + self.trained.steps
        mixed = self.component * inside
        if self.component < 1:
            rest = math.sqrt(1 - self.component**2)
            mixed = mixed + rest * directions[used : used + self.patterns]
        return NoisyWorld(
            patterns=mixed,
            codes=trained.codes,
            alpha=torch.tensor(self.alpha, dtype=torch.float64),
            cumulative=torch.tensor(self.transitions.stepwise).cumsum(-1),
            correct=torch.tensor(self.transitions.correct),
        )

    def draw(self, world: NoisyWorld, uniforms: Float[Tensor, "b u"]) -> Batch:
        """Prompts (E_1, .., E_l, (x_query; 0)); the target is the TSR pattern z_1."""
        K, M = self.steps, self.patterns
        names, query, walks, noise = uniforms.split(self._split, dim=-1)
        # Rows of the transition matrices; a pattern's name is ``rename[step, row]``.
        rename = names.unflatten(-1, (K + 1, M)).argsort(dim=-1, stable=True)
        chain = walk((query * M).long(), world.correct.expand(len(query), K, M))
        start, wander = walks.unflatten(-1, (self.length, K + 1)).split((1, K), dim=-1)
        rows = _wander(starts(start[..., 0], chain[:, 0, 0], world.alpha, M), wander, world)
        right = _one_step(rows[..., :-1], world.correct.expand(len(query), K, M)) == rows[..., 1:]
        y = rename.gather(2, rows.movedim(2, 1)).movedim(1, 2)
        z = rename.gather(2, chain.movedim(2, 1))[..., 0]

        states = torch.cat([y.flatten(1), z[:, :1]], dim=1)
        vectors = embedding(states, world.patterns)
        if self.noise:
            noise = _directions(noise.unflatten(-1, (states.shape[1], -1)), self.trained.width)
            vectors = torch.add(vectors, noise, alpha=self.noise)
        examples = vectors[:, :-1].unflatten(1, (self.length, K + 1))
        context = torch.cat([examples[:, :, :-1] + world.codes, examples[:, :, 1:]], dim=-1)
        first = torch.cat([vectors[:, -1:] + world.codes[0], torch.zeros_like(vectors[:, -1:])], -1)
        steps = torch.arange(K, device=z.device).repeat(self.length).expand(len(z), -1)
        return Batch(
            prompt=torch.cat([context.flatten(1, 2), first], dim=1),
            mask=torch.ones(len(z), 1 + K * self.length, dtype=torch.bool, device=z.device),
            target=world.patterns[z[:, 1]],
            latent=Latent(
                step=torch.cat([steps, torch.zeros_like(z[:, :1])], dim=1),
                pattern=torch.cat([y[..., :-1].flatten(1), z[:, :1]], dim=1),
                output=torch.cat([y[..., 1:].flatten(1), torch.full_like(z[:, :1], NOTHING)], 1),
                correct=torch.cat([right.flatten(1), torch.zeros_like(right[:, :1, 0])], dim=1),
                chain=z,
            ),
        )


def _one_step(y: Int[Tensor, "b l k"], f: Int[Tensor, "b k j"]) -> Int[Tensor, "b l k"]:
    """The correct outputs of all steps, each from where it was taken."""
    return f.gather(2, y.movedim(2, 1)).movedim(1, 2)


def _wander(
    start: Int[Tensor, "b l"], u: Float[Tensor, "b l k"], world: NoisyWorld
) -> Int[Tensor, "b l z"]:
    """Chains that may go wrong: each step drawn from the row of its matrix."""
    y = [start]
    for k in range(u.shape[-1]):
        # The last sum is one but for rounding, and no uniform may fall behind it.
        edges = world.cumulative[k][y[-1]][..., :-1]
        y.append((u[..., k : k + 1] >= edges).sum(-1))
    return torch.stack(y, dim=-1)


def _directions(u: Float[Tensor, "b s u"], width: int) -> Float[Tensor, "b s d"]:
    """Uniform directions: normals by Box and Muller, of length one."""
    radius, angle = u.chunk(2, dim=-1)
    radius = (-2 * radius.log()).sqrt()
    angle = 2 * math.pi * angle
    normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)[..., :width]
    return normal / normal.norm(dim=-1, keepdim=True)
