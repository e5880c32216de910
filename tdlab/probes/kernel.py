"""Guards worth showing with every run of a kernel: is it dead, what can it reach, what moves.

Axes: b sample, h head, n query token, m key token, d feature. Softmax saturates where its
``entropy`` is near 0; that is in ``tdlab.probes.attention``.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor


def row_sums(attention: Float[Tensor, "*a n m"]) -> Float[Tensor, "*a n"]:
    r""":math:`\sum_j S_{kj}`: near 0 for a dead Gaussian kernel, 1 for every row of a softmax."""
    return attention.sum(-1)


def stacked_features(
    attention: Float[Tensor, "*a b h n m"], tokens: Float[Tensor, "*a b m d"]
) -> Float[Tensor, "*a b*n h*d"]:
    r""":math:`B = [S_1 X, .., S_H X]`, the rows of all samples below each other.

    With S frozen, the layer is linear in what comes after it: its outputs are B times a matrix.

    Returns:
        A matrix with a row for each token of each sample, a column for each feature of each head.

    Raises:
        ValueError: where the axes do not fit.
    """
    shapes = f"attention has shape {tuple(attention.shape)}, tokens {tuple(tokens.shape)}"
    samples, keys = attention.shape[:-3], attention.shape[-1:]
    if attention.ndim < 4 or (*samples, *keys) != tokens.shape[:-1]:
        raise ValueError(f"{shapes}, but must be (.., b, h, n, m) and (.., b, m, d)")
    mixed = einsum(attention, tokens, "... b h n m, ... b m d -> ... b n h d")
    return rearrange(mixed, "... b n h d -> ... (b n) (h d)")


def smallest_singular_value(features: Float[Tensor, "*a r c"]) -> Float[Tensor, "*a"]:
    r""":math:`\sigma_{\min}(B)` over the rows: how well B reaches the target hardest to reach.

    It is the r-th singular value, so 0 where there are fewer columns than rows: then some targets
    are out of reach. Its square sets the rate of gradient descent on what follows B.

    Returns:
        A number for each matrix.
    """
    rows, columns = features.shape[-2:]
    if columns < rows:
        return features.new_zeros(features.shape[:-2])
    return torch.linalg.svdvals(features)[..., -1]


def gradient_norms(
    gradients: dict[str, Tensor], leading: int = 0
) -> dict[str, Float[Tensor, "*a"]]:
    """Frobenius norm of each leaf's gradient, by name.

    ``leading`` is how many first axes of every leaf (member, layer, head) keep a norm each; the
    norm is over all others.

    Returns:
        For each leaf a tensor with its ``leading`` first axes.

    Raises:
        ValueError: for a leaf with fewer axes.
    """
    for name, leaf in gradients.items():
        if leaf.ndim < leading:
            raise ValueError(f"{name} has {leaf.ndim} axes, so it cannot keep the first {leading}")
    # An axis of one at the end, so that a leaf with no other axes has something to sum over.
    return {name: leaf[..., None].flatten(leading).norm(dim=-1) for name, leaf in gradients.items()}
