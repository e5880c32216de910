"""The prompts that the study evaluates on: whose they are, and how they are held."""

from dataclasses import replace

import pytest
import torch

from synthetic_tasks import sample
from tdlab.studies.evaluation import evaluate, risks
from tdlab.studies.prompts import prompts
from tests.tdlab.studies.icl.settings import LEARNED, TINY


def joined(blocks):
    """Prompts and targets of all blocks, (member, prompt, ...)."""
    blocks = list(blocks)
    return tuple(
        torch.cat([getattr(block, name) for block in blocks], dim=1)
        for name in ("prompt", "target", "mask")
    )


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        assert left.equal(right)


def test_prompts_are_a_function_of_task_and_seed():
    runs = TINY.runs()
    retrained = replace(TINY, steps=1, lr=0.3, neurons=8).runs()
    task = TINY.task
    assert_same(joined(prompts(task, runs, 20)), joined(prompts(task, retrained, 20)))
    first, second = joined(prompts(task, runs, 20))[0]
    assert not first.equal(second)


def test_prompts_of_a_member_are_the_same_alone_and_beside_others():
    runs, task = LEARNED.runs(), replace(LEARNED.task, alpha=0.6, beta=2.0)
    together = joined(prompts(task, runs, 300))
    for member, run in enumerate(runs):
        alone = joined(prompts(task, [run], 300))
        assert_same([leaf[member] for leaf in together], [leaf[0] for leaf in alone])


def test_prompts_are_those_that_the_task_draws_by_itself():
    drawn = joined(prompts(TINY.task, TINY.runs(), 20))
    for member, run in enumerate(TINY.runs()):
        alone = sample(TINY.task, seed=run.seed, size=20)
        assert_same([leaf[member] for leaf in drawn], [alone.prompt, alone.target, alone.mask])


@pytest.mark.parametrize(("few", "many"), [(10, 300), (300, 700), (256, 257), (1, 2)])
def test_the_first_prompts_of_many_are_those_of_few(few, many):
    task, runs = TINY.task, TINY.runs()
    longer = joined(prompts(task, runs, many))
    assert longer[0].shape[1] == many
    assert_same([leaf[:, :few] for leaf in longer], joined(prompts(task, runs, few)))


def test_prompts_are_held_in_blocks_of_bounded_size_and_no_block_is_repeated():
    sizes, seen = [], set()
    for block in prompts(TINY.task, TINY.runs(), 1100):
        sizes.append(block.prompt.shape[1])
        seen |= {tuple(prompt.flatten().tolist()) for prompt in block.prompt.flatten(0, 1)}
    assert max(sizes) <= 256
    assert sum(sizes) == 1100
    assert len(seen) == 2 * 1100


def test_no_evaluation_prompt_was_trained_on():
    asked = joined(prompts(TINY.task, TINY.runs(), 256))[0]
    for run, its_own in zip(TINY.runs(), asked, strict=True):
        seen = [
            sample(TINY.task, seed=run.seed, size=100, step=step, name="train").prompt
            for step in range(TINY.steps)
        ]
        assert torch.cdist(its_own.flatten(1), torch.cat(seen).flatten(1)).min() > 0.01


def test_every_variant_meets_the_same_prompts_and_has_numbers_of_its_own(tiny):
    runs = TINY.runs()
    start, end = (
        {name: torch.stack([r.at(s)[name] for r in tiny]) for name in tiny[0].final} for s in (0, 5)
    )
    both = evaluate(runs, [start, end], [TINY.task], 300, risks)
    alone = evaluate(runs, [end], [TINY.task], 300, risks)
    assert both["hinge"].shape == (2, 1, 2, 300)
    for name, numbers in alone.items():
        torch.testing.assert_close(both[name][1:], numbers)
    assert not both["hinge"][0].equal(both["hinge"][1])
