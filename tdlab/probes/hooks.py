"""Submodules of other people's modules: found by name, and looked at while they are called."""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from threading import get_ident
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Hook = Callable[..., Any]

_STARS = {"*": "[^.]*", "**": ".*"}


class Hooks(ExitStack[None]):
    """Hooks on submodules, which see the calls of their own thread and are gone at the end.

    Another thread may call, or watch, the same module meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()

    def before(self, module: nn.Module, hook: Hook) -> None:
        """Calls ``hook(module, args, named)``, which may give other arguments."""
        handle = module.register_forward_pre_hook(self._here(hook), with_kwargs=True)
        self.callback(handle.remove)

    def after(self, module: nn.Module, hook: Hook, *, first: bool = False) -> None:
        """Calls ``hook(module, args, output)``, which may give another output.

        It comes after the hooks that the module has, or ``first``.
        """
        self.callback(module.register_forward_hook(self._here(hook), prepend=first).remove)

    def _here(self, hook: Hook) -> Hook:
        return lambda *given: hook(*given) if get_ident() == self._thread else None


class NoFastPath(TorchFunctionMode):
    """While it is on, torch's encoder calls its submodules, and on tensors that are padded.

    Without gradients it may fuse a layer into one call, or put prompts into nested tensors, but not
    where somebody watches its operations.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        return func(*args, **(kwargs or {}))


def handed_out(name: str, output: Any, which: int) -> Tensor:
    """The tensor among what a submodule hands out, at ``which`` of several; or ``ValueError``."""
    several = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(several, tuple | list):
        several = several[which] if which < len(several) else None
    if not isinstance(several, Tensor):
        hint = "; of Hugging Face: set_attn_implementation('eager')" if several is None else ""
        raise ValueError(f"{name} has handed out {several!r} where a tensor was wanted{hint}")
    return several


def named_like(module: nn.Module, pattern: str) -> list[str]:
    """Submodules whose names match; ``*`` stands for anything without a dot, ``**`` for anything.

    Returns:
        Names in the order of the module.

    Raises:
        ValueError: where there is none.
    """
    names = [name for name, _ in module.named_modules() if name]
    wanted = _as_pattern(pattern)
    matching = [name for name in names if wanted.fullmatch(name)]
    if not matching:
        kind = type(module).__name__
        raise ValueError(f"{kind} has no submodule {pattern!r}{near(pattern, names)}")
    return matching


def near(name: str, known: list[str]) -> str:
    """The end of an error line about an unknown name; of the known ones there may be thousands."""
    further = _as_pattern(name)  # as of a model that stands inside another
    for other in known:
        for dot in re.finditer(r"\.", other):
            if further.fullmatch(other[dot.end() :]):
                return f"; did you mean {other[: dot.end()] + name!r}?"
    if found := get_close_matches(name, known, n=1):
        return f"; did you mean {found[0]!r}?"
    return f"; it has {len(known)}, such as {', '.join(known[:3])}"


def _as_pattern(name: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*?)", name)
    return re.compile("".join(_STARS.get(part, re.escape(part)) for part in parts))


def require_evaluation(module: object) -> None:
    """Raises unless it is a module, no part of which is in training mode."""
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"the model is a {type(module).__name__}, but must be an nn.Module; models of this "
            "laboratory are functions already, with attention in their trace: "
            "tdlab.models.over_prompts"
        )
    for name, part in module.named_modules():
        if part.training:
            where = f"{name} of {type(module).__name__}" if name else type(module).__name__
            raise ValueError(
                f"{where} is in training mode, where dropout makes it random; call the model's "
                "eval() first"
            )
