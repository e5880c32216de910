"""Accuracy, loss and what the kernel is like on held-out prompts, one prompt after the other."""

import math
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch

from synthetic_tasks import Digits, sample
from synthetic_tasks.threefry import stream
from tdlab.models import SequenceClassifier, stacked
from tdlab.studies import kernels
from tdlab.studies.kernels.classification import BLOCK, CLASSIFIERS, held_out
from tdlab.trajectory import Ending, Trained
from tests.tdlab.studies.kernels.settings import FEW
from tests.tdlab.studies.tidy import TIDY, of

TINY = replace(
    FEW,
    batch=2,
    class_seeds=2,
    class_lr=0.01,
    class_snapshots=1,
    digit_steps=3,
    text_steps=4,
    text_length=32,
    path_steps=2,
    path_images=6,
    test_prompts=6,
    path_test=3,
)
QUANTITIES = ("accuracy", "loss", "row sum", "entropy")
SEEDS = (3, 4)
PATHS = "pathfinder 16x16"


def small(run):
    """The same run of a smaller classifier, in float64."""
    model = SequenceClassifier(
        kernel=run.model.kernel,
        token_width=run.task.token_width,
        columns=run.task.columns,
        width=4,
        hidden=3,
    )
    return replace(run, model=model, dtype="float64")


RUNS = {point: [small(run) for run in r] for point, r in kernels.classification_runs(TINY).items()}


def untrained(run):
    """A result whose parameters shrink; it does not matter what trained them."""
    steps = run.snapshots.steps(run.steps)
    start = run.model.init(stream(run.seed, "init"))
    return Trained(
        run=run,
        steps=steps,
        params=stacked({name: leaf / (1 + step) for name, leaf in start.items()} for step in steps),
        loss=torch.zeros(run.steps),
        observed={},
        ending=Ending(run.steps, "finished"),
    )


@pytest.fixture(scope="module")
def results():
    return {point: [untrained(run) for run in runs] for point, runs in RUNS.items()}


@pytest.fixture(scope="module")
def table(results):
    return kernels.classification(TINY, results)


# The runs.


def test_both_kernels_are_trained_on_every_task_and_pairs_share_their_seeds():
    runs = kernels.classification_runs(TINY)
    assert set(runs) == {(t, k) for t in ("digits", "text", PATHS) for k in CLASSIFIERS}
    assert CLASSIFIERS == ("softmax", "gaussian")
    tasks: dict[str, Any] = {"digits": (Digits(), 3), "text": (TINY.text, 4)}
    tasks[PATHS] = TINY.pathfinder(16), 2
    for (name, kernel), each in runs.items():
        task, steps = tasks[name]
        assert each == TINY.classifier_runs(task, kernel, steps)
        assert [run.seed for run in each] == [3, 4]


def test_images_of_32_pixels_are_trained_on_a_gpu_only():
    on_cpu, on_gpu = (set(kernels.classification_runs(TINY, device)) for device in ("cpu", "cuda"))
    assert on_gpu - on_cpu == {("pathfinder 32x32", kernel) for kernel in CLASSIFIERS}
    assert on_cpu < on_gpu
    runs = kernels.classification_runs(TINY, "cuda")["pathfinder 32x32", "softmax"]
    (large,) = {run.task for run in runs}
    assert large == TINY.pathfinder(32)
    assert large.columns == 32 * 32


# What is held out.


def run_of(name):
    return RUNS[name, "softmax"][0]


def prompts(batch):
    """Each prompt as bytes, so that two can be compared."""
    return [prompt.double().numpy().tobytes() for prompt in batch.prompt]


def pool(run):
    """All prompts that a run may draw in training."""
    world = run.task.world(stream(run.seed, "world"))
    return run.task.rows(world, torch.arange(run.task.size))


@pytest.mark.parametrize("name", ["digits", PATHS])
def test_no_held_out_image_is_in_the_pool_that_is_trained_on(name):
    run, count = run_of(name), {"digits": 450, PATHS: 40}[name]
    batch = held_out(replace(TINY, test_prompts=450, path_test=40), run)
    assert len(batch.prompt) == count
    assert batch.prompt.dtype == batch.target.dtype == torch.float64
    seen = set(prompts(pool(run)))
    assert len(seen) == run.task.size
    assert not seen & set(prompts(batch))
    assert len(set(prompts(batch))) == count
    # Both labels, so that the error of a guess is known.
    assert 0.4 < (batch.target > 0).double().mean() < 0.6


def test_the_digits_held_out_and_those_trained_on_are_all_there_are():
    batch = held_out(replace(TINY, test_prompts=450), run_of("digits"))
    both = {*prompts(batch), *prompts(pool(run_of("digits")))}
    assert len(both) == 1797


