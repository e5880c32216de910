from dataclasses import replace

import pytest
import torch

from synthetic_tasks import InContextClassification, OutOfDomain, Reasoning, sample
from synthetic_tasks.atoms import Atomic, coordinates
from synthetic_tasks.threefry import fold, stream, uniforms

ICL = InContextClassification(relevant=7, irrelevant=5, label_width=3, length=6, beta=1.7)
TASKS = {
    "in context": ICL,
    "no irrelevant part": replace(ICL, kappa=0),
    "out of domain": OutOfDomain(trained=ICL, coefficient_sum=1.2, outside=0.3),
    "reasoning": Reasoning(width=11, patterns=5, steps=3, length=4),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_coordinates_times_atoms_are_the_prompt(task):
    world = task.world(stream(3, "world"))
    size = 30
    block = uniforms(fold(stream(3, "evaluation"), 0), (size, task.uniforms), torch.float64)
    coded, atoms = task.code(world, block), task.atoms(world)
    batch = sample(task, seed=3, size=size, dtype=torch.float64)
    made = coordinates(coded, len(atoms)) @ atoms
    torch.testing.assert_close(made, batch.prompt, rtol=0, atol=1e-14)
    assert coded.mask.equal(batch.mask)
    assert coded.target.equal(batch.target)
    assert all(one.equal(other) for one, other in zip(coded.latent, batch.latent, strict=True))
    assert batch.prompt.norm(dim=-1)[batch.mask].min() > 0.5  # there is something to say


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_atoms_are_orthonormal(task):
    atoms = task.atoms(task.world(stream(5, "world")))
    assert atoms.shape[1] == task.token_width
    one = torch.eye(len(atoms), dtype=torch.float64)
    torch.testing.assert_close(atoms @ atoms.T, one, rtol=0, atol=1e-14)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_no_token_has_an_atom_twice_and_every_atom_has_its_tokens(task):
    world = task.world(stream(1, "world"))
    block = uniforms(stream(1, "evaluation"), (60, task.uniforms), torch.float64)
    coded = task.code(world, block)
    sorted_ = coded.atom.movedim(0, -1).sort(-1).values
    assert (sorted_.diff(dim=-1) > 0).all()
    assert coded.atom.unique().tolist() == list(range(len(task.atoms(world))))


def test_which_tasks_are_made_of_atoms():
    assert all(isinstance(task, Atomic) for task in TASKS.values())
