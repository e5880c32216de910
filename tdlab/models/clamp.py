"""Attention that is held at a given pattern, whatever the model's own would be."""

from jaxtyping import Float
from torch import Tensor


def clamped(own: Float[Tensor, "*n"], clamp: Float[Tensor, "..."] | None) -> Float[Tensor, "*n"]:
    """Attention of a model, or of one of its layers, with a clamp in place of it.

    Returns:
        ``own`` where the clamp is NaN or there is none, else the clamp.

    Raises:
        ValueError: for a clamp of another shape.
    """
    if clamp is None:
        return own
    if clamp.shape != own.shape:
        raise ValueError(
            f"the clamp holds attention of shape {tuple(clamp.shape)}, but the model's own has "
            f"{tuple(own.shape)}"
        )
    return own.where(clamp.isnan(), clamp)


def of_each_layer(
    clamp: Float[Tensor, "layer ..."] | None, layers: int
) -> tuple[Float[Tensor, "..."] | None, ...]:
    """A clamp of so many layers taken apart.

    Returns:
        The clamp of each layer, none where there is none.

    Raises:
        ValueError: for a clamp of another number of layers.
    """
    if clamp is None:
        return (None,) * layers
    if len(clamp) != layers:
        raise ValueError(f"the clamp holds {len(clamp)} layers, but the model has {layers}")
    return clamp.unbind()
