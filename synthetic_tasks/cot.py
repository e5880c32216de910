r"""K-step reasoning by example (Li et al., ICLR 2025): which context column answers the query?

A task is a chain of bijections of patterns, :math:`f = f_K \circ \dots \circ f_1`, drawn afresh for
every prompt. A context example takes K columns, one a step; the query's own chain follows, up to
the column whose answer is missing. K = 2, an example from c and one from a, the second step asked::

    upper half   c    d  | a    b  | a    b      y_{k-1} with the code of step k
                 c_1  c_2| c_1  c_2| c_1  c_2
    lower half   d    a  | b    e  | b    0      y_k, and 0 for the query
    relevant     .    .  | .    x  | .           same step, same pattern: its lower half is the
                                                 target e

Training prompts, which are exact, are here; test prompts are in ``noisy_cot``.
"""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from synthetic_tasks import patterns
from synthetic_tasks.atoms import Coded
from synthetic_tasks.task import Batch
from synthetic_tasks.threefry import fold
from synthetic_tasks.value import Varying, require_between, require_count, value

NOTHING = -1  # in place of a pattern or a step, where there is none


class World(NamedTuple):
    """What one member keeps for life."""

    patterns: Float[Tensor, "*m j d"]  # mu, training-relevant (TRR), orthonormal
    codes: Float[Tensor, "*m k d"]  # c_1 .. c_K, orthonormal and orthogonal to all patterns
    alpha: Float[Tensor, "*m"]


class Latent(NamedTuple):
    """What the generator knows of each prompt and no model may see."""

    step: Int[Tensor, "*b n"]  # of each column, from 0; NOTHING on padding
    pattern: Int[Tensor, "*b n"]  # in the upper half of each column; NOTHING on padding
    output: Int[Tensor, "*b n"]  # in the lower half; NOTHING on padding and in the query
    correct: Bool[Tensor, "*b n"]  # whether the lower half is the correct output of the step
    chain: Int[Tensor, "*b z"]  # z_0 .. z_K: the query's start and the correct outputs

    @property
    def same_step(self) -> Bool[Tensor, "*b c"]:
        """Which of the columns before the query have its step."""
        return self.step[..., :-1] == self.step[..., -1:]

    @property
    def same_pattern(self) -> Bool[Tensor, "*b c"]:
        """Which of the columns before the query have its pattern."""
        return self.pattern[..., :-1] == self.pattern[..., -1:]

    @property
    def relevant(self) -> Bool[Tensor, "*b c"]:
        """Which of the columns before the query show what is asked for: its step of its pattern."""
        return self.same_step & self.same_pattern


