"""Support vector machines of many prompts at once, to the maximum of the dual problem.

Pairs of weights find out which of them lie on a bound, and the others then follow from linear
equations. By pairs alone some prompts of twenty examples would take ten million steps under a
linear kernel.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tdlab.baselines.dual import dual
from tdlab.baselines.expansion import Expansion, refuse_unsolved
from tdlab.baselines.face import face_step
from tdlab.baselines.pairs import nearness, pair_steps

_TOLERANCE = 1e-10
_FIRST, _AGAIN = 16, 4  # pairs, the first time one more for each example (tuned for speed)
_ROUNDS = 1000  # 2 to 20 are usual


def support_vectors(
    kernel: Float[Tensor, "b l l"], label: Float[Tensor, "b l"], rounds: int = _ROUNDS
) -> Expansion:
    """The maximum of each prompt, which must have both classes; C is 1.

    A prompt stays on its face until it has reached the maximum there, and each pair gains: so no
    face comes twice, and the rounds end.

    Raises:
        ArithmeticError: if some prompt has not converged after so many rounds.

    Returns:
        The weights and intercepts.
    """
    state, near = dual(kernel, label), nearness(kernel)
    found = Expansion(torch.empty_like(label), torch.empty_like(label[:, 0]))
    moving, pairs = torch.ones_like(label[:, 0]), _FIRST + label.shape[-1]
    for _ in range(rounds):
        state, arrived = face_step(pair_steps(state, near, moving, pairs))
        found.weight[state.prompt], found.intercept[state.prompt] = state.weight, state.intercept
        unsolved = (~state.solved(_TOLERANCE)).nonzero()[:, 0]
        if not len(unsolved):
            break
        state, near = state.only(unsolved), near.index_select(0, unsolved)
        moving, pairs = arrived.index_select(0, unsolved).to(label.dtype), _AGAIN
    refuse_unsolved("support vectors", len(unsolved), len(label), rounds)
    return found
