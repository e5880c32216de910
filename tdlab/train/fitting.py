"""Whether task, model and loss fit each other, tried on one small batch before anything is traced.

A task or a model may be anybody's. What is wrong in one is said here, in one line that names it;
a trace would only show where it came to light.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import Batch
from synthetic_tasks.task import World
from synthetic_tasks.threefry import fold, stream, uniforms
from tdlab.losses import LOSSES
from tdlab.models import Params, over_prompts
from tdlab.run import Run

# Of one prompt, what each loss compares.
_COMPARES = {
    "hinge": "one number, shape ()",
    "logistic": "one number, shape ()",
    "squared": "a vector, shape (y,)",
    "token_squared": "a vector for each token, shape (n, y)",
}
_known: set[Any] = set()  # the arithmetic of runs that fit
# What code that is being written raises.
_WRONG = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError),
    *(TypeError, ValueError),
)
# What torch says where a function cannot be mapped over members, and what it means here.
_MEANS = {
    "randomness error mode": "draw from the uniforms that it is given, and from nothing else",
    "data-dependent control flow": "an if or a loop over a tensor's value: torch.where chooses",
}


def require_fit(run: Run, world: World, params: Params) -> None:
    """Draws a batch, answers its first prompts, and takes the loss, mapped as training maps them.

    ``world`` and ``params`` are those of one member.

    Raises:
        ValueError: where one of them fails, or does not fit the next; the line says which.
    """
    task, model = run.task, run.model
    if run.arithmetic in _known:
        return
    key = fold(stream(run.seed, "train"), 0)
    chance = uniforms(key, (1, task.balance, task.uniforms), run.torch_dtype).to(_device(world))

    def draw(its: Tensor) -> Any:
        return _is(task.draw(world, its), Batch, "a Batch")[:3]

    def answer(few: Batch) -> Any:
        return _is(over_prompts(model, params, few), tuple, "a named tuple").output

    prompt, mask, target = (leaf[0] for leaf in _tried(task, "draw", vmap(draw), chance))
    _require_batch(run, Batch(prompt, mask, target, ()))
    few = Batch(prompt[:2], mask[:2], target[:2], ())
    _require_compared(run, _tried(model, "forward", answer, few), few.target)
    _known.add(run.arithmetic)


def _device(world: World) -> torch.device:
    return next((leaf.device for leaf in world), torch.device("cpu"))


def _is(made: Any, kind: type, named: str) -> Any:
    if not isinstance(made, kind):
        raise TypeError(f"it gives a {type(made).__name__}, but must give {named}")
    return made


def _tried(part: Any, method: str, function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except _WRONG as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next((means for says, means in _MEANS.items() if says in str(error)), "")
        why = said or f"{type(error).__name__}: {lines[0] if lines else 'it does not say why'}"
        raise ValueError(f"{type(part).__name__}.{method} fails: {why}") from error


def _require_batch(run: Run, batch: Batch) -> None:
    task, size = run.task, len(batch.prompt)
    wanted = {
        "prompt": (size, task.columns, task.token_width),
        "mask": (size, task.columns),
        "target": (size, *batch.target.shape[1:]),
    }
    for name, shape in wanted.items():
        found = tuple(getattr(batch, name).shape)
        if found != shape:
            raise ValueError(
                f"{type(task).__name__}.draw gives a {name} of shape {found}, but must give {shape}"
            )
    if batch.mask.dtype != torch.bool:
        raise ValueError(
            f"{type(task).__name__}.draw gives a mask of {batch.mask.dtype}, but must give booleans"
        )


def _require_compared(run: Run, output: Tensor, target: Tensor) -> None:
    """Outputs and targets are alike, or a loss would broadcast; and it gives a number a prompt."""
    its, wanted = tuple(output.shape[1:]), tuple(target.shape[1:])
    told = (
        f"of one prompt the output of {type(run.model).__name__} has shape {its}, the target of "
        f"{type(run.task).__name__} {wanted}"
    )
    if output.shape != target.shape:
        raise ValueError(f"{told}: they must be the same")
    if LOSSES[run.loss](output, target).shape != target.shape[:1]:
        raise ValueError(f"{told}, but loss {run.loss!r} compares {_COMPARES[run.loss]}")
