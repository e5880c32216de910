"""The training step of an ensemble as a tensor program: draw, forward, backward, update.

It is written for one member and mapped over the member axis; it holds no random state, because a
member's data is a function of its key and the step. Where a task's prompts are made of few atoms,
the model meets tokens in products only, and the optimiser does the same in every orthonormal basis,
a member trains in coordinates and never sees a token (``basis``).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._pytree import tree_map

from synthetic_tasks.atoms import Coded
from synthetic_tasks.task import Batch, Task, World, cast
from synthetic_tasks.threefry import fold, stream, uniforms
from synthetic_tasks.value import varying
from tdlab.losses import LOSSES
from tdlab.models import Params, over_prompts, stacked
from tdlab.optimisers import State
from tdlab.run import Run
from tdlab.train.basis import atoms, in_coordinates, written

DIVERGED = 1e8  # (ours) a training loss above this is not going to come back
MOVING = -1  # ``Members.ended`` of a member that still moves
NEVER = 1 << 62  # a step that none has


class Members(NamedTuple):
    """What a step changes; every leaf has a leading member axis."""

    params: Params
    state: State
    ended: Int[Tensor, "*member"]  # after how many updates the member stopped, or MOVING


class Worlds(NamedTuple):
    """The members' worlds; a leaf that all members share is kept once."""

    world: World
    axes: World  # the same kind of named tuple: 0 where a leaf has a member axis, None where shared


class Data(NamedTuple):
    """What a step reads and leaves as it is."""

    world: World
    key: Int[Tensor, "*member 2"]
    scalars: dict[str, Tensor]  # the optimiser's varying fields
    frozen: dict[str, Int[Tensor, "*member"]]  # the step from which a leaf stays as it is, or NEVER


# What a step learns from; nothing where there is nothing to draw.
Drawn = Batch | Coded | tuple[()]
Chance = Callable[[Data, Int[Tensor, " step"]], Float[Tensor, "step member b u"]]
Draw = Callable[[Data, Float[Tensor, "step member b u"]], Drawn]  # leading axes step, member
Learn = Callable[[Members, Data, Drawn, Tensor], tuple[Members, Float[Tensor, " member"]]]


def require_one_program(runs: Sequence[Run]) -> None:
    """Raises ``ValueError`` unless the runs can be members of one ensemble."""
    if not runs:
        raise ValueError("there are no runs, but an ensemble has at least one")
    for run in runs[1:]:
        if run.program != runs[0].program:
            raise ValueError(
                f"runs {runs[0].id} and {run.id} differ in more than an ensemble's members may; "
                "an ensemble has one program (tdlab.sweep.trained splits a list of runs)"
            )


def worlds(tasks: Sequence[Task], seeds: Sequence[int], dtype: torch.dtype) -> Worlds:
    """The worlds of members that have these tasks and seeds."""
    each = [
        cast(task.world(stream(seed, "world")), dtype)
        for task, seed in zip(tasks, seeds, strict=True)
    ]
    leaves = [torch.stack(leaf) for leaf in zip(*each, strict=True)]
    shared = [bool((leaf == leaf[:1]).all()) for leaf in leaves]
    kind = type(each[0])
    return Worlds(
        kind(*(leaf[0] if once else leaf for leaf, once in zip(leaves, shared, strict=True))),
        kind(*(None if once else 0 for once in shared)),
    )


def keys(seeds: Sequence[int], name: str) -> Int[Tensor, "member 2"]:
    """The members' keys of one stream."""
    return torch.stack([stream(seed, name) for seed in seeds])


def start(runs: Sequence[Run], device: torch.device, params: Params | None = None) -> Members:
    """The members before their first step, each as its own key has it, or with ``params``."""
    made = stacked(run.model.init(stream(run.seed, "init")) for run in runs)
    if params is not None:
        _require_same_shapes(made, params)
        made = params
    # Compiled programs take it for granted that numbers lie one after the other.
    params = {
        name: leaf.to(device, runs[0].torch_dtype).contiguous() for name, leaf in made.items()
    }
    for run in runs:
        if set(run.moving) - set(params) or not run.moving:
            raise ValueError(
                f"trained is {run.moving}, but must name some of {', '.join(sorted(params))}"
            )
    state = vmap(runs[0].optimiser.init)({name: params[name] for name in moving(runs)})
    return Members(params, state, torch.full((len(runs),), MOVING, device=device))


def moving(runs: Sequence[Run]) -> tuple[str, ...]:
    """The leaves that move in some member, in the order in which they are first named."""
    return tuple(dict.fromkeys(name for run in runs for name in run.moving))


def _require_same_shapes(made: Params, params: Params) -> None:
    for shapes, others in ((made, params), (params, made)):
        for name, leaf in shapes.items():
            if name not in others or others[name].shape != leaf.shape:
                raise ValueError(
                    f"the runs start after others whose parameters do not fit: {name} is "
                    f"{_shape(params, name)} there, but {_shape(made, name)} here"
                )


def _shape(params: Params, name: str) -> str:
    return str(tuple(params[name].shape[1:])) if name in params else "missing"


