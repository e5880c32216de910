"""What pruning keeps: masks over neurons and matrix entries, as values; the model is untouched."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from synthetic_tasks.threefry import require_key, uniforms
from synthetic_tasks.value import require_between, require_choice, require_count
from tdlab.probes.directions import Params, require_leaves
from tdlab.probes.masks import require_boolean

ORDERS = ("smallest", "random", "largest")


def keep(
    weights: Float[Tensor, "*a m d"],
    fraction: float,
    order: str = "smallest",
    key: Int[Tensor, " 2"] | None = None,
) -> Bool[Tensor, "*a m"]:
    """Which neurons stay when ``round(fraction * m)`` rows of ``weights`` are pruned.

    ``order`` says which go first, by Euclidean norm: the ``smallest``, the ``largest``, or
    ``random`` ones, drawn with ``key``.

    Returns:
        True for each row that stays.

    Raises:
        ValueError: for a fraction outside [0, 1], an unknown order, and a random one without a key.
    """
    require_between("fraction", fraction, 0, 1)
    _require_matrix(weights)
    require_choice("order", order, ORDERS)
    if order == "random":
        if key is None:
            raise ValueError(
                "order is 'random', which needs a key (synthetic_tasks.threefry.stream)"
            )
        require_key(key)
        score = uniforms(key.to(weights.device), tuple(weights.shape[:-1]), torch.float64)
    else:
        score = weights.norm(dim=-1) * (1 if order == "smallest" else -1)
    return _rank(score) >= round(fraction * weights.shape[-2])


def keep_entries(weights: Float[Tensor, "*a r c"], fraction: float) -> Bool[Tensor, "*a r c"]:
    """Which entries of each matrix stay when the ``fraction`` smallest in magnitude are pruned."""
    require_between("fraction", fraction, 0, 1)
    _require_matrix(weights)
    flat = weights.abs().flatten(-2)
    return (_rank(flat) >= round(fraction * flat.shape[-1])).unflatten(-1, weights.shape[-2:])


def pruned(params: Params, name: str, kept: Bool[Tensor, "*a"]) -> Params:
    """Zeroes the leaf ``name`` where it is not kept.

    The mask may have fewer axes than the leaf, and then covers all of what lies below its own: that
    of (layer, head) covers whole heads of a leaf (layer, head, width, feature), one over rows whole
    rows.

    Returns:
        New parameters; all other leaves are those given.

    Raises:
        TypeError: for a mask that is not boolean.
        ValueError: for a leaf that is not there, or a mask that does not fit it or is empty.
    """
    require_leaves(params, [name])
    require_boolean("the mask", kept)
    leaf = params[name]
    if not kept.numel() or kept.shape != leaf.shape[: kept.ndim]:
        raise ValueError(
            f"the mask has shape {tuple(kept.shape)}, but {name} has {tuple(leaf.shape)}: "
            "mask its first axes, or its entries"
        )
    stays = kept.reshape(*kept.shape, *[1] * (leaf.ndim - kept.ndim))
    return {**params, name: torch.where(stays, leaf, 0)}


def without_each(params: Params, name: str, axis: int, count: int) -> list[Params]:
    """The parameters without each of ``count`` blocks along an axis of a leaf: each head in turn.

    Returns:
        As many new parameters as there are blocks.

    Raises:
        ValueError: as ``mask_along``, and for a leaf that is not there.
    """
    require_leaves(params, [name])
    require_count("count", count, 1)
    blocks = ~torch.eye(count, dtype=torch.bool, device=params[name].device)
    return [pruned(params, name, mask_along(params[name], axis, kept)) for kept in blocks]


def mask_along(
    leaf: Float[Tensor, "..."], axis: int, kept: Bool[Tensor, " k"]
) -> Bool[Tensor, "..."]:
    """A mask over the entries of a leaf, one axis of which holds ``k`` equal blocks side by side.

    For weights of other people's modules: neurons may be columns, and heads are blocks of a joint
    matrix, the one that writes into the residual stream. An ``nn.Linear`` has them along axis 1
    (``out_proj.weight`` of ``nn.MultiheadAttention``, ``o_proj.weight`` of Llama), the ``Conv1D``
    of Hugging Face's GPT-2 along axis 0 (``attn.c_proj.weight``). Such a matrix may be square: the
    wrong axis is no error.

    Returns:
        A mask of the shape of the leaf.

    Raises:
        TypeError: unless ``kept`` is boolean.
        ValueError: where the axis is not there, or is no multiple of ``k``.
    """
    require_boolean("kept", kept)
    if not -leaf.ndim <= axis < leaf.ndim or not len(kept) or leaf.shape[axis] % len(kept):
        raise ValueError(
            f"a leaf of shape {tuple(leaf.shape)} has no {len(kept)} equal blocks along axis {axis}"
        )
    blocks = kept.repeat_interleave(leaf.shape[axis] // len(kept))
    return blocks.reshape([-1 if at == axis % leaf.ndim else 1 for at in range(leaf.ndim)]).expand(
        leaf.shape
    )


def _require_matrix(weights: Tensor) -> None:
    if weights.ndim < 2:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}, but the last two axes must be a matrix"
        )


def _rank(score: Tensor) -> Tensor:
    """Place of each entry along the last axis in increasing order; ties as they stand."""
    return score.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
