"""What the study of several layers trains."""

from dataclasses import replace

import pytest

from synthetic_tasks.task_sets import check_coverage, task_set
from tdlab.optimisers import SGD, Adam
from tdlab.studies import multilayer
from tdlab.studies.multilayer.setting import CHAIN, IN_CONTEXT, TRAINED
from tests.tdlab.studies.multilayer.settings import TINY

PAPER = multilayer.setting("paper")


def test_the_published_model_has_three_layers_and_two_heads_on_the_published_tasks():
    model, task = PAPER.model(IN_CONTEXT), PAPER.in_context()
    assert (model.layers, model.heads, model.attends) == (3, 2, "to earlier")
    assert (model.normalization, model.positions, model.columns) == ("before", "learned", 21)
    assert (task.relevant, task.irrelevant, task.alpha, task.length) == (6, 24, 0.8, 20)
    chain = PAPER.chain
    assert (chain.width, chain.patterns, chain.steps, chain.alpha) == (30, 20, 3, 0.4)
    assert (PAPER.model(CHAIN).outputs, PAPER.model(CHAIN).columns) == (30, 63)


def test_each_set_of_tasks_covers_and_none_has_the_pairs_that_are_unseen_by_all():
    rest = {frozenset(pair) for pair in PAPER.unseen_by_all.pairs}
    assert len(PAPER.unseen_by_all.pairs) == 6
    smaller: set[tuple[int, int]] = set()
    for count in TRAINED:
        pairs = PAPER.in_context(count).pairs
        assert len(set(pairs)) == count
        check_coverage(pairs, 6)
        assert not rest & {frozenset(pair) for pair in pairs}
        assert smaller < set(pairs)
        smaller = set(pairs)
    assert len(task_set("all", 6)) == 30


def test_runs_differ_in_seed_and_the_kinds_in_task_loss_and_batch():
    runs = PAPER.runs(IN_CONTEXT)
    assert [run.seed for run in runs] == list(range(4))
    assert len({replace(run, seed=0).id for run in runs}) == 1
    assert (runs[0].loss, runs[0].batch, runs[0].optimiser) == ("hinge", 100, Adam(lr=1e-3))
    chain = PAPER.runs(CHAIN)[0]
    assert (chain.loss, chain.batch, chain.task) == ("squared", 60, PAPER.chain)


def test_each_variant_changes_what_its_name_says():
    made = {name: runs[0] for name, runs in PAPER.by_variant().items()}
    base = made["unchanged"]
    assert base == PAPER.runs(IN_CONTEXT)[0]
    model = PAPER.model(IN_CONTEXT)
    assert base.model == model
    assert made["no normalization"] == replace(base, model=replace(model, normalization="none"))
    assert made["normalization after"] == replace(base, model=replace(model, normalization="after"))
    assert made["gradient descent"] == replace(base, optimiser=SGD(lr=0.1))
    assert made["24 tasks"] == PAPER.by_tasks()[24][0]
    assert made["4 times the steps"] == replace(base, steps=1600)
    assert made["chain of thought"] == PAPER.runs(CHAIN)[0]
    assert "4 times the steps" not in TINY.by_variant()


@pytest.mark.parametrize(
    ("field", "bad", "words"),
    [
        ("seeds", 0, "seeds is 0"),
        ("lr", 0.0, "lr is 0.0"),
        ("heads", 5, "width is 32, but must be a multiple of heads, 5"),
        ("chain_batch", 50, "batch is 50, but a Reasoning needs a multiple of 60"),
        ("longer", 0, "longer is 0"),
        ("prompts", 0, "prompts is 0"),
    ],
)
def test_it_refuses(field, bad, words):
    with pytest.raises(ValueError, match=words):
        multilayer.setting("quick", **{field: bad})