def data(runs: Sequence[Run], device: torch.device) -> tuple[Data, Data]:
    """What the steps of these runs read, and which of it has a member axis (for ``vmap``)."""
    dtype = runs[0].torch_dtype
    made = worlds([run.task for run in runs], [run.seed for run in runs], dtype)
    rows = [varying(run.optimiser) for run in runs]
    scalars = {
        name: torch.tensor([row[name] for row in rows], dtype=dtype, device=device)
        for name in rows[0]
    }
    stays = {name: [_stays_from(run, name) for run in runs] for name in moving(runs)}
    frozen = {
        name: torch.tensor(of_member, device=device)
        for name, of_member in stays.items()
        if min(of_member) < NEVER
    }
    key = keys([run.seed for run in runs], "train").to(device)
    world = type(made.world)(*(leaf.to(device) for leaf in made.world))
    axes = Data._make((made.axes, 0, dict.fromkeys(scalars, 0), dict.fromkeys(frozen, 0)))
    return Data(world, key, scalars, frozen), axes


def first_of(its: Data, axes: Data) -> World:
    """The world of the first member."""
    pairs = zip(its.world, axes.world, strict=True)
    return type(its.world)(*(leaf if axis is None else leaf[0] for leaf, axis in pairs))


def _stays_from(run: Run, name: str) -> int:
    return dict(run.frozen).get(name, NEVER) if name in run.moving else 0


def chance(run: Run) -> Chance:
    """What chance has for the members at each of some steps.

    Returns:
        A map from (data, numbers of the steps in the members' streams) to uniforms.
    """
    shape = (run.batch, run.task.uniforms)

    def one(key: Int[Tensor, " 2"], number: Int[Tensor, ""]) -> Float[Tensor, "b u"]:
        return uniforms(fold(key, number), shape, run.torch_dtype)

    over_steps = vmap(vmap(one, (0, None)), (None, 0))
    return lambda data, numbers: over_steps(data.key, numbers).contiguous()


def draw(run: Run, axes: Data) -> Draw:
    """What members that share the program of ``run`` learn from at each of some steps.

    Returns:
        A map from (data, uniforms) to batches. Where a task draws nothing, ``learn`` finds its
        batch in the world.
    """
    pair = in_coordinates(run)

    def one(data: Data, block: Float[Tensor, "b u"]) -> Drawn:
        if pair is not None:
            return pair[0].code(data.world, block)._replace(latent=())
        return run.task.draw(data.world, block)._replace(latent=())

    over_steps = vmap(vmap(one, (axes, 0)), (None, 0))
    return lambda data, blocks: tree_map(Tensor.contiguous, over_steps(data, blocks))


def learn(run: Run, axes: Data, names: Sequence[str]) -> Learn:
    """One step of all members that share the program of ``run``, some of which move these leaves.

    Returns:
        A map from (members, data, what was drawn, number of the step) to (members, loss of each).
        The number is a tensor, so that one program serves every step.
    """
    loss_of = LOSSES[run.loss]

    def one(members: Members, data: Data, drawn: Drawn, number: Tensor) -> tuple[Members, Tensor]:
        leaves = {name: members.params[name] for name in names}
        batch = _batch(run, data, drawn)

        def risk(at: Params) -> tuple[Tensor, Tensor]:
            output = over_prompts(run.model, {**members.params, **at}, batch).output
            each = loss_of(output, batch.target)
            return each.mean(), each

        def loss_at(at: Params) -> Tensor:
            return _pairwise_mean(risk(at)[1])

        grads, each = grad(risk, has_aux=True)(leaves)
        stays = {name: number >= step for name, step in data.frozen.items()}
        grads |= {name: grads[name].masked_fill(now, 0) for name, now in stays.items()}
        loss = _pairwise_mean(each)
        moved, state = run.optimiser.update(data.scalars, leaves, grads, members.state, loss_at)
        # An optimiser that remembers would move a leaf without a gradient.
        moved |= {name: torch.where(now, leaves[name], moved[name]) for name, now in stays.items()}
        return _unless_ended(members, {**members.params, **moved}, state, loss, number), loss

    return vmap(one, (0, axes, 0, None))


def _batch(run: Run, data: Data, drawn: Drawn) -> Batch:
    pair = in_coordinates(run)
    if pair is not None and isinstance(drawn, Coded):
        return written(drawn, atoms(pair[0], data.world))
    if isinstance(drawn, Batch):
        return drawn
    return run.task.draw(data.world, data.key.new_empty((run.batch, 0), dtype=run.torch_dtype))


def _unless_ended(
    members: Members, params: Params, state: State, loss: Tensor, number: Tensor
) -> Members:
    """The members after a step, where they still move and the step was a finite one."""
    total = torch.stack([leaf.sum() for leaf in params.values()]).sum()
    finite = (loss <= DIVERGED) & total.isfinite()  # a NaN fails both
    moving = members.ended == MOVING
    take = moving & finite
    choose = partial(tree_map, lambda new, old: torch.where(take, new, old))
    ended = torch.where(moving & ~finite, number, members.ended)
    return Members(choose(params, members.params), choose(state, members.state), ended)


def _pairwise_mean(values: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """The mean in an order of its own."""
    # A library's sum follows the layout, which follows the size of the ensemble; this does not.
    count, size = len(values), 1 << (len(values) - 1).bit_length()
    values = torch.nn.functional.pad(values, (0, size - count))
    while size > 1:
        size //= 2
        values = values[:size] + values[size:]
    return values[0] / count
