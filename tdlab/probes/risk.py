"""Risk of any model that maps a prompt to a number."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from tdlab.losses import hinge


def risk(
    forward: Callable[[dict[str, Tensor], Tensor], Tensor],
    params: dict[str, Tensor],
    prompt: Float[Tensor, "b ..."],
    target: Float[Tensor, " b"],
    loss: Callable[[Tensor, Tensor], Tensor] = hinge,
) -> Float[Tensor, " b"]:
    """The loss of ``forward(params, prompt)``, a model's output for one prompt, on each of many.

    A distribution shift is prompts of another task. ``tdlab.statistics`` has the intervals.

    Returns:
        The loss on each prompt, not averaged.

    Raises:
        ValueError: unless there is one output for each target.
    """
    output = vmap(forward, (None, 0))(params, prompt)
    if output.shape != target.shape:  # (b, 1) against (b,) would broadcast to every pair
        raise ValueError(
            f"forward gives outputs of shape {tuple(output.shape)}, targets have "
            f"{tuple(target.shape)}: one output for each target"
        )
    return loss(output, target)
