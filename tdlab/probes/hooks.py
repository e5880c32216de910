"""Submodules of other people's modules: found by name, and looked at while they are called."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from difflib import get_close_matches
from threading import get_ident
from typing import Any

from torch import nn

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


def named_like(module: nn.Module, pattern: str) -> list[str]:
    """Submodules whose names match; ``*`` stands for anything without a dot, ``**`` for anything.

    Returns:
        Names in the order of the module.

    Raises:
        ValueError: where there is none.
    """
    names = [name for name, _ in module.named_modules() if name]
    parts = re.split(r"(\*\*?)", pattern)
    wanted = re.compile("".join(_STARS.get(part, re.escape(part)) for part in parts))
    matching = [name for name in names if wanted.fullmatch(name)]
    if not matching:
        kind = type(module).__name__
        raise ValueError(f"{kind} has no submodule {pattern!r}{near(pattern, names)}")
    return matching


def near(name: str, known: list[str]) -> str:
    """The end of an error line about an unknown name; of the known ones there may be thousands."""
    further = [other for other in known if other.endswith(f".{name}")]  # where it stands deeper
    if found := further[:1] or get_close_matches(name, known, n=1):
        return f"; did you mean {found[0]!r}?"
    return f"; it has {len(known)}, such as {', '.join(known[:3])}"


def require_evaluation(module: nn.Module) -> None:
    """Raises ``ValueError`` where the module, or a part of it, is in training mode."""
    for name, part in module.named_modules():
        if part.training:
            where = f"{name} of {type(module).__name__}" if name else type(module).__name__
            raise ValueError(
                f"{where} is in training mode, where dropout makes it random; call the model's "
                "eval() first"
            )
