"""Modules that we did not write with the outputs of their submodules changed.

The module itself stays as it is.
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from torch import Tensor, nn

from tdlab.probes.hooks import Hooks, NoFastPath, handed_out, named_like, require_evaluation

Edit = Callable[[Tensor], Tensor]


def intervened(module: nn.Module, edits: Mapping[str, Edit], *inputs: Any, **named: Any) -> Any:
    """What the module makes of its inputs where the outputs of some submodules are replaced.

    ``edits`` maps names of submodules (``"h.0.mlp"``, or a pattern such as ``"h.*.attn"``) to
    functions of what they hand out: of its tensor, or of the first of several.

    Returns:
        The output of the module.

    Raises:
        TypeError: for what is no ``nn.Module``, edits that map no names to functions, and one that
            gives no tensor.
        ValueError: for a name that no submodule has, one with two edits, one that was not called,
            one that hands out no tensor, an edit that gives another shape or dtype, and a module in
            training mode.
    """
    require_evaluation(module)
    _require_edits(edits)
    wanted, edited = _by_name(module, edits), set[str]()

    def after(name: str, edit: Edit) -> Callable[..., Any]:
        def hook(_module: nn.Module, _args: object, output: Any) -> Any:
            first = handed_out(name, output, which=0)
            edited.add(name)
            return _with_first(output, _like(first, edit(first), name))

        return hook

    with Hooks() as hooks, NoFastPath():
        for name, edit in wanted.items():
            hooks.after(module.get_submodule(name), after(name, edit))
        output = module(*inputs, **named)
    if idle := [name for name in wanted if name not in edited]:
        raise ValueError(f"the edit of {idle[0]} touched no tensor: the module did not call it")
    return output


def _require_edits(edits: object) -> None:
    if not isinstance(edits, Mapping):
        kind = type(edits).__name__
        raise TypeError(f"edits are of type {kind}, but must map names of submodules to functions")
    if not edits:
        raise ValueError("the intervention touches nothing: there is no edit")
    for name, edit in edits.items():
        if not callable(edit):
            kind = type(edit).__name__
            raise TypeError(f"the edit of {name} is of type {kind}, but must be a function")


def _like(first: Tensor, changed: object, name: str) -> Tensor:
    """What an edit has made, which must be such a tensor as it was given."""
    if not isinstance(changed, Tensor):
        kind = type(changed).__name__
        raise TypeError(f"the edit of {name} gives what is of type {kind}, but must give a tensor")
    for made, given in (
        (tuple(changed.shape), tuple(first.shape)),
        (changed.dtype, first.dtype),
    ):
        if made != given:
            raise ValueError(f"the edit of {name} makes {made} of {given}")
    return changed


def _by_name(module: nn.Module, edits: Mapping[str, Edit]) -> dict[str, Edit]:
    """The edits by the names of submodules; ``ValueError`` where two are of the same one."""
    patterns: dict[str, str] = {}
    for pattern in edits:
        for name in named_like(module, pattern):
            if name in patterns:
                raise ValueError(
                    f"{name} has two edits, that of {patterns[name]!r} and that of {pattern!r}"
                )
            patterns[name] = pattern
    return {name: edits[pattern] for name, pattern in patterns.items()}


def _with_first(output: Any, first: Tensor) -> Any:
    """What a submodule hands out with another tensor, or with another first one of several."""
    if isinstance(output, Tensor):
        return first
    if isinstance(output, Mapping):
        changed: Any = copy(output)
        changed[next(iter(output))] = first
        return changed
    if hasattr(output, "_replace"):  # a tuple with names
        return output._replace(**{output._fields[0]: first})
    return type(output)((first, *output[1:]))
