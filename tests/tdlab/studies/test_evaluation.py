"""Evaluation in parts: what is measured of a member on its prompts, however both are split.

What is measured is held against the prompts that `synthetic_tasks.sample` draws by itself, and
against one member after the other.
"""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from synthetic_tasks import NoisyReasoning, Reasoning, sample
from synthetic_tasks.task import cast
from synthetic_tasks.threefry import stream
from synthetic_tasks.transitions import noiseless
from tdlab.models import OneHead, over_prompts, stacked
from tdlab.run import Run
from tdlab.studies import evaluation
from tdlab.studies.evaluation import measured, prompts

# K M = 6, and 11 uniforms a prompt; 71 numbers a prompt, 426 a block of 6.
TASK = Reasoning(width=5, patterns=3, steps=2, length=2, alpha=0.5)
RUN = Run(task=TASK, model=OneHead(width=5, xi=0.4), loss="squared", batch=6, dtype="float64")
# The third alone has another alpha: some parts share what the whole ensemble does not.
ALPHAS = (0.5, 0.5, 0.9, 0.5, 0.5)
RUNS = [replace(RUN, seed=seed) for seed in (3, 4, 0, 2**40, 9)]
TASKS = [replace(TASK, alpha=alpha) for alpha in ALPHAS]
VARIANTS = [
    {
        name: scale * leaf
        for name, leaf in stacked(r.model.init(stream(r.seed, "init")) for r in RUNS).items()
    }
    for scale in (1.0, -2.0)
]

# K M and the uniforms of a prompt are odd: a block may begin in the middle of a cipher's pair.
ODD = Reasoning(width=5, patterns=3, steps=1, length=2, alpha=0.5)
NOISY = NoisyReasoning(trained=TASK, transitions=noiseless(2, 3), length=3, alpha=0.6)


@pytest.fixture
def threads():
    """Sets the number of threads; as before once the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def held(monkeypatch):
    """Sets how many numbers are held at once, and how many prompts of one member."""

    def hold(numbers, prompts=6):
        monkeypatch.setattr(evaluation, "_NUMBERS", numbers)
        monkeypatch.setattr(evaluation, "_PROMPTS", prompts)

    return hold


@pytest.fixture
def parts(monkeypatch):
    """How many members were measured at a time, part by part."""
    sizes: list[int] = []
    plain = evaluation.side_by_side

    def noting(work, slices):
        sizes.extend(len(RUNS[its]) for its in slices)
        return plain(work, slices)

    monkeypatch.setattr(evaluation, "side_by_side", noting)
    return sizes


def everything(params, world, batch):
    """Outputs with their axis before the prompts', prompts with two, and one number a prompt."""
    trace = over_prompts(RUN.model, params, batch)
    return {
        "output": trace.output.movedim(0, -1),
        "prompt": batch.prompt.movedim(0, -1),
        "target": world.patterns @ batch.target.T,
        "risk": (trace.output - batch.target).square().sum(-1),
    }


def one_by_one(size):
    """The same without any machinery: variants, members, each on prompts drawn for it alone."""
    drawn = math.ceil(size / TASK.balance) * TASK.balance
    rows = []
    for params, (member, run) in itertools.product(VARIANTS, enumerate(RUNS)):
        batch = sample(TASKS[member], seed=run.seed, size=drawn, dtype=torch.float64)
        world = cast(TASKS[member].world(stream(run.seed, "world")), torch.float64)
        own = {name: leaf[member] for name, leaf in params.items()}
        rows.append(everything(own, world, batch))
    return {
        name: torch.stack([row[name][..., :size] for row in rows]).unflatten(0, (2, len(RUNS)))
        for name in rows[0]
    }


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, numbers in expected.items():
        torch.testing.assert_close(found[name], numbers)
    assert found["prompt"].equal(expected["prompt"])  # bit for bit


# Members in parts.


