r"""Logistic regression of many prompts at once, by Newton's method in the examples' weights.

.. math:: \min_{w, c} \tfrac12 |w|^2 + \sum_i \log(1 + e^{-y_i f_i}), \qquad f_i = w x_i + c

At the minimum :math:`w = \sum_i a_i x_i` with :math:`a_i = y_i \sigma(-y_i f_i)` and
:math:`\sum_i a_i = 0`, so with the kernel :math:`K_{ij} = x_i x_j` there are as many unknowns as
examples, and :math:`f = K a + c`.
"""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from tdlab.baselines.expansion import Expansion, refuse_unsolved, rounding

_TOLERANCE = 1e-10  # of a; the last step makes far less of it
_STEPS = 100  # 5 to 8 are usual
_HALVINGS = 50
_ROUNDING = 1e-13  # of the objective
_LEAST = 1e-150  # root of s, whose square is still a number


class _State(NamedTuple):
    """Prompts that are being solved: their place in the batch, the problem, and the iterate."""

    prompt: Int[Tensor, " b"]
    kernel: Float[Tensor, "b l l"]  # K
    label: Float[Tensor, "b l"]  # y
    weight: Float[Tensor, "b l"]  # a
    intercept: Float[Tensor, " b"]  # c
    score: Float[Tensor, "b l"]  # f

    def only(self, chosen: Int[Tensor, " b"]) -> "_State":
        return _State(*(leaf.index_select(0, chosen) for leaf in self))

    @property
    def implied(self) -> Float[Tensor, "b l"]:
        """The weights that the scores ask for."""
        return self.label * torch.sigmoid(-self.label * self.score)

    @property
    def residual(self) -> Float[Tensor, "b l"]:
        """What the weights lack; the gradient is minus K times it in a, minus its sum in c."""
        return self.implied - self.weight

    @property
    def objective(self) -> Float[Tensor, " b"]:
        penalty = self.weight * (self.score - self.intercept[:, None])
        return (penalty / 2 - logsigmoid(self.label * self.score)).sum(-1)


def logistic(
    kernel: Float[Tensor, "b l l"], label: Float[Tensor, "b l"], steps: int = _STEPS
) -> Expansion:
    """The minimum of each prompt, which must have both classes.

    Raises:
        ArithmeticError: if some prompt has not converged after so many steps.

    Returns:
        The weights and intercepts.
    """
    zero, place = torch.zeros_like(label), torch.arange(len(label), device=label.device)
    state = _State(place, kernel, label, zero, zero[:, 0], zero)
    found = Expansion(torch.empty_like(label), torch.empty_like(label[:, 0]))
    for _ in range(steps):
        state = _newton(state)
        found.weight[state.prompt], found.intercept[state.prompt] = state.weight, state.intercept
        unsolved = (~(state.residual.abs().amax(-1) <= _TOLERANCE)).nonzero()[:, 0]
        if 2 * len(unsolved) <= len(state.prompt):  # until then copies cost more than they save
            state = state.only(unsolved)
        if not len(unsolved):
            break
    refuse_unsolved("logistic", len(unsolved), len(label), steps)
    return found


def _newton(state: _State) -> _State:
    r"""One step, halved wherever the objective would not fall.

    With residual r and :math:`s = \sigma(f) \sigma(-f)`, the equations linearised at f are

    .. math:: (1 + S K)\, \delta a + s\, \delta c = r, \qquad \sum_i \delta a_i = 0

    The matrix :math:`B = 1 + S^{1/2} K S^{1/2}` has eigenvalues of at least 1, and with
    :math:`p = B^{-1} S^{1/2} K r` and :math:`q = B^{-1} S^{1/2} 1`

    .. math:: \delta a = r - S^{1/2} (p + q\, \delta c), \qquad
              \delta f = S^{-1/2} (p + q\, \delta c)

    Returns:
        The prompts at their new weights.
    """
    residual = state.residual
    root = (torch.sigmoid(state.score) * torch.sigmoid(-state.score)).sqrt().clamp(min=_LEAST)
    B = (state.kernel * root[:, :, None]).mul_(root[:, None])
    B.diagonal(dim1=1, dim2=2).add_(1)
    factor, _ = torch.linalg.cholesky_ex(B.mT)  # the same, as the library lays it out
    # K r, where K a is what the score says: so rounding in the score does not pile up.
    of_weight = state.score - state.intercept[:, None]
    lacking = einsum(state.kernel, state.implied, "b l other, b other -> b l") - of_weight
    p, q = torch.cholesky_solve(torch.stack([root * lacking, root], -1), factor).unbind(-1)
    intercept = (residual - root * p).sum(-1) / (root * q).sum(-1)
    change = p + q * intercept[:, None]
    return _downhill(state, residual - root * change, intercept, change / root)


def _downhill(
    state: _State,
    weight: Float[Tensor, "b l"],
    intercept: Float[Tensor, " b"],
    score: Float[Tensor, "b l"],
) -> _State:
    """The state after this step, or after such a part of it that the objective falls."""

    def after(share: Float[Tensor, " b"]) -> _State:
        return state._replace(
            weight=state.weight + share[:, None] * weight,
            intercept=state.intercept + share * intercept,
            score=state.score + share[:, None] * score,
        )

    limit = state.objective * (1 + _ROUNDING)
    share = torch.ones_like(intercept)
    for _ in range(_HALVINGS):
        there = after(share)
        excess = there.objective - limit
        rises = excess > 0
        if rises.any():
            rises &= excess > rounding(there.kernel, there.weight)
        if not rises.any():
            return there
        share = torch.where(rises, share / 2, share)
    return after(share)
