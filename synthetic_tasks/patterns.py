"""Orthogonal pattern dictionaries, and out-of-domain mixtures with a chosen coefficient sum."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from synthetic_tasks.threefry import is_plain, normals, uniforms


def dictionary(key: Int[Tensor, " 2"], count: int, width: int, norm: float) -> Float[Tensor, "j d"]:
    """``count`` orthogonal rows of length ``norm`` in a uniformly random orientation, float64."""
    if count > width:
        raise ValueError(f"{count} orthogonal patterns do not fit into {width} dimensions")
    return norm * _orthogonal(key, width)[:count]


def rotate(key: Int[Tensor, " 2"], patterns: Float[Tensor, "j d"]) -> Float[Tensor, "j d"]:
    """Another orthogonal dictionary with the same span and norm, uniformly random."""
    return _orthogonal(key, len(patterns)) @ patterns


def coefficients(size: int, coefficient_sum: float) -> Float[Tensor, " g"]:
    r"""Unit-norm mixture coefficients k of ``size`` patterns with :math:`\sum_i k_i = S_1`.

    .. math::
        k = \frac{S_1}{g} \mathbf 1 + \sqrt{1 - S_1^2 / g}\; v, \qquad v \perp \mathbf 1, |v| = 1,

    with v along :math:`e_1 - \mathbf 1 / g`; for pairs this is
    :math:`(S_1 \pm \sqrt{2 - S_1^2}) / 2`.

    Returns:
        The ``size`` = g coefficients in float64, the largest first.

    Raises:
        ValueError: outside the feasible range :math:`|S_1| \le \sqrt g`.
    """
    limit = math.sqrt(size)
    if not abs(coefficient_sum) <= limit or (size == 1 and abs(coefficient_sum) != 1):
        raise ValueError(
            f"coefficient_sum is {coefficient_sum}, but a unit mixture of {size} orthogonal "
            f"patterns has S_1 in [{-limit:.4g}, {limit:.4g}]"
            + (", its ends alone" if size == 1 else "")
        )
    even = torch.ones(size, dtype=torch.float64) / size
    odd = torch.nn.functional.normalize(torch.eye(size, dtype=torch.float64)[0] - even, dim=0)
    length = math.sqrt(max(0.0, 1 - coefficient_sum**2 / size))  # rounding, at the very ends
    return coefficient_sum * even + length * odd


def mixtures(
    patterns: Float[Tensor, "j d"], groups: Int[Tensor, "o g"], coefficient_sum: float
) -> Float[Tensor, "o d"]:
    r"""Out-of-domain patterns :math:`\mu'_o = \sum_i k_i \mu_{o_i}`, one for each disjoint group.

    Returns:
        One mixture a row; they are mutually orthogonal and as long as the patterns.

    Raises:
        ValueError: as ``coefficients`` does, and for groups that share a pattern.
    """
    if groups.unique().numel() != groups.numel():
        raise ValueError(f"groups are {groups.tolist()}, but no pattern may occur twice")
    k = coefficients(groups.shape[1], coefficient_sum).to(patterns.dtype)
    return torch.einsum("g, o g d -> o d", k, patterns[groups])


def random_pairs(key: Int[Tensor, " 2"], count: int) -> Int[Tensor, "o 2"]:
    """A uniformly random pairing of ``count`` patterns; of an odd count one is left out."""
    order = uniforms(key, (count,), torch.float64).argsort()
    return order[: count // 2 * 2].unflatten(0, (-1, 2))


def _orthogonal(key: Int[Tensor, " 2"], width: int) -> Float[Tensor, "d d"]:
    """A Haar-distributed orthogonal matrix."""
    return _known(tuple(key.tolist()), width).clone() if is_plain(key) else _haar(key, width)


@lru_cache(maxsize=256)  # (ours) many tasks share the patterns of their seeds
def _known(key: tuple[int, ...], width: int) -> Float[Tensor, "d d"]:
    return _haar(torch.tensor(key), width)


def _haar(key: Int[Tensor, " 2"], width: int) -> Float[Tensor, "d d"]:
    """QR of a Gaussian matrix, with the signs of R taken out."""
    q, r = torch.linalg.qr(normals(key, (width, width), torch.float64))
    return q * r.diagonal().sign()
