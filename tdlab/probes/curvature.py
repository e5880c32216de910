r"""Curvature of a risk L: the top of the spectrum of its Hessian H, and how its gradient varies.

A loss with kinks (ReLU, hinge) has the Hessian of the piece that the parameters lie on.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import grad, vjp

from synthetic_tasks.threefry import fold, normals
from synthetic_tasks.value import require_count
from tdlab.probes.directions import Params, length, require_alike, require_leaves
from tdlab.probes.landscape import MEMORY, Risk, over_points


class Spectrum(NamedTuple):
    """Eigenvalues of a Hessian, the largest first."""

    values: Float[Tensor, " count"]
    # |H u - value u| for the unit vector u found: an eigenvalue lies as close to the value.
    residuals: Float[Tensor, " count"]
    products: int  # of the Hessian with a vector


def hessian_vector(risk: Risk, params: Params) -> Callable[[Params], Params]:
    r""":math:`v \mapsto H v`: one gradient is recorded, each product is a pass back through it.

    Reverse over reverse, as the Hessian is symmetric: forward over reverse takes up to five times
    longer, and torch has one forward level for all threads.

    Returns:
        The product, of leaves with leaves.

    Raises:
        ValueError: where the risk is not a single number, or no function of the parameters.
    """
    back = vjp(_gradient(risk), params)[1]

    def product(vector: Params) -> Params:
        require_alike(params, vector)
        tangent = {name: vector[name] for name in params}  # transforms heed the order of names
        return back(tangent)[0]

    return product


@torch.no_grad()  # around the transforms, which differentiate nevertheless
def top_eigenvalues(
    risk: Risk,
    params: Params,
    count: int,
    key: Int[Tensor, " 2"],
    moving: Sequence[str] | None = None,
    tolerance: float = 1e-6,
    iterations: int = 300,
) -> Spectrum:
    r"""The ``count`` largest eigenvalues of the Hessian with respect to ``moving`` leaves (or all).

    Lanczos with full reorthogonalization, started from the normal vector of ``key``. With Q the
    orthonormal basis so far, :math:`H Q = Q T + \beta q e_k^\top`, so that an eigenvector s of the
    tridiagonal T gives the residual :math:`|\beta s_k|`. It stops when those of the wanted values
    are below ``tolerance`` times the largest \|eigenvalue of T\|, or after ``iterations`` products:
    then ``residuals`` say how far it came. It keeps that many vectors of the parameters' size.

    Largest means algebraically; the lowest ones are those of the risk's negative. A repeated
    eigenvalue may appear once only: the Krylov space of one vector contains one eigenvector of it,
    and no residual tells. Where that space is exhausted (H maps it into itself: a Hessian of low
    rank, a small model), further vectors are drawn until one adds nothing, and copies are found.

    Returns:
        Values, residuals and the number of products, in float64 on the CPU.

    Raises:
        ValueError: for a count above the dimension or above ``iterations``, a leaf that is not
            there, a risk that is no function of the parameters, or a Hessian that is not finite.
    """
    risk, leaves = _of(risk, params, moving)
    flat = _flat(leaves)
    require_count("count", count, 1)
    limit = min(iterations, len(flat))
    if count > limit:
        raise ValueError(
            f"count is {count}, but there are {len(flat)} parameters and {iterations} iterations"
        )
    product = hessian_vector(risk, leaves)
    known: Tensor | None = None  # the values when the space was last exhausted
    for values, residuals, exhausted in _lanczos(
        lambda vector: _flat(product(_like(leaves, vector))), flat, key, limit
    ):
        top, error = values[:count], residuals[:count]
        allowed = tolerance * values.abs().max()
        if exhausted:
            if known is not None and len(known) == count and (top - known <= allowed).all():
                break
            known = top
        elif known is None and len(values) >= count and (error <= allowed).all():
            break
    return Spectrum(top, error, len(values))


@torch.no_grad()
def gradient_variation(
    risk: Risk,
    params: Params,
    direction: Params,
    at: Float[Tensor, " t"],
    moving: Sequence[str] | None = None,
    memory: int = MEMORY,
) -> Float[Tensor, " t-1"]:
    r"""How fast the gradient changes along the segment :math:`\theta + t d`.

    .. math:: \lVert g(t_{i+1}) - g(t_i) \rVert \,/\, \bigl(\lVert d \rVert (t_{i+1} - t_i)\bigr)

    From below, the Lipschitz constant of the gradient there; on a quadratic exactly
    :math:`\lVert H d \rVert / \lVert d \rVert`. Gradients are those with respect to ``moving``
    leaves (or all), and those at all points are held at once.

    Returns:
        A ratio for each successive pair of ``at``.

    Raises:
        ValueError: for a zero direction, a leaf that is not there, a risk as ``hessian_vector``
            refuses it, or unless ``at`` increases.
    """
    if len(at) < 2 or (at.diff() <= 0).any():
        raise ValueError(f"the points {at.tolist()} must increase, and be at least two")
    size = length(direction)
    if not size:
        raise ValueError("the gradient does not vary along a direction of length zero")

    def gradient(point: Params) -> Tensor:
        risk_of_moving, leaves = _of(risk, point, moving)
        return _flat(_gradient(risk_of_moving)(leaves))

    gradients = over_points(gradient, params, [direction], at[:, None], memory)
    steps = (size * at.diff().to(size)).to(gradients)
    return gradients.diff(dim=0).norm(dim=-1) / steps


def _of(risk: Risk, params: Params, moving: Sequence[str] | None) -> tuple[Risk, Params]:
    """The risk as a function of the moving leaves alone, and these."""
    if moving is None:
        return risk, params
    require_leaves(params, moving)
    leaves = {name: params[name] for name in moving}
    return lambda moved: risk({**params, **moved}), leaves


def _gradient(risk: Risk) -> Callable[[Params], Params]:
    """``torch.func.grad``, which says where a risk that reads no parameter would have zeros."""

    def read(params: Params) -> Tensor:
        value = risk(params)
        if value.ndim:
            raise ValueError(
                f"the risk has shape {tuple(value.shape)}, but must be a single number"
            )
        # Of a copy, since a number from elsewhere would come with what it requires there.
        if not value.clone().requires_grad:
            raise ValueError(
                "the risk does not depend on the parameters that it is given: it reads others, or "
                "detaches what it makes of them"
            )
        return value

    return grad(read)


def _flat(params: Params) -> Tensor:
    return torch.cat([leaf.flatten() for leaf in params.values()])


def _like(params: Params, flat: Tensor) -> Params:
    """The numbers of a flat vector, as leaves of the shapes of ``params``."""
    parts = flat.split([leaf.numel() for leaf in params.values()])
    return {name: part.view_as(params[name]) for name, part in zip(params, parts, strict=True)}


def _lanczos(
    product: Callable[[Tensor], Tensor], like: Tensor, key: Tensor, limit: int
) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """After each product: all Ritz values, their residuals, and whether the space is exhausted."""
    basis = like.new_zeros(limit, len(like))
    diagonal: list[float] = []
    beside: list[float] = []  # the diagonal beside it
    lost: list[float] = []  # what H leads out of the basis, from each vector of it
    scale, exhausted = 0.0, True
    for k in range(limit):
        if exhausted:
            drawn = normals(fold(key, k), (len(like),), like.dtype).to(like.device)
            vector = _orthogonal(drawn, basis[:k])
        basis[k] = vector / vector.norm()
        image = product(basis[k])
        if not image.isfinite().all():
            raise ValueError(f"product {k + 1} of the Hessian with a vector is not finite")
        diagonal.append((basis[k] @ image).item())
        scale = max(scale, image.norm().item())
        vector = _orthogonal(image, basis[: k + 1])
        beta = vector.norm().item()
        # Where all but rounding is in the basis, to go on with that rounding would spoil it.
        exhausted = beta <= torch.finfo(like.dtype).eps ** (2 / 3) * scale
        yield *_ritz(diagonal, beside, [*lost, beta]), exhausted
        beside.append(0.0 if exhausted else beta)
        lost.append(beta if exhausted else 0.0)


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """What ``vector`` has besides the rows of ``basis``; twice, as the first pass rounds."""
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    return vector


def _ritz(diagonal: list[float], beside: list[float], lost: list[float]) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the tridiagonal matrix, the largest first, and their residuals."""
    main, off, out = (
        torch.tensor(entries, dtype=torch.float64) for entries in (diagonal, beside, lost)
    )
    values, vectors = torch.linalg.eigh(main.diag() + off.diag(1) + off.diag(-1))
    return values.flip(0), (out @ vectors.abs()).flip(0)
