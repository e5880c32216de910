"""Modules that we did not write: as pure functions of their parameters, and with outputs changed.

The module itself stays as it is.
"""

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from tdlab.probes.directions import Params
from tdlab.probes.hooks import (
    Hooks,
    NoFastPath,
    handed_out,
    named_like,
    near,
    require_evaluation,
    with_first,
)

Forward = Callable[..., Any]
Edit = Callable[[Tensor], Tensor]

_OPEN = RLock()  # ``sdpa_kernel`` sets what the whole process has


def functional(module: nn.Module) -> tuple[Forward, Params]:
    """The module as a function ``forward(params, *inputs, **named)``, and its parameters.

    Parameters are copies, and may be batched, pruned, moved along a direction and differentiated
    twice, while the module keeps its own, and its buffers. Attention is computed in the open,
    because the fused one has no second derivative on a CPU. Of parameters that are left out, the
    copies count; of those that are tied, the first name does.

    Returns:
        The function, and the parameters by their names, without gradients.

    Raises:
        ValueError: for a module in training mode, whose dropout would be random, from the function
            too; and from the function, for a parameter that the module does not have, one of
            another shape, and where none of those that were changed is read.
    """
    require_evaluation(module)
    own = {name: leaf.detach().clone() for name, leaf in module.named_parameters()}

    def forward(params: Params, *inputs: Any, **named: Any) -> Any:
        require_evaluation(module)
        _require_known(module, own, params)
        # What a module writes into its buffers goes into copies.
        buffers = {name: leaf.clone() for name, leaf in module.named_buffers()}
        changed = {name: leaf for name, leaf in params.items() if leaf is not own[name]}
        with _OPEN, sdpa_kernel(SDPBackend.MATH), _Reads(changed) as reads:
            output = functional_call(module, {**buffers, **own, **params}, inputs, named)
        if changed and not reads.any:
            raise ValueError(f"changing {', '.join(changed)} touched nothing: no operation read it")
        return output

    return forward, dict(own)


def intervened(module: nn.Module, edits: Mapping[str, Edit], *inputs: Any, **named: Any) -> Any:
    """What the module makes of its inputs where the outputs of some submodules are replaced.

    ``edits`` maps names of submodules (``"h.0.mlp"``, or a pattern such as ``"h.*.attn"``) to
    functions of what they hand out: of its tensor, or of the first of several.

    Returns:
        The output of the module.

    Raises:
        TypeError: for edits that map no names to functions, and one that gives no tensor.
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
            return with_first(output, _like(first, edit(first), name))

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


class _Reads(TorchFunctionMode):
    """Sees whether some operation reads any of these tensors; its dtype or size is no reading."""

    def __init__(self, leaves: Params) -> None:
        super().__init__()
        self.any = False
        self._leaves = {id(leaf) for leaf in leaves.values()}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if not self.any and not _about_shape(func, made):
            self.any = any(id(leaf) in self._leaves for leaf in tree_leaves((args, kwargs)))
        return made


def _about_shape(func: Any, made: object) -> bool:
    """Whether an operation has asked for dtype, device or size, and not for numbers."""
    name = getattr(func, "__name__", "")
    attribute = name == "__get__" and not isinstance(made, Tensor)  # w.dtype, and not w.T
    return attribute or name in {"size", "dim", "numel", "stride", "is_floating_point"}


def _require_known(module: nn.Module, own: Params, params: Params) -> None:
    for name, leaf in params.items():
        if name not in own:
            tied = dict(module.named_parameters(remove_duplicate=False)).get(name)
            first = [known for known, other in module.named_parameters() if other is tied]
            if first:
                raise ValueError(f"{name} is tied to {first[0]}; change that one")
            raise ValueError(f"there is no parameter {name!r}{near(name, list(own))}")
        if leaf.shape != own[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(leaf.shape)}, but must have {tuple(own[name].shape)}"
            )
