"""Modules that we did not write as pure functions of their parameters.

The module itself stays as it is.
"""

from collections.abc import Callable
from threading import RLock
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from tdlab.probes.directions import Params
from tdlab.probes.hooks import (
    near,
    require_evaluation,
)

Forward = Callable[..., Any]

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
        TypeError: for what is no ``nn.Module``.
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
