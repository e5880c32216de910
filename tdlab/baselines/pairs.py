r"""Sequential minimal optimisation of many prompts at once, each two weights at a time.

The pair is that of Fan, Chen and Lin (2005, JMLR 6, WSS 2), as in LIBSVM: i has room to rise and
the largest gradient; j has room to fall and promises the largest gain
:math:`(g_i - g_j)^2 / 2 D_{ij}`, where :math:`D_{ij} = K_{ii} + K_{jj} - 2 K_{ij}`. Then
:math:`a_i` rises and :math:`a_j` falls by :math:`t = (g_i - g_j) / D_{ij}`, or by what room there
is.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tdlab.baselines.dual import Dual
from tdlab.baselines.expansion import distance

_LEAST = 1e-12  # D of examples that are the same, as in LIBSVM


def nearness(kernel: Float[Tensor, "b l l"]) -> Float[Tensor, "b l l"]:
    r""":math:`D^{-1/2}`, by which the gain is a product."""
    return distance(kernel).clamp_(min=_LEAST).rsqrt_()


def pair_steps(
    state: Dual, near: Float[Tensor, "b l l"], moving: Float[Tensor, " b"], steps: int
) -> Dual:
    """So many pairs of each prompt; those where ``moving`` is 0 stay, as do those at the maximum.

    Returns:
        The prompts with new weights and gradients.
    """
    b, l = state.label.shape
    kernel, near = state.kernel.view(b * l, l), near.view(b * l, l)
    gradient, up, down = state.gradient.clone(), state.up.clone(), state.down.clone()
    first = torch.arange(0, b * l, l, device=gradient.device)  # of each prompt in a flat list
    # Subtracted over the room, it is infinite where there is none, and nothing elsewhere.
    barrier = torch.tensor(1e-300, dtype=gradient.dtype, device=gradient.device)
    rising, row, other = (torch.empty_like(gradient) for _ in range(3))
    for _ in range(steps):
        largest, i = torch.addcdiv(gradient, barrier, up, value=-1, out=rising).max(-1)
        row_i = first + i
        torch.index_select(near, 0, row_i, out=row)
        gain = torch.sub(largest[:, None], gradient, out=other).mul_(row)
        best, j = gain.addcdiv_(barrier, down, value=-1).max(-1)
        row_j = first + j
        step = best * row.view(-1).index_select(0, row_j)
        step = torch.minimum(step, up.view(-1).index_select(0, row_i))
        step = torch.minimum(step, down.view(-1).index_select(0, row_j)).clamp_(min=0).mul_(moving)
        torch.index_select(kernel, 0, row_i, out=row)
        torch.index_select(kernel, 0, row_j, out=other)
        gradient.addcmul_(row.sub_(other), step[:, None], value=-1)
        for room, its in ((up, -step), (down, step)):
            room.view(-1).index_add_(0, row_i, its).index_add_(0, row_j, its, alpha=-1)
    return state._replace(gradient=gradient, up=up, down=down)
