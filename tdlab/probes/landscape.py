"""The loss along a line and on a plane through parameter space.

A risk is any differentiable function of the parameters to one number: of a model with data of its
own, whatever the model. Many points are evaluated at once, as many as fit into a given memory; with
``memory=1`` each is evaluated by itself, and the risk may branch on the numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakSet, finalize

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synthetic_tasks.value import require_count
from tdlab.probes.directions import Params, require_alike

# It must be a function: no dropout, no batch statistics, no buffers in place. Its Hessian needs
# second derivatives, which fused attention lacks on a CPU (``torch.nn.attention.sdpa_kernel``
# chooses one that has them).
Risk = Callable[[Params], Tensor]

# Bytes. A processor is fastest where a chunk stays in its cache: with 256 MiB planes took 1.5 to 4
# times as long as with 16. Where a point alone takes that much, many at once gain nothing.
MEMORY = 2**24


def line(
    risk: Risk,
    params: Params,
    direction: Params,
    at: Float[Tensor, " x"],
    memory: int = MEMORY,
) -> Float[Tensor, " x"]:
    """The risk at ``params + at[i] * direction``; NaN and infinity are kept.

    Returns:
        A loss for each entry of ``at``.

    Raises:
        ValueError: where leaves do not fit, or the risk is not a single number.
    """
    return _single(over_points(risk, params, [direction], at[:, None], memory))


def plane(
    risk: Risk,
    params: Params,
    first: Params,
    second: Params,
    x: Float[Tensor, " x"],
    y: Float[Tensor, " y"],
    memory: int = MEMORY,
) -> Float[Tensor, "y x"]:
    """The risk at ``params + x[i] * first + y[j] * second``; NaN and infinity are kept.

    Returns:
        Losses with the axes of a picture: the row j is that of ``y[j]``, the column i of ``x[i]``.

    Raises:
        ValueError: where leaves do not fit, or the risk is not a single number.
    """
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # y x 2
    losses = _single(over_points(risk, params, [first, second], grid.flatten(0, 1), memory))
    return losses.unflatten(0, (len(y), len(x)))


def over_points(
    measure: Callable[[Params], Tensor],
    params: Params,
    directions: Sequence[Params],
    at: Float[Tensor, "p k"],
    memory: int = MEMORY,
) -> Float[Tensor, "p ..."]:
    r"""Any measure at :math:`\theta + \sum_k a_{pk} d_k`, for every p; no gradient is recorded.

    As many points at once as take ``memory`` bytes together, one where one takes more; what the
    measure itself returns comes on top. A leaf that no direction moves is shared by all points.

    Returns:
        What ``measure`` returns, for each row of ``at``.

    Raises:
        ValueError: where there is no point, or leaves do not fit.
    """
    require_count("memory", memory, 1)
    for direction in directions:
        require_alike(params, direction)
    if not len(at) or at.shape[-1] != len(directions):
        raise ValueError(
            f"points have shape {tuple(at.shape)}, but must be at least one, each with "
            f"{len(directions)} coordinates"
        )

    moves = {
        name: [(k, d[name]) for k, d in enumerate(directions) if d[name].any()] for name in params
    }

    def measured(place: Tensor) -> Tensor:
        return measure(
            {
                name: sum((place[k] * move for k, move in moves[name]), start=leaf)
                for name, leaf in params.items()
            }
        )

    at = at.to(next(iter(params.values())).device)
    with torch.no_grad():
        chunk = max(1, memory // max(1, peak_bytes(measured, at[0])))
        # A point alone needs no vmap, which would only slow it down.
        found = [
            vmap(measured)(part) if len(part) > 1 else measured(part[0])[None]
            for part in at.split(chunk)
        ]
    return torch.cat(found)


def peak_bytes(function: Callable[[Tensor], object], argument: Tensor) -> int:
    """The most bytes that tensors made within one call of ``function`` take at any moment.

    What a kernel allocates for itself and frees before it returns is not seen.

    Returns:
        The number of bytes; tensors that were there before the call do not count.
    """
    with _LiveTensors() as live:
        function(argument)
    return live.peak


class _LiveTensors(TorchDispatchMode):
    """Adds up the storage of every tensor that an operation makes, until it is freed.

    It sits below the transforms of torch.func, so that batches and tangents are counted too.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.bytes = self.peak = 0
        # Storages, because a view has that of its base.
        self._known: WeakSet[torch.UntypedStorage] = WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        for storage in _storages((args, kwargs)):  # of what was not made here
            self._known.add(storage)
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._known:
                self._known.add(storage)
                self._change(storage.nbytes())
                finalize(storage, self._change, -storage.nbytes())
        return result

    def _change(self, by: int) -> None:
        self.bytes += by
        self.peak = max(self.peak, self.bytes)


def _storages(tree: object) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _single(losses: Tensor) -> Tensor:
    if losses.ndim != 1:
        raise ValueError(
            f"the risk has shape {tuple(losses.shape[1:])}, but must be a single number"
        )
    return losses
