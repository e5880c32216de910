"""The final risk by batch, in each regime, against a plain loop over prompts."""

from dataclasses import replace
from typing import Any

import pytest

from synthetic_tasks import sample
from tdlab.studies import icl
from tdlab.sweep import trained
from tests.tdlab.studies.icl.naive import assert_agree, naive
from tests.tdlab.studies.icl.settings import TINY
from tests.tdlab.studies.icl.tables import RISKS, assert_tidy, where

# The batch of the setting itself is none of those that are compared.
SMALL = replace(
    TINY, irrelevant=5, neurons=12, batch=9, lr=0.6, near_delta=0.13, near_relevant=5, law_seeds=3
)
REGIMES: dict[str, dict[str, Any]] = {
    "ours": {"delta": 0.17, "relevant": 6, "steps": 5},
    "nearer the theorem": {"delta": 0.13, "relevant": 5, "steps": 4},
}
POINTS = [(regime, batch) for regime in REGIMES for batch in (4, 7, 12)]


@pytest.fixture(scope="module")
def results():
    return {point: trained(runs) for point, runs in icl.batch_runs(SMALL).items()}


@pytest.fixture(scope="module")
def table(results):
    return icl.batches(SMALL, results)


def test_runs_are_those_of_each_regime_with_another_batch_and_are_seen_at_their_end():
    runs = icl.batch_runs(SMALL)
    assert list(runs) == POINTS
    for regime, batch in POINTS:
        its = runs[regime, batch]
        expected = replace(SMALL, batch=batch, seeds=3, **REGIMES[regime]).runs()
        assert [run.seed for run in its] == [3, 4, 5]
        for run, wanted in zip(its, expected, strict=True):
            assert replace(run, snapshots=wanted.snapshots) == wanted
            assert run.snapshots.steps(run.steps) == ()


@pytest.mark.parametrize(("regime", "batch"), POINTS)
def test_risks_are_what_a_plain_loop_gives_on_unseen_tasks_of_the_regime(
    table, results, regime, batch
):
    for result in results[regime, batch]:
        seed, task = result.run.seed, replace(SMALL, **REGIMES[regime]).task.on_unseen()
        rows = where(table, regime=regime, at=float(batch), seed=seed)
        assert_agree(rows, naive(result.final, sample(task, seed=seed, size=32)), RISKS)
        assert set(rows["run"]) == {result.run.id}
        assert set(rows["step"]) == {REGIMES[regime]["steps"]}


def test_the_table_is_tidy_and_has_nothing_but_what_is_measured(table):
    assert_tidy(table, "regime", "at", key=["regime", "at"])
    assert set(table["source"]) == {"measured"}
    assert len(table) == len(RISKS) * len(POINTS) * 3
    assert table["value"].nunique() > len(POINTS) * 3
