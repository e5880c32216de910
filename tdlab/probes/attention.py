"""Where attention goes: its mass on the relevant columns, by step and pattern, and its entropy."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tdlab.probes.masks import require_boolean


def concentration(
    attention: Float[Tensor, "*a l"], relevant: Bool[Tensor, "*b l"]
) -> Float[Tensor, "*c"]:
    r"""Attention mass on the relevant examples, :math:`c = \sum_{i \in R} \alpha_i`.

    The leading axes broadcast from the last one, so that attention over (layer, head, prompt) goes
    with examples over (prompt). Where heads come after prompts, as in a cache of (prompt, head), it
    is ``relevant[:, None]``: without that, prompts would be taken for heads, and where there are as
    many of either nothing could tell.

    Returns:
        A number for each of the leading axes, in [0, 1] where attention sums to at most one.

    Raises:
        TypeError: unless ``relevant`` is boolean.
        ValueError: where the axes do not fit.
    """
    _require_fit(attention, relevant, "relevant")
    return (attention * relevant).sum(-1)


def by_step_and_pattern(
    attention: Float[Tensor, "*a n"],
    same_step: Bool[Tensor, "*b n"],
    same_pattern: Bool[Tensor, "*b n"],
) -> Float[Tensor, "*c 2 2"]:
    """Attention mass by whether a column has the query's step, and the query's pattern.

    Returns:
        For each of the leading axes, rows (other step, same step) and columns (other pattern, same
        pattern); the four numbers sum to the attention's total.

    Raises:
        TypeError: unless both are boolean.
        ValueError: where the axes do not fit.
    """
    _require_fit(attention, same_step, "same_step")
    _require_fit(attention, same_pattern, "same_pattern")
    _require_fit(same_step, same_pattern, "same_pattern", "same_step")
    rows = [
        [concentration(attention, step & pattern) for pattern in (~same_pattern, same_pattern)]
        for step in (~same_step, same_step)
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def entropy(attention: Float[Tensor, "*a l"]) -> Float[Tensor, "*a"]:
    r""":math:`-\sum_i \alpha_i \log \alpha_i` in nats: 0 on one example, log l where uniform."""
    return -torch.xlogy(attention, attention).sum(-1)


def only(
    attention: Float[Tensor, "*b layer h n m"], heads: Bool[Tensor, "..."]
) -> Float[Tensor, "*b layer h n m"]:
    """A clamp that holds the attention of some heads, and leaves that of the others to the model.

    ``heads`` has the axes (layer, head). The models of this laboratory take the clamp as
    ``forward(params, prompt, mask, clamp)``, and take it as it is: rows need not sum to one.

    Returns:
        ``attention``, and NaN where a head is none of ``heads``.

    Raises:
        TypeError: unless ``heads`` is boolean.
        ValueError: where there is no such head, or the axes do not fit.
    """
    require_boolean("heads", heads)
    if attention.shape[-4:-2] != heads.shape:
        raise ValueError(
            f"attention has shape {tuple(attention.shape)}, heads {tuple(heads.shape)}, but must "
            "be (.., layer, h, n, m) and (layer, h)"
        )
    if not heads.any():
        raise ValueError("the clamp touches no head: none of `heads` is True")
    return attention.where(heads[..., None, None], math.nan)


def _require_fit(one: Tensor, mask: Tensor, name: str, other: str = "attention") -> None:
    require_boolean(name, mask)
    shapes = f"{other} has shape {tuple(one.shape)}, {name} {tuple(mask.shape)}"
    if not one.ndim or not mask.ndim or one.shape[-1] != mask.shape[-1]:
        raise ValueError(f"{shapes}: the last axis of both must be the context examples")
    pairs = zip(reversed(one.shape), reversed(mask.shape), strict=False)
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ValueError(f"{shapes}: the leading axes must be equal or broadcast")