@value
class Reasoning:
    """Training prompts: exact chains of training-relevant (TRR) patterns.

    A batch asks for every output step k = 1..K equally often, and among the prompts that ask for
    one step every pattern is equally often z_0, z_1, and so on. A context example starts where the
    query's chain does with probability ``alpha``; its pattern is then the query's at every step.

    Raises:
        ValueError: for numbers out of range, and for more patterns and codes than dimensions.
    """

    revision: ClassVar[int] = 1

    width: int = 30  # d_X
    patterns: int = 20  # M
    steps: int = 3  # K
    length: int = 20  # l, context examples (ours)
    alpha: Varying[float] = 0.4

    def __post_init__(self) -> None:
        require_count("width (d_X)", self.width, 1)
        require_count("patterns (M)", self.patterns, 2)
        require_count("steps (K)", self.steps, 1)
        require_count("length (l)", self.length, 1)
        require_between("alpha", self.alpha, 0, 1, above=True)
        if self.patterns + self.steps > self.width:
            raise ValueError(
                f"width (d_X) is {self.width}, but {self.patterns} patterns (M) and {self.steps} "
                f"position codes (K) take {self.patterns + self.steps} dimensions"
            )

    @property
    def token_width(self) -> int:
        """2 d_X: a pattern with the code of its step, and the next pattern."""
        return 2 * self.width

    @property
    def columns(self) -> int:
        """K for each example and for the query's chain, as long as the longest."""
        return self.steps * (self.length + 1)

    @property
    def balance(self) -> int:
        """K M: every step asks once about every pattern."""
        return self.steps * self.patterns

    @property
    def uniforms(self) -> int:
        """For the bijections, for the query's chain, and for the start of each context example."""
        return self.steps * self.patterns + self.steps + 1 + self.length

    def directions(self, key: Int[Tensor, " 2"]) -> Float[Tensor, "d d"]:
        """An orthonormal basis: the patterns, the position codes, and what neither spans."""
        return patterns.dictionary(fold(key, 0), self.width, self.width, 1.0)

    def world(self, key: Int[Tensor, " 2"]) -> World:
        """Patterns and position codes of the member with this key, float64."""
        directions = self.directions(key)
        return World(
            patterns=directions[: self.patterns],
            codes=directions[self.patterns : self.patterns + self.steps],
            alpha=torch.tensor(self.alpha, dtype=torch.float64),
        )

    def draw(self, world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
        """One batch of prompts, a multiple of ``balance``.

        Returns:
            Prompts with as many columns as the longest needs: one that asks for an early step has
            padding between its context and its chain.
        """
        latent, target = self._facts(world, uniforms)
        return Batch(
            prompt=_columns(latent, world),
            mask=latent.step != NOTHING,
            target=target,
            latent=latent,
        )

    def atoms(self, world: World) -> Float[Tensor, "a x"]:
        """The patterns and the codes in an upper half, then the patterns in a lower one."""
        upper = torch.cat([world.patterns, world.codes])
        above = torch.nn.functional.pad(upper, (0, self.width))
        return torch.cat([above, torch.nn.functional.pad(world.patterns, (self.width, 0))])

    def code(self, world: World, uniforms: Float[Tensor, "b u"]) -> Coded:
        """The same batch in atoms: the pattern, the code of its step, and the output."""
        latent, target = self._facts(world, uniforms)
        part = torch.stack([latent.pattern, latent.step, latent.output])
        pattern, step, output = part.clamp(min=0)
        lower = self.patterns + self.steps
        return Coded(
            atom=torch.stack([pattern, self.patterns + step, lower + output]).int(),
            weight=(part != NOTHING).to(target.dtype),
            mask=latent.step != NOTHING,
            target=target,
            latent=latent,
        )

    def _facts(
        self, world: World, uniforms: Float[Tensor, "b u"]
    ) -> tuple[Latent, Float[Tensor, "b d"]]:
        """What there is to say of a batch: the latent and the target."""
        K, M = self.steps, self.patterns
        tasks, order, context = uniforms.split((K * M, K + 1, self.length), dim=-1)
        z = _balanced_chains(order, K, M)
        f = _through(tasks.unflatten(-1, (K, M)).argsort(dim=-1, stable=True), z)
        y = walk(starts(context, z[:, 0], world.alpha, M), f)

        # The query is column ``asked`` of its chain, moved to the right by what is missing.
        asked = torch.arange(len(z), device=z.device)[:, None] // M % K
        column = torch.arange(K, device=z.device) - (K - 1) + asked
        there = column >= 0
        answered = there & (column < asked)
        at = column.clamp(min=0)
        steps = torch.arange(K, device=z.device).repeat(self.length).expand(len(z), -1)
        latent = Latent(
            step=torch.cat([steps, column.where(there, NOTHING)], dim=-1),
            pattern=torch.cat(
                [y[..., :-1].flatten(1), z.gather(1, at).where(there, NOTHING)], dim=-1
            ),
            output=torch.cat(
                [y[..., 1:].flatten(1), z.gather(1, at + 1).where(answered, NOTHING)], dim=-1
            ),
            correct=torch.cat([steps >= 0, answered], dim=-1),
            chain=z,
        )
        return latent, embedding(z.gather(1, asked + 1)[:, 0], world.patterns)


def _balanced_chains(u: Float[Tensor, "b z"], steps: int, patterns: int) -> Int[Tensor, "b z"]:
    """Chains z_0 .. z_K: among the M prompts of a group every pattern is z_k once, for each k."""
    if len(u) % (steps * patterns):
        raise ValueError(
            f"a batch has {len(u)} prompts, but must be a multiple of K M = {steps * patterns}: "
            "every step asks equally often about every pattern"
        )
    groups = u.unflatten(0, (-1, patterns))
    return groups.argsort(dim=1, stable=True).flatten(0, 1)


def _through(f: Int[Tensor, "b k j"], z: Int[Tensor, "b z"]) -> Int[Tensor, "b k j"]:
    """Uniform bijections made to take z_{k-1} to z_k, by exchanging two of their outputs."""
    wanted, found = z[:, 1:, None], f.gather(-1, z[:, :-1, None])
    return torch.where(f == wanted, found, torch.where(f == found, wanted, f))


def starts(
    u: Float[Tensor, "b l"], query: Int[Tensor, " b"], alpha: Float[Tensor, ""], patterns: int
) -> Int[Tensor, "b l"]:
    """Where each example starts: from the query's pattern with probability alpha, else another."""
    # Where u >= alpha, what is left of it is uniform again; elsewhere this value is not used.
    left = ((u - alpha) / (1 - alpha).clamp(min=1e-6)).clamp(0, 1 - 2**-23)
    other = (left * (patterns - 1)).long()
    other = other + (other >= query[:, None])
    return torch.where(u < alpha, query[:, None], other)


def walk(start: Int[Tensor, "b l"], f: Int[Tensor, "b k j"]) -> Int[Tensor, "b l z"]:
    """The chains from these starts, step by step."""
    y = [start]
    for k in range(f.shape[1]):
        y.append(f[:, k].gather(1, y[-1]))
    return torch.stack(y, dim=-1)


def _columns(latent: Latent, world: World) -> Float[Tensor, "b n x"]:
    """The columns of exact prompts, looked up half by half in one table."""
    count = len(world.patterns)
    upper = (world.codes[:, None] + world.patterns).flatten(0, 1)  # (step, pattern)
    table = torch.cat([torch.zeros_like(upper[:1]), upper, world.patterns])
    there = latent.step != NOTHING
    first = torch.where(there, 1 + latent.step * count + latent.pattern, 0)
    second = torch.where(latent.output != NOTHING, 1 + len(upper) + latent.output, 0)
    return embedding(torch.stack([first, second], dim=-1), table).flatten(-2)
