r"""The maximum over the free weights of a support vector machine, all others held on their bounds.

With F the free examples, :math:`K_{FF}\, \delta + c = g_F` and :math:`\sum_F \delta_i = 0`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tdlab.baselines.dual import Dual

_RIDGE = 1e-10  # of the kernel's mean diagonal: then a face without a maximum leads far out of it


def face_step(state: Dual) -> tuple[Dual, Bool[Tensor, " b"]]:
    """Each prompt's step to the maximum over its face, or to the first bound on the way.

    Returns:
        The prompts at their new weights, and which of them met no bound.
    """
    step = _newton(state)
    room = torch.where(step > 0, state.up, state.down)
    share, first = (room / step.abs()).masked_fill(step == 0, torch.inf).min(-1)
    arrived = ~(share <= 1)
    step = step * share.clamp(max=1)[:, None]
    up, down = (state.up - step).clamp_(min=0), (state.down + step).clamp_(min=0)
    place = torch.arange(step.shape[-1], device=step.device)
    stopped = (place == first[:, None]) & ~arrived[:, None]
    up.masked_fill_(stopped & (step > 0), 0)
    down.masked_fill_(stopped & (step < 0), 0)
    return state.moved(up, down), arrived


def _newton(state: Dual) -> Float[Tensor, "b l"]:
    """The step to the maximum over the face, bounds or not; 0 outside the face."""
    face, order = _face(state.free)
    b, l = state.label.shape
    first = torch.arange(0, b * l, l, device=order.device)[:, None]
    rows = state.kernel.view(b * l, l).index_select(0, (first + order).flatten())
    k = order.shape[-1]
    kernel = rows.view(b, k, l).gather(2, order[:, None].expand(b, k, k))
    size = state.kernel.diagonal(dim1=1, dim2=2).mean(-1)[:, None]
    # The step sums to 0, so a constant on top of the kernel changes nothing and conditions it.
    matrix = (kernel + size[..., None]).mul_(face[:, :, None]).mul_(face[:, None])
    matrix.diagonal(dim1=1, dim2=2).add_(1 - face + _RIDGE * size)
    factor, _ = torch.linalg.cholesky_ex(matrix.mT)  # the same, as the library lays it out
    sides = torch.stack([face * state.gradient.gather(1, order), face], -1)
    of_gradient, of_one = torch.cholesky_solve(sides, factor).unbind(-1)
    c = of_gradient.sum(-1) / of_one.sum(-1)
    # Fewer than two free weights cannot move.
    step = (of_gradient - of_one * c[:, None]).where(face.sum(-1, keepdim=True) > 1, 0.0)
    return torch.zeros_like(state.gradient).scatter_(1, order, step)


def _face(free: Bool[Tensor, "b l"]) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"]]:
    """The free examples first, as many as the prompt with the most of them has, and which are."""
    most = int(free.sum(-1).max())
    order = free.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    return free.gather(1, order).double(), order
