"""How models of Hugging Face are made to show their attention, alone and inside one another.

They are known by their classes' names, so that nothing needs to be installed.
"""

import inspect
from typing import Any

from torch import Tensor, nn

from tdlab.probes.hooks import Hooks

Said = dict[str, list[Tensor | None]]  # what models inside another say of their attention

_FIELDS = ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions")


def is_model(model: nn.Module) -> bool:
    """Whether a module is one of theirs."""
    return any(kind.__name__ == "PreTrainedModel" for kind in type(model).__mro__)


def inside(model: nn.Module) -> list[str]:
    """All models of Hugging Face inside this one."""
    return [name for name, each in model.named_modules() if name and is_model(each)]


def arguments(model: nn.Module) -> dict[str, Any]:
    """The arguments that make a model hand out attention; raises where they would not."""
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        way = getattr(config, "_attn_implementation", None)
        if way not in {None, "eager"}:
            raise ValueError(
                f"{name or type(model).__name__} has attn_implementation {way!r}, which keeps no "
                "attention; call set_attn_implementation('eager') on the model first"
            )
    asked: dict[str, Any] = {"output_attentions": True, "return_dict": True}
    takes_cache = "use_cache" in inspect.signature(model.forward).parameters
    return asked | ({"use_cache": False} if takes_cache else {})


def of_fields(model: nn.Module, output: Any) -> dict[str, Tensor]:
    """The attention in a model's output, by field and layer; raises where one of them has none."""
    found = {}
    for field in _FIELDS:
        for place, each in enumerate(getattr(output, field, None) or ()):
            if each is None:
                raise ValueError(
                    f"{type(model).__name__} has handed out no attention in layer {place} of its "
                    f"{field}"
                )
            found[f"{field}.{place}"] = each
    return found


def hear(hooks: Hooks, model: nn.Module, name: str, said: Said) -> None:
    """Keeps what a model of Hugging Face inside this one says of its attention."""

    def hook(_module: nn.Module, _args: object, output: Any) -> None:
        if hasattr(output, "attentions"):  # what has no attention has no such field
            said.setdefault(name, []).extend(output.attentions or [None])

    hooks.after(model.get_submodule(name), hook)


def require_handed_on(model: nn.Module, said: Said, seen: dict[str, Tensor]) -> None:
    """Raises where a model inside this one has attention that does not come out of this one."""
    known = {id(each) for each in seen.values()}
    for name, its in said.items():
        if any(id(each) not in known for each in its):
            raise ValueError(
                f"{name} of {type(model).__name__} is a Hugging Face model whose attention does "
                "not come out of the whole; capture it by itself, or name the submodules that "
                "hand it out by attention="
            )
