from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from synthetic_tasks import Batch, InContextClassification, Reasoning, sample
from synthetic_tasks.atoms import Atomic
from synthetic_tasks.threefry import normals, stream
from tdlab.models import FactoredOneHead, OneHead, OneLayer, Params, over_prompts
from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.run import Run
from tdlab.train.basis import atoms, change_of_basis, in_coordinates
from tdlab.train.ensemble import data, start
from tests.tdlab.runs import anew

ICL = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
MODEL = OneLayer(width=9, label_width=3, neurons=6, query_width=8, value_width=10, xi=0.3)
COT = Reasoning(width=9, patterns=4, steps=2, length=3)
RUNS = {
    "one layer": Run(task=ICL, model=MODEL, batch=9, dtype="float64"),
    "one head": Run(task=COT, model=OneHead(width=9), loss="squared", batch=16, dtype="float64"),
    "factored": Run(
        task=COT, model=FactoredOneHead(width=9), loss="squared", batch=16, dtype="float64"
    ),
}
CPU = torch.device("cpu")


def generic(run: Run, seed: int) -> Params:
    """Parameters in general position: not those of an init, which are mostly zeros."""
    made = run.model.init(stream(seed, "init"))
    return {
        name: normals(stream(seed + place, "probe"), tuple(leaf.shape), torch.float64)
        for place, (name, leaf) in enumerate(made.items())
    }


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_model_makes_of_coordinates_what_it_makes_of_tokens(run):
    params = {name: 0.3 * leaf for name, leaf in generic(run, 2).items()}
    square = normals(stream(1, "probe"), (run.task.token_width,) * 2, torch.float64)
    basis = torch.linalg.qr(square)[0][:7]
    batch = sample(run.task, seed=0, size=run.batch, dtype=torch.float64)
    inside = batch._replace(prompt=batch.prompt @ basis.T @ basis)
    seen = batch._replace(prompt=batch.prompt @ basis.T)
    wanted = over_prompts(run.model, params, inside)
    made = over_prompts(run.model, run.model.of_coordinates(params, basis), seen)
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_training_in_coordinates_is_training_in_tokens(run, monkeypatch):
    runs = [replace(run, seed=seed, steps=12) for seed in (0, 5)]
    assert all(map(in_coordinates, runs))
    in_theirs = anew(runs)
    monkeypatch.setattr(SGD, "isometric", False)
    assert not any(map(in_coordinates, runs))
    for one, other in zip(in_theirs, anew(runs), strict=True):
        torch.testing.assert_close(one.loss, other.loss, rtol=0, atol=1e-13)
        torch.testing.assert_close(one.params, other.params, rtol=0, atol=1e-13)
        moved = max((one.final[k] - one.at(0)[k]).abs().max() for k in one.final)
        assert moved > 1e-3


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_what_is_outside_the_tokens_span_stays_and_what_is_inside_comes_back(run):
    runs = [run, replace(run, seed=4)]
    its, axes = data(runs, CPU)
    each = [generic(run, seed) for seed in (7, 20)]
    began = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    there, back = change_of_basis(run, its.world, axes.world, began)
    for name, leaf in back(there(began)).items():
        assert leaf.equal(began[name])
    goals = [generic(run, seed) for seed in (40, 60)]
    elsewhere = there({name: torch.stack([one[name] for one in goals]) for name in goals[0]})
    after = back(elsewhere)
    for name, leaf in there(after).items():
        torch.testing.assert_close(leaf, elsewhere[name], rtol=0, atol=1e-12)
    # Two different ones that look the same in coordinates differ by what has no coordinates.
    E = torch.stack([atoms(run.task, run.task.world(stream(seed, "world"))) for seed in (0, 4)])
    outside = torch.eye(E.shape[-1], dtype=torch.float64) - E.mT @ E
    name = "W_V"
    torch.testing.assert_close(after[name] @ outside, began[name] @ outside, rtol=0, atol=1e-12)
    assert not after[name].equal(began[name])


def test_only_steps_that_are_the_same_in_every_basis_are_taken_in_coordinates():
    run = RUNS["one layer"]
    assert in_coordinates(run)
    assert in_coordinates(replace(run, optimiser=Backtracking())) == (run.task, run.model)
    assert not in_coordinates(replace(run, optimiser=Adam()))


class Shouted(InContextClassification):
    """A class derived from a task that knows its atoms, with prompts of its own."""

    def draw(self, world: Any, uniforms: Float[Tensor, "b u"]) -> Batch:
        batch = super().draw(world, uniforms)
        return batch._replace(prompt=2 * batch.prompt)


class Doubled(OneLayer):
    """A class derived from a model that knows of coordinates."""


def test_a_derived_class_trains_in_tokens_unless_it_says_itself_how_not_to():
    run = RUNS["one layer"]
    shouted = Shouted(**{field.name: getattr(ICL, field.name) for field in fields(ICL)})
    doubled = Doubled(**{field.name: getattr(MODEL, field.name) for field in fields(MODEL)})
    assert isinstance(shouted, Atomic)
    assert not in_coordinates(replace(run, task=shouted))
    assert not in_coordinates(replace(run, model=doubled))
    (plain,), (loud,) = anew([run]), anew([replace(run, task=shouted)])
    assert loud.loss[0] != plain.loss[0]


def test_runs_in_tokens_change_nothing():
    run = replace(RUNS["one layer"], optimiser=Adam())
    its, axes = data([run], CPU)
    began = start([run], CPU).params
    there, back = change_of_basis(run, its.world, axes.world, began)
    assert all(leaf is began[name] for name, leaf in back(there(began)).items())


def test_atoms_fill_whole_registers():
    its = atoms(ICL, ICL.world(stream(0, "world")))
    assert its.shape == (16, 12)
    assert its[10:].count_nonzero() == 0
    assert its[:10].norm(dim=-1).min() > 0.99
