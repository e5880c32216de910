"""What a model answers: a greedy chain of thought, or the final output in one shot.

A chain of thought starts from the query alone and feeds every answer back: v_k, the pattern nearest
to the model's output, completes the last column, and the next query column begins with it. The
model is a callable, so that it need not be ours, and its prompt comes in two parts: the context,
which many chains may share, and the chain's own columns, the query last::

    answer(context, chain, mask) -> trace with ``output`` (d) and ``attention`` (all columns but the
                                    query: those of the context, then the chain's earlier ones)

One prompt at a time; ``torch.func.vmap`` makes many. Axes: c context column, k step, j pattern.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

Answer = Callable[[Tensor, Tensor, Tensor], Any]


class Chain(NamedTuple):
    """The steps that a model takes."""

    patterns: Int[Tensor, "*b k"]  # v_1 .. v_K, as rows of the dictionary
    looked: tuple[Float[Tensor, "..."], ...]  # the attention of each step, over all columns so far

    @property
    def attention(self) -> Float[Tensor, "*b k n"]:
        """At each step over the context and then the chain's earlier columns, 0 for later ones."""
        columns = self.looked[-1].shape[-1]
        padded = [pad(each, (0, columns - each.shape[-1])) for each in self.looked]
        return torch.stack(padded, dim=-2)


def chain_of_thought(
    answer: Answer,
    context: Float[Tensor, "c d"],
    query: Float[Tensor, " d"],
    mask: Bool[Tensor, " c"],
    dictionary: Float[Tensor, "j x"],
    codes: Float[Tensor, "k x"],
) -> Chain:
    """Greedy inference over as many steps as there are ``codes``.

    ``query`` is the first column, (x_query + c_1; 0); later ones are (v_k + c_{k+1}; 0).

    Returns:
        The pattern that each step arrived at, and where each step looked.

    Raises:
        ValueError: where the widths do not fit.
    """
    _require_halves(context, query, dictionary)
    if not len(codes) or codes.shape[-1] != dictionary.shape[-1]:
        raise ValueError(
            f"codes have shape {tuple(codes.shape)}, but must be at least one, each of "
            f"{dictionary.shape[-1]} entries"
        )
    chain, found, looked = query[None], [], []
    for k in range(len(codes)):
        trace = answer(context, chain, mask)
        found.append(nearest(trace.output, dictionary))
        looked.append(trace.attention)
        if k + 1 < len(codes):
            v = dictionary.index_select(0, found[-1].clamp(min=0)[None])
            told = torch.cat([chain[-1:, : v.shape[-1]], v], dim=-1)
            asked = torch.cat([v + codes[k + 1], torch.zeros_like(v)], dim=-1)
            chain = torch.cat([chain[:-1], told, asked])
    return Chain(torch.stack(found), tuple(looked))


def in_context(
    answer: Answer,
    context: Float[Tensor, "c d"],
    query: Float[Tensor, " d"],
    mask: Bool[Tensor, " c"],
    dictionary: Float[Tensor, "j x"],
) -> Int[Tensor, ""]:
    """The pattern nearest to the one answer to ``query``; the context shows final outputs only."""
    _require_halves(context, query, dictionary)
    return nearest(answer(context, query[None], mask).output, dictionary)


def final_outputs_only(
    context: Float[Tensor, "*b c d"], codes: Float[Tensor, "*b k x"]
) -> Float[Tensor, "*b c d"]:
    r"""The examples without their reasoning, :math:`E_i = [x_i, 0, .., 0;\ y_{i,K}, 0, .., 0]`.

    Returns:
        A context of the same shape: each example keeps its K columns and their position codes.

    Raises:
        ValueError: unless the context has K columns an example.
    """
    steps, width = codes.shape[-2:]
    if context.ndim < 2 or context.shape[-2] % steps or context.shape[-1] != 2 * width:
        raise ValueError(
            f"a context of shape {tuple(context.shape)} does not consist of examples with "
            f"{steps} columns of {2 * width} entries"
        )
    examples = context.unflatten(-2, (-1, steps))
    # Each example in one row, of which long pieces are joined.
    rest = pad(codes[..., None, 1:, :], (0, width)).flatten(-2)
    rest = rest.expand(*examples.shape[:-2], -1)
    shown = torch.cat([examples[..., 0, :width], examples[..., -1, width:], rest], dim=-1)
    return shown.unflatten(-1, (steps, -1)).flatten(-3, -2)


def nearest(output: Float[Tensor, "*b x"], dictionary: Float[Tensor, "j x"]) -> Int[Tensor, "*b"]:
    """Which row of the dictionary lies nearest to the output; -1 where the output is NaN."""
    # |F - mu|^2 = |F|^2 - 2 F . mu + |mu|^2, of which the first is the same for all.
    away = dictionary.square().sum(-1) - 2 * output @ dictionary.T
    return torch.where(output.isnan().any(-1), -1, away.argmin(-1))


def mistakes(
    patterns: Shaped[Tensor, "*a k"], truth: Shaped[Tensor, "*b k"]
) -> Float[Tensor, "*c k"]:
    """Where a chain went wrong, step by step; leading axes broadcast.

    Returns:
        1 where a step arrived at a wrong pattern, else 0; the mean over steps is the error of the
        chain, the last step's that of the final answer.
    """
    if patterns.shape[-1] != truth.shape[-1]:
        raise ValueError(
            f"{patterns.shape[-1]} steps were taken, but the truth has {truth.shape[-1]}"
        )
    return (patterns != truth).float()


def _require_halves(context: Tensor, query: Tensor, dictionary: Tensor) -> None:
    width = dictionary.shape[-1]
    for name, columns in (("the query", query), ("the context", context)):
        if columns.shape[-1] != 2 * width:
            raise ValueError(
                f"{name} has columns of {columns.shape[-1]} entries, but with patterns of {width} "
                f"they must have {2 * width}"
            )
