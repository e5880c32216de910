"""Classical learners and the Bayes-optimal predictor beside the transformer, prompt by prompt."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from importlib import import_module

import pytest

from synthetic_tasks import sample
from tdlab.baselines import LEARNERS
from tdlab.studies.icl import learners
from tdlab.studies.icl.classical import BAYES, TRANSFORMER
from tests.tdlab.studies.icl.naive import ROUNDING, naive
from tests.tdlab.studies.icl.settings import LEARNED, TINY
from tests.tdlab.studies.icl.tables import assert_tidy, number, where


@pytest.fixture(scope="module")
def learners_table(tiny):
    return learners(TINY, tiny)


def test_learners_has_a_row_for_each_learner_length_alpha_kappa_and_seed(learners_table):
    assert_tidy(
        learners_table,
        *("learner", "length", "alpha", "kappa"),
        key=["learner", "length", "alpha", "kappa"],
    )
    points = itertools.product(
        [TRANSFORMER, BAYES, *LEARNERS], (3, 7), (0.6, 0.8), (0.5, 1.0, 2.0), (3, 4)
    )
    columns = [learners_table[name] for name in ("learner", "length", "alpha", "kappa", "seed")]
    assert Counter(zip(*columns, strict=True)) == Counter(points)
    sources = set(zip(learners_table["learner"], learners_table["source"], strict=True))
    names = (TRANSFORMER, *LEARNERS)
    assert sources == {(BAYES, "theory")} | {(name, "measured") for name in names}


def nearest_label(batch, b):
    """The label of the context example whose input lies nearest to the query's."""
    x, labels = batch.prompt[b, :, :30].double(), batch.latent.label[b].tolist()
    far = [((column - x[-1]) ** 2).sum().item() for column in x[:-1]]
    return labels[far.index(min(far))]


def bayes_error(task, batch, b):
    """The error of the likelier sign, every task of the set being as likely beforehand."""
    *context, query = batch.latent.pattern[b].tolist()
    labels = batch.latent.label[b].tolist()
    likelihood = {1.0: 0.0, -1.0: 0.0}
    for plus, minus in task.pairs:
        if query in (plus, minus):
            each = [
                ({plus: 1.0, minus: -1.0}[j] == y) * task.alpha / 2
                if j in (plus, minus)
                else (1 - task.alpha) / 4 / 2  # four other patterns, two labels
                for j, y in zip(context, labels, strict=True)
            ]
            likelihood[1.0 if query == plus else -1.0] += math.prod(each)
    if likelihood[1.0] == pytest.approx(likelihood[-1.0], rel=1e-9):
        return 0.5
    return float(max(likelihood, key=likelihood.__getitem__) != batch.target[b].item())


@pytest.mark.parametrize(("alpha", "kappa", "length"), [(0.6, 2.0, 7), (0.8, 0.5, 3)])
def test_learners_are_judged_on_the_prompts_of_their_point(
    tiny, learners_table, alpha, kappa, length
):
    task = replace(TINY.task.on_unseen(), alpha=alpha, kappa=kappa, length=length)
    size = 6  # a point has 12 prompts over two seeds
    batch = sample(task, seed=4, size=size)
    here = where(learners_table, seed=4, alpha=alpha, kappa=kappa, length=length)
    targets = batch.target.tolist()
    expected = {
        TRANSFORMER: naive(tiny[1].final, batch).zero_one,
        "nearest_1": sum(nearest_label(batch, b) != z for b, z in enumerate(targets)) / size,
        BAYES: sum(bayes_error(task, batch, b) for b in range(size)) / size,
    }
    for learner, error in expected.items():
        assert number(here, learner=learner) == pytest.approx(error, abs=ROUNDING)


def test_the_bayes_optimal_predictor_is_told_what_drew_the_prompts(tiny, monkeypatch):
    module, told = import_module("tdlab.studies.icl.classical"), set()
    bayes_optimal = module.bayes_optimal

    def spy(pattern, label, query, tasks, alpha, patterns):
        told.add((frozenset(map(tuple, tasks.tolist())), alpha, patterns))
        return bayes_optimal(pattern, label, query, tasks, alpha, patterns)

    monkeypatch.setattr(module, "bayes_optimal", spy)
    learners(replace(TINY, lengths=(2,), classical_prompts=2), tiny)
    cyclic = {(a, (a + 1) % 6) for a in range(6)}
    unseen = frozenset(itertools.permutations(range(6), 2)) - cyclic
    assert told == {(unseen, 0.6, 6), (unseen, 0.8, 6)}


def test_no_learner_is_better_than_the_bayes_optimal_predictor(learned):
    table = learners(LEARNED, learned)
    prompts_a_point = 90
    mean = table.groupby(["learner", "alpha", "kappa"])["value"].mean().unstack("learner")
    for learner in (TRANSFORMER, *LEARNERS):
        # Both on the same prompts: they differ on at most a fraction p + q of them, and a
        # difference of 0 or +-1 has at most that variance.
        error = ((mean[learner] + mean[BAYES]) / prompts_a_point) ** 0.5
        assert (mean[BAYES] <= mean[learner] + 4 * error).all(), learner
    # And at much noise it is better than each: so it is not some learner's own row.
    loud = mean.xs(2.0, level="kappa")
    assert (loud[BAYES] < loud[list(LEARNERS)].min(axis=1)).all()
