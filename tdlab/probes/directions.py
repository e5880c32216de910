"""Directions in the space of all parameters, and where a point lies on the plane of two of them."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from synthetic_tasks.threefry import fold, normals

Params = dict[str, Tensor]


def filter_normalized(
    params: Params,
    key: Int[Tensor, " 2"],
    spans: Mapping[str, tuple[int, ...]] | None = None,
    moving: Sequence[str] | None = None,
) -> Params:
    r"""A random direction d whose filters have the norms of those of ``params``.

    .. math:: d_f = \lVert \theta_f \rVert \, g_f / \lVert g_f \rVert, \qquad g \sim N(0, 1)

    (Li, Xu, Taylor, Studer, Goldstein, "Visualizing the loss landscape of neural nets", NeurIPS
    2018), so that a step of one changes every filter f by its own size. By default a filter is the
    matrix of the last two axes (of one head, of one layer), and the whole of a vector. Not a
    column, as in a convolution: replacing W_Q, W_K by W_Q R, W_K R, and W_V, W_O by W_V R, R^T W_O,
    with any rotation R of the inner axis of a head, leaves the model as it is but gives its columns
    other norms; the Frobenius norm of the matrix stays.

    ``spans`` gives, for a leaf, the axes that a filter extends over; the other axes count the
    filters: ``{"W_1": (-2,)}`` for the weights into each hidden unit where x W_1 is what it reads.

    The leaf at place i of the sorted names is drawn with ``fold(key, i)``, on the key's device.

    Returns:
        The direction; zero in a leaf that is not in ``moving`` (by default all are), and in a
        filter whose norm is zero.

    Raises:
        ValueError: for a leaf that is not there, or a span without an axis.
    """
    spans = spans or {}
    chosen = params.keys() if moving is None else moving
    require_leaves(params, [*spans, *chosen])
    return {
        name: _filters_like(leaf, fold(key, place), spans.get(name))
        if name in chosen
        else torch.zeros_like(leaf)
        for place, (name, leaf) in enumerate(sorted(params.items()))
    }


def between(start: Params, end: Params) -> Params:
    """The direction that leads from ``start`` to ``end`` in a step of one."""
    require_alike(start, end)
    return {name: end[name] - leaf for name, leaf in start.items()}


def orthogonalized(direction: Params, against: Params) -> Params:
    r"""What ``direction`` (d) has besides ``against`` (a): :math:`d - (d \cdot a / a \cdot a)\, a`.

    The length is not restored, so that the plane of a and the result has the end of d at second
    coordinate one: with a and d leading from one start to the ends of two runs, both ends lie on
    it, at (1, 0) and (d.a / a.a, 1).

    Returns:
        A direction at a right angle to ``against``.

    Raises:
        ValueError: where either is zero, or the two are parallel up to rounding.
    """
    require_alike(against, direction)
    whole, other = length(direction), length(against)
    if not whole or not other:
        raise ValueError("a direction of length zero spans no plane")
    share = inner(direction, against) / other.square()
    rest = {name: leaf - share.to(leaf) * against[name] for name, leaf in direction.items()}
    if length(rest) <= _rounding(direction) * whole:
        raise ValueError("the two directions are parallel, so they span no plane")
    return rest


def coordinates(
    params: Params, origin: Params, first: Params, second: Params
) -> Float[Tensor, " 2"]:
    """Where ``params``, a point of a path, projects onto the plane of two directions at ``origin``.

    The two need not be at a right angle. A path is drawn at its shadow: its loss there need not be
    its own.

    Returns:
        The multiples of ``first`` and of ``second``, in float64.

    Raises:
        ValueError: where the two directions span no plane.
    """
    orthogonalized(second, first)  # refuses what spans no plane
    away = between(origin, params)
    axes = (first, second)
    gram = torch.stack([torch.stack([inner(a, b) for b in axes]) for a in axes])
    return torch.linalg.solve(gram, torch.stack([inner(a, away) for a in axes]))


def inner(one: Params, other: Params) -> Float[Tensor, ""]:
    """Inner product over all parameters, in float64."""
    require_alike(one, other)
    products = [(leaf.double() * other[name].double()).sum() for name, leaf in one.items()]
    return torch.stack(products).sum()


def length(direction: Params) -> Float[Tensor, ""]:
    """Euclidean norm over all parameters, in float64."""
    return inner(direction, direction).sqrt()


def require_alike(params: Params, other: Params) -> None:
    """Raises one line unless both have the same leaves, of the same shapes."""
    if not params or params.keys() != other.keys():
        raise ValueError(f"leaves are {', '.join(params)} in one, {', '.join(other)} in the other")
    for name, leaf in params.items():
        if leaf.shape != other[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(leaf.shape)} in one, {tuple(other[name].shape)} in the "
                "other"
            )


def require_leaves(params: Params, names: Sequence[str]) -> None:
    """Raises one line unless ``params`` has all these leaves."""
    if isinstance(names, str):
        raise TypeError(f"names are {names!r}, but must be several, such as [{names!r}]")
    if strange := [name for name in names if name not in params]:
        raise ValueError(f"there is no parameter {strange[0]!r}; there are: {', '.join(params)}")


def _filters_like(leaf: Tensor, key: Tensor, span: tuple[int, ...] | None) -> Tensor:
    axes = tuple(range(-min(leaf.ndim, 2), 0)) if span is None else span
    if leaf.ndim and not axes:
        raise ValueError("a filter must extend over at least one axis")
    drawn = normals(key, (leaf.numel(),), leaf.dtype).reshape(leaf.shape).to(leaf.device)
    sizes = [
        torch.linalg.vector_norm(part, dim=axes or None, keepdim=True) for part in (leaf, drawn)
    ]
    return drawn * (sizes[0] / sizes[1])


def _rounding(direction: Params) -> float:
    """Share of a length that may be nothing but rounding."""
    return max(torch.finfo(leaf.dtype).eps for leaf in direction.values()) ** 0.5
