r"""Training in coordinates: into a basis of what a member's tokens span, and back.

Where a task's prompts are made of few atoms, the model meets tokens in products only and the
optimiser takes the same steps in every orthonormal basis, a member need not see its tokens. With
orthonormal atoms the map A of its parameters into coordinates has :math:`A A^\top = 1`, and its
gradients lie in the range of :math:`A^\top`: where it began at :math:`\theta_0` and its coordinates
went from :math:`A \theta_0` to x, it is at :math:`\theta_0 + A^\top (x - A \theta_0)`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from synthetic_tasks.atoms import Atomic, Coded, coordinates
from synthetic_tasks.task import Batch, Task, World
from tdlab.models import LinearInTokens, Model, Params
from tdlab.run import Run

_VECTOR = 16  # numbers that the widest registers hold

Change = Callable[[Params], Params]


def in_coordinates(run: Run) -> tuple[Atomic, LinearInTokens] | None:
    """The task and the model of members that train in coordinates; ``None`` for others."""
    return have_coordinates(run.task, run.model) if run.optimiser.isometric else None


def have_coordinates(task: Task, model: Model) -> tuple[Atomic, LinearInTokens] | None:
    """The two, if this model need not see the tokens of this task's prompts."""
    # What a class says of its coordinates need not be true of one derived from it.
    if "code" in vars(type(task)) and "of_coordinates" in vars(type(model)):
        assert isinstance(task, Atomic)
        assert isinstance(model, LinearInTokens)
        return task, model
    return None


def written(coded: Coded, atoms: Float[Tensor, "a d"]) -> Batch:
    """The batch that a model of coordinates sees."""
    return Batch(coordinates(coded, len(atoms)), coded.mask, coded.target, coded.latent)


def atoms(task: Atomic, world: World) -> Float[Tensor, "a d"]:
    """The atoms of one member's tokens, and rows of zeros that no token has."""
    made = task.atoms(world)
    # Products of a few rows more take half the time of products whose rows fill no register.
    return torch.nn.functional.pad(made, (0, 0, 0, -len(made) % _VECTOR))


def change_of_basis(run: Run, world: World, axes: World, began: Params) -> tuple[Change, Change]:
    """The ways into coordinates and back of members that began with these parameters.

    ``axes`` says which leaves of the world have a member axis; those of the parameters do.

    Returns:
        Two maps of parameters. Both leave what meets no token as it is, and everything where
        members train in tokens.
    """
    pair = in_coordinates(run)
    if pair is None:
        return dict, dict
    task, model = pair
    members = len(next(iter(began.values())))
    if all(axis is None for axis in axes):
        its_atoms = atoms(task, world).expand(members, -1, -1)
    else:
        its_atoms = vmap(lambda one: atoms(task, one), (axes,))(world)

    def there(params: Params) -> Params:
        return model.of_coordinates(params, its_atoms)

    began_there = there(began)
    read = [name for name in began if began_there[name] is not began[name]]

    def back(params: Params) -> Params:
        gone = params | {name: params[name] - began_there[name] for name in read}
        way = model.of_coordinates(gone, its_atoms.mT)
        return params | {name: began[name] + way[name] for name in read}

    return there, back
