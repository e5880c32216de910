from dataclasses import replace

import torch

from synthetic_tasks.threefry import stream
from tdlab.train.ensemble import Members, data, start, worlds
from tests.tdlab.members import MEMBERS, RUN, TASK


def test_what_all_members_share_is_kept_once():
    seeds = [1, 1, 1]
    tasks = [replace(TASK, alpha=alpha) for alpha in (0.2, 0.5, 0.9)]
    made = worlds(tasks, seeds, torch.float64)
    assert made.axes == type(made.world)(None, None, None, None, 0, None)
    assert made.world.alpha.tolist() == [0.2, 0.5, 0.9]
    assert made.world.relevant.shape == (4, 9)
    own = worlds([TASK] * 2, [1, 2], torch.float64)
    assert own.axes == type(made.world)(0, 0, 0, None, None, None)


def test_the_optimisers_scalars_and_the_keys_have_a_member_axis():
    its, axes = data(MEMBERS, torch.device("cpu"))
    assert its.scalars["lr"].tolist() == [0.1, 0.7, 0.1, 0]
    assert its.key.equal(torch.stack([stream(run.seed, "train") for run in MEMBERS]))
    assert axes.key == 0
    assert axes.scalars == {"lr": 0}


def test_members_start_in_the_dtype_of_their_runs():
    started = start([replace(RUN, dtype="float32")], torch.device("cpu"))
    assert isinstance(started, Members)
    assert {leaf.dtype for leaf in started.params.values()} == {torch.float32}
