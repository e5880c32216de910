"""What the theorem promises of a trained member, and what shuffled labels do not teach."""

from dataclasses import replace

import pytest
import torch

from synthetic_tasks import Batch, InContextClassification
from synthetic_tasks.value import value
from tdlab.studies.evaluation import evaluate, risks
from tdlab.studies.icl import dynamics, neurons
from tdlab.sweep import trained
from tdlab.trajectory import final
from tests.tdlab.studies.icl.settings import LEARNED
from tests.tdlab.studies.icl.tables import where


def last_on_unseen(results, quantity):
    """The final value of each seed on tasks it was not trained on."""
    table = where(dynamics(LEARNED, results), source="measured", tasks="unseen", step=250)
    return where(table, quantity=quantity)["value"].to_numpy()


def test_a_trained_member_solves_unseen_tasks_by_attending_to_the_querys_pattern(learned):
    error, mass = (last_on_unseen(learned, name) for name in ("zero_one", "concentration"))
    assert len(error) == len(mass) == 3
    assert (error < 0.02).all()
    assert (mass > 0.8).all()


def test_large_neurons_of_a_trained_member_point_along_the_mean_pattern_and_the_label(learned):
    table = where(neurons(learned), source="measured", step=250)
    for seed in range(3):
        here = where(table, seed=seed)
        norms = where(here, quantity="norm", part="label").set_index("neuron")["value"]
        large = norms.index[norms > 0.1]
        assert len(large) > 32
        angles = where(here, quantity="angle")
        angles = angles[angles["neuron"].isin(large)]
        assert set(angles["sign"]) == {1.0, -1.0}
        assert (angles.groupby(["part", "sign"])["value"].median() < 30).all()


def test_pruning_small_rows_of_a_trained_member_is_free_and_large_ones_is_not(pruned_table):
    hinge = where(pruned_table, source="measured", quantity="hinge", alpha=0.8)
    whole = where(hinge, order="largest", fraction=0.0).set_index("seed")["value"]
    smallest = where(hinge, order="smallest", fraction=0.1).set_index("seed")["value"]
    largest = where(hinge, order="largest", fraction=0.4).set_index("seed")["value"]
    assert ((smallest - whole).abs() < 0.001).all()
    assert (largest - whole > 0.1).all()


@value
class Unlearnable(InContextClassification):
    """The same prompts, each with the context labels of another one."""

    def draw(self, world, uniforms) -> Batch:
        batch = InContextClassification.draw(self, world, uniforms)
        x, y = batch.prompt[..., : self.width], batch.prompt[..., self.width :]
        return batch._replace(prompt=torch.cat([x, y.roll(1, dims=0)], dim=-1))


@pytest.fixture(scope="module")
def misled():
    shuffled = Unlearnable(**vars(LEARNED.task))
    return shuffled, trained(LEARNED.runs(shuffled))


def test_the_same_training_on_shuffled_labels_learns_nothing(misled):
    shuffled, results = misled
    # Where each task and its opposite are asked alike, inputs alone say nothing of the answer:
    # half of the answers are wrong, whatever is predicted; 400 coins have their mean within
    # 4 / (2 * 20) of it.
    tasks = [replace(shuffled, tasks="all")]
    numbers = evaluate([result.run for result in results], [final(results)], tasks, 400, risks)
    assert ((numbers["zero_one"][0, 0].mean(-1) - 0.5).abs() < 0.1).all()
    # Nor does it answer prompts whose labels are right, or attend as the theorem says.
    error, mass = (last_on_unseen(results, name) for name in ("zero_one", "concentration"))
    assert (error > 0.02).all()
    assert (mass < 0.8).all()
