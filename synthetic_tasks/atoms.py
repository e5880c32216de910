r"""Prompts in coordinates: of a token that is a sum of few atoms, which and how much says all.

A world's ``a`` atoms are orthonormal vectors that its tokens are made of; a token takes ``s`` of
them, no atom twice. A prompt is then as many columns of coordinates, and the same prompt::

    token       mu_2 + 0.3 nu_0 - q           atoms    mu_0 mu_1 mu_2 nu_0 nu_1 q
    atom        2     3           5
    weight      1     0.3        -1       coordinates  0    0    1    0.3  0   -1

    prompt = coordinates @ atoms              (n d) = (n a) (a d)

Coordinates are another orthonormal basis of all that the tokens span, so whatever is the same in
every such basis, gradient descent above all, may take place in them.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from synthetic_tasks.task import Task, World


class Coded(NamedTuple):
    """A batch in atoms."""

    atom: Int[Tensor, "s *b n"]  # different ones in each token
    weight: Float[Tensor, "s *b n"]  # 0 for an atom that the token does not have
    mask: Bool[Tensor, "*b n"]  # as in ``Batch``
    target: Float[Tensor, "..."]
    latent: Any  # as in ``Batch``


@runtime_checkable
class Atomic(Task, Protocol):
    """A task whose prompts are made of atoms."""

    def atoms(self, world: World) -> Float[Tensor, "a d"]:
        """What the tokens of this world are made of: orthonormal rows."""

    def code(self, world: World, uniforms: Float[Tensor, "b u"]) -> Coded:
        """The batch that ``draw`` writes out."""


def coordinates(coded: Coded, atoms: int) -> Float[Tensor, "*b n a"]:
    """How much of each atom there is in each token."""
    atom, weight = coded.atom.movedim(0, -1), coded.weight.movedim(0, -1)
    return weight.new_zeros((*weight.shape[:-1], atoms)).scatter(-1, atom.long(), weight)
