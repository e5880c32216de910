"""How a model is made to show its attention, and what is wrong where it shows none.

Hooks stand on the model's submodules while it is called once, and are gone afterwards.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tdlab.probes import hugging_face
from tdlab.probes.captured import Captured
from tdlab.probes.hooks import Hooks, NoFastPath, handed_out, named_like

Found = dict[str, Tensor]


@torch.no_grad()
def watched(
    model: nn.Module,
    inputs: Sequence[Tensor],
    named: Mapping[str, Any],
    attention: Sequence[str] | None,
    activations: Sequence[str],
) -> Captured:
    """Calls the model and watches the named submodules, or where there are none those it knows.

    Where ``attention`` is ``None``, there is none to be shown.

    Returns:
        What they hand out, of an ``nn.MultiheadAttention`` the attention of each head.

    Raises:
        ValueError: where attention is hidden, missing, or has rows that do not sum to one, and for
            a name that was not called.
    """
    seen, kept = Found(), Found()
    by_itself = attention is not None and not attention  # which submodules is not said
    hugging = by_itself and hugging_face.is_model(model)
    asked = hugging_face.arguments(model) if hugging else {}
    kept_of, looked_at = _named(model, activations), _named(model, attention or ())
    if by_itself:
        looked_at = _of_torch(model)
    inner, said = hugging_face.inside(model) if by_itself else [], hugging_face.Said()
    with Hooks() as hooks, _NothingFused(type(model).__name__) if by_itself else NoFastPath():
        for name in kept_of:
            _keep(hooks, model, name, kept, which=0)
        for name in looked_at:
            _show(hooks, model, name, seen)
        for name in inner:
            hugging_face.hear(hooks, model, name, said)
        output = model(*inputs, **{**named, **asked})
    _require_called(model, kept_of, kept)
    if attention:
        _require_called(model, looked_at, seen)
    if hugging:
        seen = {**hugging_face.of_fields(model, output), **seen}
    hugging_face.require_handed_on(model, said, seen)
    if by_itself and not seen:
        why = "its output has no attentions" if hugging else "it called no nn.MultiheadAttention"
        raise ValueError(
            f"{type(model).__name__} has shown no attention: {why}; name by attention= the "
            "submodules that hand it out (what a forward keeps to itself nobody sees: make its "
            "softmax an nn.Softmax, or return attention beside the output), or None for "
            "activations alone"
        )
    for name, each in seen.items():
        _require_rows(name, each)
    return Captured(seen, kept, output)


def _named(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for pattern in patterns for name in named_like(model, pattern)))


def _of_torch(model: nn.Module) -> list[str]:
    """All of torch's own attention; raises where somebody has changed what it hands out."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            if not _is_torchs(module):
                raise ValueError(
                    f"{name or 'the model'} is a {type(module).__name__}, an nn.MultiheadAttention "
                    "with a forward of its own; name by attention= the submodules that hand out "
                    "attention, of each head"
                )
            found.append(name)
    return found


def _is_torchs(module: nn.Module) -> bool:
    return type(module).forward is nn.MultiheadAttention.forward


def _show(hooks: Hooks, model: nn.Module, name: str, found: Found) -> None:
    """Keeps the attention that a submodule hands out."""
    module = model.get_submodule(name)
    if isinstance(module, nn.MultiheadAttention) and _is_torchs(module):
        _show_heads(hooks, module, found, name or "attention")
    else:
        _keep(hooks, model, name, found, which=1)


def _keep(hooks: Hooks, model: nn.Module, name: str, found: Found, which: int) -> None:
    """Keeps what a submodule hands out; of several things the one at ``which``."""

    def hook(_module: nn.Module, _args: object, output: Any) -> None:
        _add(found, name, handed_out(name, output, which))

    hooks.after(model.get_submodule(name), hook)


def _show_heads(hooks: Hooks, module: nn.MultiheadAttention, found: Found, name: str) -> None:
    """Makes a module compute each head's attention, and hides it from who did not ask."""
    asked: list[tuple[bool, bool]] = []
    signature = inspect.signature(nn.MultiheadAttention.forward)

    def before(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = signature.bind(module, *args, **named)
        given.apply_defaults()
        asked.append((given.arguments["need_weights"], given.arguments["average_attn_weights"]))
        given.arguments |= {"need_weights": True, "average_attn_weights": False}
        _, *arguments = given.args
        return tuple(arguments), {}

    def after(_module: nn.Module, _args: object, output: tuple[Tensor, Tensor]) -> Any:
        mixed, heads = output
        _add(found, name, heads)
        wanted, averaged = asked.pop()
        if not wanted:
            return mixed, None
        return mixed, heads.mean(dim=-3) if averaged else heads

    hooks.before(module, before)
    hooks.after(module, after, first=True)  # other hooks see what was asked for


def _add(found: Found, name: str, each: Tensor) -> None:
    calls = sum(known.split(" (")[0] == name for known in found)
    # A copy, since what comes next may write into it, as nn.ReLU(inplace=True) does.
    found[f"{name} ({calls + 1})" if calls else name] = each.detach().clone()


_FUSED = ("scaled_dot_product", "native_multi_head_attention", "flex_attention")  # in torch's names


class _NothingFused(NoFastPath):
    """Refuses attention whose pattern is never there to be seen."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = getattr(func, "__name__", "")
        if any(fused in name for fused in _FUSED):
            raise ValueError(
                f"{self._model} calls {name}, which is fused and keeps no attention; it must "
                "multiply queries and keys itself while it is captured"
            )
        return super().__torch_function__(func, types, args, kwargs)


def _require_called(model: nn.Module, names: Sequence[str], found: Found) -> None:
    """Raises where a submodule that was named has handed out nothing."""
    if idle := [name for name in names if name not in found]:
        raise ValueError(f"{type(model).__name__} did not call {idle[0]}: there is nothing to keep")


def _require_rows(name: str, attention: Tensor) -> None:
    """Raises unless rows sum to one, up to rounding."""
    if attention.ndim < 3 or not attention.is_floating_point():
        raise ValueError(
            f"{name} has handed out {attention.dtype} of shape {tuple(attention.shape)}, but "
            "attention is (b, h, n, m)"
        )
    away = (attention.double().sum(-1) - 1).abs().max().item()
    what = f"rows of attention in {name}, of shape {tuple(attention.shape)},"
    if math.isnan(away):
        raise ValueError(f"{what} are no numbers: is there a token that sees nothing?")
    if away > max(1e-5, 4 * torch.finfo(attention.dtype).eps):
        raise ValueError(f"{what} miss the sum of one by {away:.3g}: is that its attention?")
