"""How far an answer moves: what a change of parameters costs where there is no target."""

from collections.abc import Callable

import torch
from torch import Tensor

from tdlab.probes.directions import Params
from tdlab.probes.landscape import Risk


@torch.no_grad()
def displacement(answer: Callable[[Params], Tensor], params: Params) -> Risk:
    r""":math:`\theta' \mapsto \lVert f(\theta') - f(\theta) \rVert / \lVert f(\theta) \rVert`.

    Of an answer f of any shape, on prompts of its own: it needs no target, and so no training.

    Returns:
        A function of parameters: 0 where nothing moves, 1 where as much moves as there is. ``line``
        and ``plane`` take it as a risk; at ``params`` it has a kink, and so no Hessian.

    Raises:
        ValueError: where the answer at ``params`` is zero, or not finite.
    """
    whole = answer(params)
    length = whole.norm()
    if not (length > 0 and length.isfinite()):
        raise ValueError(
            f"the answer has length {length.item()}, but must have one that others can be "
            "compared with"
        )
    return lambda other: (answer(other) - whole).norm() / length