def test_held_out_texts_are_of_the_members_language_and_not_of_its_training_stream():
    long = replace(TINY, text_length=64, test_prompts=40)  # so that no text comes twice by chance
    run = replace(run_of("text"), task=long.text, model=SequenceClassifier(token_width=256))
    batch = held_out(long, run)
    expected = sample(run.task, seed=run.seed, size=40, dtype=torch.float64)
    assert torch.equal(batch.prompt, expected.prompt)
    seen = []
    for step in range(100):
        trained_on = sample(run.task, seed=run.seed, size=2, step=step, name="train")
        seen += prompts(trained_on)
    assert not set(seen) & set(prompts(batch))
    words = {word for text in run.task.text(batch.prompt) for word in text.split()}
    world = run.task.world(stream(run.seed, "world"))
    spelt = zip(world.letters.tolist(), world.size.tolist(), strict=True)
    assert words <= {bytes(letters[:size]).decode() for letters, size in spelt}


@pytest.mark.parametrize("name", ["text", PATHS])
def test_other_members_are_tested_on_prompts_of_their_own(name):
    one, other = (held_out(TINY, run) for run in RUNS[name, "gaussian"])
    assert not set(prompts(one)) & set(prompts(other))


# The table.


def by_loops(result):
    """Each quantity at each snapshot, from one prompt after the other."""
    batch, model = held_out(TINY, result.run), result.run.model
    found: dict[Any, float] = {}
    for step in result.steps:
        each: dict[str, list[float]] = {name: [] for name in QUANTITIES}
        for prompt, mask, target in zip(batch.prompt, batch.mask, batch.target, strict=True):
            trace = model.forward(result.at(step), prompt, mask)
            margin = float(trace.output * target)
            nats = torch.where(trace.attention > 0, trace.attention.log() * trace.attention, 0)
            each["accuracy"].append(margin > 0)
            each["loss"].append(math.log1p(math.exp(-margin)))
            each["row sum"].append(float(trace.attention.sum(-1).mean()))
            each["entropy"].append(-float(nats.sum(-1).mean()))
        found |= {(step, name): sum(numbers) / len(numbers) for name, numbers in each.items()}
    return found


@pytest.mark.parametrize("kernel", CLASSIFIERS)
@pytest.mark.parametrize("task", ["digits", "text", PATHS])
def test_a_number_is_the_mean_over_held_out_prompts_one_by_one(table, results, task, kernel):
    for result in results[task, kernel]:
        where = {"task": task, "kernel": kernel, "seed": result.run.seed, "run": result.run.id}
        expected = by_loops(result)
        if kernel == "gaussian":  # its rows are no distributions
            expected = {point: x for point, x in expected.items() if "entropy" not in point}
        assert of(table, "step", "quantity", **where) == pytest.approx(expected, rel=1e-9)


def test_the_table_is_tidy_and_of_every_snapshot(table, results):
    assert list(table.columns[:6]) == TIDY
    for (task, kernel), each in results.items():
        rows = table[(table.task == task) & (table.kernel == kernel)]
        assert set(rows["step"]) == set(each[0].steps)
        assert set(rows[rows.source == "measured"].seed) == set(SEEDS)
    assert {result.steps for result in results["digits", "softmax"]} == {(0, 3)}


def test_softmax_has_row_sums_of_one_and_guessing_is_right_half_the_time(table):
    sums = of(table, "task", "seed", "step", quantity="row sum", kernel="softmax")
    assert list(sums.values()) == pytest.approx([1] * len(sums))
    others = of(table, "task", "seed", "step", quantity="row sum", kernel="gaussian")
    assert min(others.values()) > 0
    assert max(abs(x - 1) for x in others.values()) > 0.1
    theory = table[table.source == "theory"]
    assert set(theory.quantity) == {"accuracy"}
    assert set(theory.value) == {0.5}
    assert set(zip(theory.task, theory.kernel, strict=True)) == set(RUNS)


def test_the_means_do_not_depend_on_how_many_prompts_are_held_at_once(table, results, monkeypatch):
    assert BLOCK > 4
    module = import_module("tdlab.studies.kernels.classification")
    monkeypatch.setattr(module, "BLOCK", 4)  # of six prompts, so that the last block is smaller
    point = ("digits", "gaussian")
    again = kernels.classification(TINY, {point: results[point]})
    names = ("step", "quantity", "seed")
    before = of(table, *names, task=point[0], kernel=point[1])
    assert of(again, *names) == pytest.approx(before, rel=1e-12)
