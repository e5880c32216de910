from dataclasses import replace

import pytest
import torch

from synthetic_tasks import InContextClassification
from tdlab.models import OneLayer
from tdlab.optimisers import Adam
from tdlab.run import Run
from tdlab.schedule import Every
from tdlab.sweep import groups, job
from tdlab.train import memory
from tdlab.train.memory import budget, bytes_of_step, members_within
from tdlab.train.program import Traced
from tests.tdlab.runs import anew

TASK = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
RUN = Run(
    task=TASK,
    model=OneLayer(width=9, label_width=3, neurons=6, xi=0.3),
    batch=9,
    steps=10,
    snapshots=Every(stride=5),
)


def test_what_a_program_holds_at_once_is_counted_from_its_arguments_to_their_last_use():
    def function(x):  # 8,000 bytes each: x and y; x, y and z; x and z; x and the sum
        y = x + 1
        z = y * 2
        del y
        return (x * z.view(10, 100).reshape(1000)).sum()

    x = torch.zeros(1000, dtype=torch.float64)
    assert Traced(function, x).most_bytes == 3 * 8000


def test_a_step_holds_at_least_its_batch_and_twice_its_parameters():
    tokens = replace(RUN, optimiser=Adam())
    batch = 4 * RUN.batch * TASK.columns * TASK.token_width
    params = 4 * sum(leaf.numel() for leaf in RUN.model.init(torch.tensor([0, 1])).values())
    assert batch + 2 * params < bytes_of_step(tokens) < 60 * (batch + params)
    twice = replace(tokens, batch=2 * RUN.batch)
    assert bytes_of_step(tokens) + batch <= bytes_of_step(twice)
    double = replace(tokens, dtype="float64")
    assert bytes_of_step(double) > 1.8 * bytes_of_step(tokens)


def test_as_many_members_as_there_is_memory_for_but_at_least_one():
    one = bytes_of_step(replace(RUN, steps=1))
    assert members_within(10 * one, RUN, 16) == 10
    assert members_within(10 * one, RUN, 4) == 4
    assert members_within(one - 1, RUN, 16) == 1
    assert members_within(10**12, RUN, 16) == 16


def test_where_there_is_plenty_nothing_is_traced(monkeypatch):
    monkeypatch.setattr(memory, "bytes_of_step", None)
    assert members_within(10**10, RUN, 256) == 256


def test_the_budget_is_a_quarter_of_what_the_process_may_have(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CGROUP", limit)
    monkeypatch.setattr(memory.psutil, "virtual_memory", Memory)
    assert budget() == 1000
    limit.write_text("max\n")
    assert budget() == 1000
    limit.write_text("800\n")
    assert budget() == 200


class Memory:
    total = 4000


@pytest.mark.parametrize("members", [1, 2, 3])
def test_results_do_not_depend_on_the_memory_there_is(monkeypatch, members):
    monkeypatch.setattr(groups, "_SMALL", 0)
    runs = [replace(RUN, seed=seed) for seed in range(5)]
    sizes = []
    plain = job.Training

    def counting(runs, **settings):
        sizes.append(len(runs))
        return plain(runs, **settings)

    wanted = anew(runs)
    monkeypatch.setattr(job, "Training", counting)
    threads = torch.get_num_threads()
    one = bytes_of_step(replace(RUN, steps=1))
    results = anew(runs, memory=members * one * threads)
    assert max(sizes) == members
    for one_, other in zip(results, wanted, strict=True):
        assert one_.loss.equal(other.loss)
        assert all(one_.params[name].equal(leaf) for name, leaf in other.params.items())
