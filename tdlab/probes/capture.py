"""Attention and activations of models that we did not write, as plain tensors.

Axes: b prompt, h head, n query token, m key token. A model that would hand out no attention, such
as one whose attention is fused, is refused with what would be right; rows that do not sum to one
are, too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from synthetic_tasks.value import require_count
from tdlab.probes.captured import Captured
from tdlab.probes.hooks import require_evaluation
from tdlab.probes.watching import watched

AT_ONCE = 32  # (ours) prompts that are captured together where a probe reduces them


Probe = Callable[[Captured], Any]


def capture(
    model: nn.Module,
    *inputs: Tensor,
    attention: str | Sequence[str] | None = (),
    activations: str | Sequence[str] = (),
    probe: Probe | None = None,
    at_once: int = AT_ONCE,
    prompt_axis: int | Mapping[str, int] = 0,
    shared: Mapping[str, Any] | None = None,
    **named: Any,
) -> Any:
    """Attention of every layer of a model on prompts, and activations where asked for.

    Of a Hugging Face model it is what ``output_attentions`` gives, of other modules that of every
    ``nn.MultiheadAttention``. Where a model computes attention in some other way, ``attention``
    names the submodules that hand it out (as their output, as an ``nn.Softmax`` does, or as the
    second of several); it is ``None`` where only activations are wanted. ``activations`` names
    submodules whose outputs are kept. Names may be patterns, such as ``"h.*.mlp.act"``, in which
    ``*`` stands for anything without a dot and ``**`` for anything.

    The model is called as ``model(*inputs, **named, **shared)`` and computes what it would without
    being looked at, but for tokens of padding, at which torch's encoder writes zeros where nobody
    looks and no gradient is recorded, as here. What nobody can see is attention in the midst of a
    ``forward``, from a plain softmax: beside an ``nn.MultiheadAttention`` it goes unnoticed.

    With a ``probe``, a function from ``Captured`` to tensors with a leading prompt axis (in any
    dictionary or tuple), prompts are captured ``at_once`` at a time, so that memory does not grow
    with their number; ``Captured.prompts`` says which these are. Then ``inputs`` and the tensors of
    ``named`` have prompts along ``prompt_axis``, or along what it says of their names (0 where it
    says nothing); what has none goes into ``shared``. Of an ``nn.TransformerEncoder`` that is not
    ``batch_first``, ``capture(encoder, src=x, src_key_padding_mask=mask, prompt_axis={"src": 1})``.

    Returns:
        What was captured, or what the probe made of it, for all prompts.

    Raises:
        TypeError: for a model that is no ``nn.Module``.
        ValueError: where the model shows no attention or hides some of it, is in training mode, or
            has rows that do not sum to one; for an unknown name, and a number of prompts that
            differs between the inputs.
    """
    require_evaluation(model)

    def at(inputs: Sequence[Tensor], named: Mapping[str, Any]) -> Captured:
        names = (None if attention is None else _several(attention), _several(activations))
        return watched(model, inputs, {**named, **(shared or {})}, *names)

    if probe is None:
        return at(inputs, named)
    require_count("at_once", at_once, 1)
    axis = _axes(named, prompt_axis)
    count = _prompts(inputs, named, axis)
    # The first by itself: where a probe's leading axis is another, one of its sizes shows it.
    blocks = [
        range(1),
        *(range(1, count)[at : at + at_once] for at in range(0, count - 1, at_once)),
    ]
    found = []
    for block in blocks:
        its = (
            [_part(each, axis[""], block) for each in inputs],
            {name: _part(each, axis[name], block) for name, each in named.items()},
        )
        place = slice(block.start, block.stop)
        # What was captured of a block is gone before the next one is there.
        found.append(_own(probe(at(*its)._replace(prompts=place)), len(block)))
    return tree_map(lambda *parts: torch.cat(parts), *found)


def _axes(named: Mapping[str, Any], prompt_axis: int | Mapping[str, int]) -> dict[str, int]:
    """Where each named argument has its prompts; those without a name are under an empty one."""
    if not isinstance(prompt_axis, Mapping):
        return dict.fromkeys(["", *named], prompt_axis)
    if strange := [name for name in prompt_axis if name not in named]:
        raise ValueError(
            f"prompt_axis names {strange[0]!r}, but the arguments with a name are "
            f"{', '.join(named) or 'none'}"
        )
    return {"": 0, **dict.fromkeys(named, 0), **prompt_axis}


def _part(each: Any, axis: int, block: range) -> Any:
    return each.narrow(axis, block.start, len(block)) if isinstance(each, Tensor) else each


def _own(reduced: Any, size: int) -> Any:
    """What a probe made of a block, without views, which would keep all that was captured."""
    for leaf in tree_leaves(reduced):
        if not isinstance(leaf, Tensor) or leaf.shape[:1] != (size,):
            made = tuple(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf)
            raise ValueError(
                f"the probe has made {made} of {size} prompts, but must make tensors whose first "
                "axis is theirs"
            )
    return tree_map(torch.clone, reduced)


def _several(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names


def _prompts(inputs: Sequence[Tensor], named: Mapping[str, Any], axis: dict[str, int]) -> int:
    tensors = [(each, axis[""]) for each in inputs]
    tensors += [(each, axis[name]) for name, each in named.items() if isinstance(each, Tensor)]
    counts = {each.shape[at] if each.ndim > at else 0 for each, at in tensors}
    if len(counts) != 1 or not min(counts):
        along = ", ".join(map(str, sorted({at for _, at in tensors})))
        raise ValueError(
            f"inputs have {sorted(counts)} prompts along axis {along}, but must have equally many; "
            "prompt_axis says where, and what is the same for all prompts goes into `shared`"
        )
    return counts.pop()
