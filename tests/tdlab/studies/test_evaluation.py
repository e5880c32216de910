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
from synthetic_tasks.transitions import Transitions, noiseless
from tdlab.models import OneHead, over_prompts, stacked
from tdlab.run import Run
from tdlab.studies import evaluation
from tdlab.studies import prompts as its_prompts
from tdlab.studies.evaluation import evaluate, measured
from tdlab.studies.prompts import prompts

# K M = 6, and 11 uniforms a prompt; 71 numbers a prompt, 426 a block of 6.
TASK = Reasoning(width=5, patterns=3, steps=2, length=2, alpha=0.5)
RUN = Run(task=TASK, model=OneHead(width=5, xi=0.4), loss="squared", batch=6, dtype="float64")
RUNS = [replace(RUN, seed=seed) for seed in (3, 4, 0, 2**40, 9)]
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
WRONG = ((0.2, 0.7, 0.1), (0.1, 0.2, 0.7), (0.6, 0.1, 0.3))


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
        monkeypatch.setattr(evaluation, "NUMBERS", numbers)
        monkeypatch.setattr(its_prompts, "NUMBERS", numbers)
        monkeypatch.setattr(its_prompts, "_PROMPTS", prompts)

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


def one_by_one(size, tasks=(TASK,)):
    """The same without any machinery: variants, tasks, members, each on prompts drawn alone."""
    drawn = math.ceil(size / tasks[0].balance) * tasks[0].balance
    rows = []
    for params, task, (member, run) in itertools.product(VARIANTS, tasks, enumerate(RUNS)):
        batch = sample(task, seed=run.seed, size=drawn, dtype=torch.float64)
        world = cast(task.world(stream(run.seed, "world")), torch.float64)
        own = {name: leaf[member] for name, leaf in params.items()}
        rows.append(everything(own, world, batch))
    return {
        name: torch.stack([row[name][..., :size] for row in rows]).unflatten(
            0, (2, len(tasks), len(RUNS))
        )
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
    assert_same(measured(RUNS, VARIANTS, [TASK], 20, everything), one_by_one(20))
    assert parts == at_a_time


def test_as_they_come_few_members_are_measured_together(parts):
    assert_same(measured(RUNS, VARIANTS, [TASK], 20, everything), one_by_one(20))
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
    many = measured(RUNS, VARIANTS, [TASK], 20, everything)
    assert torch.get_num_threads() == count
    assert_same(many, one_by_one(20))
    assert parts == at_a_time  # where members are split at all, into a part for each thread


def test_the_number_of_threads_is_restored_where_measuring_fails(threads, held):
    def fails(params, world, batch):
        raise KeyError

    threads(2)
    held(1)
    with pytest.raises(KeyError):
        measured(RUNS, VARIANTS, [TASK], 6, fails)
    assert torch.get_num_threads() == 2


# Several tasks.


@pytest.mark.parametrize("numbers", [1 << 21, 1])
def test_tasks_that_differ_in_numbers_are_measured_as_each_of_them_alone(held, numbers):
    held(numbers)
    tasks = [replace(TASK, alpha=alpha) for alpha in (0.5, 0.9, 0.2)]
    assert_same(measured(RUNS, VARIANTS, tasks, 20, everything), one_by_one(20, tasks))


def test_tasks_come_in_the_order_asked_for_though_they_are_measured_by_program(held):
    held(1 << 21, 4)
    wrong = replace(NOISY, transitions=Transitions(matrices=(WRONG, WRONG)))
    tasks = [
        NOISY,
        replace(NOISY, noise=0.0),
        replace(wrong, alpha=0.9),
        replace(NOISY, noise=0.0, alpha=0.3),
        NOISY,
    ]
    found = measured(RUNS, VARIANTS, tasks, 9, everything)
    assert_same(found, one_by_one(9, tasks))
    assert found["prompt"].shape[1] == 5
    assert not found["prompt"][:, 0].equal(found["prompt"][:, 2])


def test_evaluation_in_coordinates_is_that_in_tokens():
    tasks = [replace(TASK, alpha=alpha) for alpha in (0.5, 0.9)]
    shared = [{**VARIANTS[0], "W": scale * VARIANTS[0]["W"]} for scale in (1.0, -2.0, 0.3)]

    def numbers(trace, batch):
        return {"output": trace.output.T, "attention": trace.attention.T, "z": batch.latent.chain.T}

    for variants in (VARIANTS, shared * 4):
        found = evaluate(RUNS, variants, tasks, 20, numbers)
        expected = measured(
            RUNS,
            variants,
            tasks,
            20,
            lambda params, _, batch: numbers(over_prompts(RUN.model, params, batch), batch),
        )
        for name, each in expected.items():
            torch.testing.assert_close(found[name], each, rtol=0, atol=1e-13)
            assert len(each) == len(variants)


# Prompts in blocks.


@pytest.mark.parametrize("at_once", [1, 13, 256])
@pytest.mark.parametrize("size", [1, 17])
def test_of_balanced_batches_as_many_prompts_are_kept_as_were_asked_for(held, at_once, size):
    held(1 << 21, at_once)
    found = measured(RUNS, VARIANTS, [TASK], size, everything)
    assert found["output"].shape == (2, 1, 5, 5, size)  # variant, task, member, d, prompt
    assert found["prompt"].shape == (2, 1, 5, 6, 10, size)  # variant, task, member, n, 2 d, prompt
    assert found["target"].shape == (2, 1, 5, 3, size)  # variant, task, member, j, prompt
    assert found["risk"].shape == (2, 1, 5, size)
    assert_same(found, one_by_one(size))


@pytest.mark.parametrize("at_once", [1, 4, 256])
@pytest.mark.parametrize("task", [ODD, NOISY, TASK], ids=["odd", "noisy", "even"])
def test_prompts_are_those_that_the_task_draws_whatever_the_block(held, task, at_once):
    held(1 << 21, at_once)
    assert task.uniforms % 2  # an odd number of them
    blocks = list(prompts(task, RUNS[2:4], 14))
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
    sizes = [block.prompt.shape[1] for block in prompts(TASK, RUNS, 36)]
    assert sizes == [most] * (36 // most)
