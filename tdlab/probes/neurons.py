"""What neurons learn: the rows of W_O W_V, their feature and label parts, and angles of these."""

import torch
from jaxtyping import Float
from torch import Tensor


def rows(
    output: Float[Tensor, "*a m v"], value: Float[Tensor, "*a v d"]
) -> Float[Tensor, "*a m d"]:
    r"""The rows :math:`r_i` of :math:`W_O W_V`: what each neuron reads from the attended token."""
    shapes = f"W_O has shape {tuple(output.shape)}, W_V {tuple(value.shape)}: "
    if min(output.ndim, value.ndim) < 2 or output.shape[-1] != value.shape[-2]:
        raise ValueError(
            f"{shapes}the last axis of the first must be the last but one of the second"
        )
    if output.shape[:-2] != value.shape[:-2]:
        raise ValueError(f"{shapes}the leading axes must be equal")
    return torch.einsum("... m v, ... v d -> ... m d", output, value)


def parts(
    neurons: Float[Tensor, "*a m d"], width: int
) -> tuple[Float[Tensor, "*a m x"], Float[Tensor, "*a m y"]]:
    """Feature part (the first ``width`` = d_X entries) and label part (the rest) of each row."""
    if not 0 < width < neurons.shape[-1]:
        raise ValueError(
            f"width is {width}, but must cut rows of {neurons.shape[-1]} entries in two"
        )
    return neurons[..., :width], neurons[..., width:]


def angle(vectors: Float[Tensor, "*a d"], direction: Float[Tensor, "*b d"]) -> Float[Tensor, "*c"]:
    """Angle between each vector and a direction; leading axes broadcast.

    Computed from the chord between the unit vectors, which keeps its precision near 0 and 180
    degrees, where the inverse cosine loses it.

    Returns:
        Degrees in [0, 180]; NaN for a zero vector, which has no direction.
    """
    shapes = f"vectors have shape {tuple(vectors.shape)}, direction {tuple(direction.shape)}: "
    if vectors.shape[-1:] != direction.shape[-1:] or not vectors.ndim:
        raise ValueError(f"{shapes}the last axis of both must be the features")
    pairs = zip(reversed(vectors.shape), reversed(direction.shape), strict=False)
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ValueError(f"{shapes}the leading axes must be equal or broadcast")
    one = vectors / vectors.norm(dim=-1, keepdim=True)
    other = direction / direction.norm(dim=-1, keepdim=True)
    return torch.rad2deg(2 * torch.atan2((one - other).norm(dim=-1), (one + other).norm(dim=-1)))