@pytest.mark.parametrize(
    ("numbers", "at_a_time"),
    [(2130, [5]), (2129, [2, 3]), (1000, [1, 2, 2]), (425, [1] * 5), (1, [1] * 5)],
)
def test_numbers_do_not_depend_on_how_members_are_split(threads, held, parts, numbers, at_a_time):
    threads(1)
    held(numbers)
    assert_same(measured(RUNS, VARIANTS, TASKS, 20, everything), one_by_one(20))
    assert parts == at_a_time


def test_as_they_come_few_members_are_measured_together(parts):
    assert_same(measured(RUNS, VARIANTS, TASKS, 20, everything), one_by_one(20))
    assert parts == [5]


@pytest.mark.parametrize(
    ("count", "numbers", "at_a_time"),
    [(2, 2130, [5]), (3, 2129, [1, 2, 2]), (2, 1, [1] * 5)],
)
def test_numbers_do_not_depend_on_the_number_of_threads(
    threads, held, parts, count, numbers, at_a_time
):
    held(numbers)
    threads(count)
    many = measured(RUNS, VARIANTS, TASKS, 20, everything)
    assert torch.get_num_threads() == count
    assert_same(many, one_by_one(20))
    assert parts == at_a_time  # where members are split at all, into a part for each thread


def test_the_number_of_threads_is_restored_where_measuring_fails(threads, held):
    def fails(params, world, batch):
        raise KeyError

    threads(2)
    held(1)
    with pytest.raises(KeyError):
        measured(RUNS, VARIANTS, TASKS, 6, fails)
    assert torch.get_num_threads() == 2


# Prompts in blocks.


@pytest.mark.parametrize("at_once", [1, 13, 256])
@pytest.mark.parametrize("size", [1, 17])
def test_of_balanced_batches_as_many_prompts_are_kept_as_were_asked_for(held, at_once, size):
    held(1 << 21, at_once)
    found = measured(RUNS, VARIANTS, TASKS, size, everything)
    assert found["output"].shape == (2, 5, 5, size)  # variant, member, d, prompt
    assert found["prompt"].shape == (2, 5, 6, 10, size)  # variant, member, n, 2 d, prompt
    assert found["target"].shape == (2, 5, 3, size)  # variant, member, j, prompt
    assert found["risk"].shape == (2, 5, size)
    assert_same(found, one_by_one(size))


@pytest.mark.parametrize("at_once", [1, 4, 256])
@pytest.mark.parametrize("task", [ODD, NOISY, TASK], ids=["odd", "noisy", "even"])
def test_prompts_are_those_that_the_task_draws_whatever_the_block(held, task, at_once):
    held(1 << 21, at_once)
    assert task.uniforms % 2  # an odd number of them
    blocks = list(prompts([task] * 2, RUNS[2:4], 14))
    most = max(at_once // task.balance, 1) * task.balance
    drawn = math.ceil(14 / task.balance) * task.balance
    assert [block.prompt.shape[1] for block in blocks[:-1]] == [most] * ((drawn - 1) // most)
    for member, run in enumerate(RUNS[2:4]):
        alone = sample(task, seed=run.seed, size=drawn, dtype=torch.float64)
        for name in ("prompt", "mask", "target"):
            whole = torch.cat([getattr(block, name)[member] for block in blocks])
            assert whole.equal(getattr(alone, name))
        for place, leaf in enumerate(alone.latent):
            assert torch.cat([block.latent[place][member] for block in blocks]).equal(leaf)


@pytest.mark.parametrize(
    ("numbers", "most"), [(71 * 12, 12), (71 * 12 - 1, 6), (71 * 18, 18), (1, 6)]
)
def test_a_block_holds_no_more_numbers_than_allowed_but_a_balanced_batch_at_least(
    held, numbers, most
):
    held(numbers, prompts=256)
    assert TASK.columns * TASK.token_width + TASK.uniforms == 71
    sizes = [block.prompt.shape[1] for block in prompts(TASKS, RUNS, 36)]
    assert sizes == [most] * (36 // most)
