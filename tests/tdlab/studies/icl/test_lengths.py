"""Lengths of prompts in testing and in training against plain loops over prompts.

Trained in float64, so that a table and a loop agree to the last few digits.
"""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from synthetic_tasks import sample
from tdlab.studies import icl
from tdlab.sweep import trained
from tests.tdlab.studies.icl.naive import assert_agree, naive
from tests.tdlab.studies.icl.settings import TINY
from tests.tdlab.studies.icl.tables import RISKS, assert_tidy, where
from tests.tdlab.studies.tidy import TIDY, of

# Learns in a few steps, so that some test prompts are long enough and some are not.
FAST = replace(
    TINY,
    lr=1.8,
    batch=20,
    irrelevant=5,
    length=8,
    kappa=0.3,
    beta=3.0,
    xi=0.1,
    neurons=24,
    steps=15,
    law_seeds=3,
    law_prompts=24,
    law_alphas=(0.75, 0.5, 0.9),
    law_test_alphas=(0.7, 0.4, 0.95),
    law_lengths=(5, 3, 18, 9),
    near_delta=0.15,
    near_relevant=5,
    near_steps=20,
)
REGIMES: dict[str, dict[str, Any]] = {
    "ours": {"delta": 0.17, "relevant": 6, "steps": 15},
    "nearer the theorem": {"delta": 0.15, "relevant": 5, "steps": 20},
}
LEVELS = {"hinge": 0.1, "zero_one": 0.05}
POINTS = [
    (regime, risk, alpha) for regime in REGIMES for risk in LEVELS for alpha in (0.4, 0.7, 0.95)
]


def train(groups):
    return {
        point: trained([replace(run, dtype="float64") for run in runs])
        for point, runs in groups.items()
    }


@pytest.fixture(scope="module")
def results():
    return train(icl.length_runs(FAST))


@pytest.fixture(scope="module")
def table(results):
    return icl.test_lengths(FAST, results)


def prompts(task, result):
    return sample(task, seed=result.run.seed, size=24, dtype=result.params["a"].dtype)


def reached(lengths, risks, level):
    """The length at which the risk comes down to the level, on straight lines between lengths."""
    curve = list(zip(lengths, risks, strict=True))
    if curve[0][1] <= level:
        return curve[0][0]
    for (a, u), (b, v) in itertools.pairwise(curve):
        if v <= level:
            return a + (b - a) * (u - level) / (u - v)
    return math.nan


def assert_seen_at_their_end(runs, expected):
    """These runs, of three seeds, with no snapshot before the end."""
    assert [run.seed for run in runs] == [3, 4, 5]
    for run, wanted in zip(runs, expected, strict=True):
        assert replace(run, snapshots=wanted.snapshots) == wanted
        assert run.snapshots.steps(run.steps) == ()


# In testing.


def test_prompts_are_tested_on_the_runs_of_each_regime():
    runs = icl.length_runs(FAST)
    assert list(runs) == list(REGIMES)
    for regime, its in REGIMES.items():
        assert_seen_at_their_end(runs[regime], replace(FAST, seeds=3, **its).runs())


def test_test_lengths_are_where_the_risks_of_a_plain_loop_come_down_to_their_levels(table, results):
    expected = {}
    for regime, alpha in itertools.product(REGIMES, (0.4, 0.7, 0.95)):
        unseen = replace(FAST, **REGIMES[regime]).task.on_unseen()
        for result in results[regime]:
            found = [
                naive(result.final, prompts(replace(unseen, alpha=alpha, length=length), result))
                for length in (3, 5, 9, 18)
            ]
            for risk, level in LEVELS.items():
                needed = reached((3, 5, 9, 18), [getattr(each, risk) for each in found], level)
                expected[regime, risk, 1 / alpha, result.run.seed] = needed
    found = of(table, "regime", "risk", "at", "seed")
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
    for regime, risk in itertools.product(REGIMES, LEVELS):
        own = [needed for point, needed in found.items() if point[:2] == (regime, risk)]
        # Of each some are long enough in between, and some are too short.
        assert any(needed > 3 and needed % 1 for needed in own)
        assert any(map(math.isnan, own))


def test_rows_of_test_lengths_say_their_run_and_the_longest_prompts_there_were(table, results):
    assert list(table.columns[:6]) == TIDY
    assert set(table["quantity"]) == {"length"}
    rows = where(table, source="measured")
    names = ("regime", "risk", "at", "seed", "run", "limit")
    found = list(zip(*(rows[name] for name in names), strict=True))
    expected = {
        (regime, risk, 1 / alpha, result.run.seed, result.run.id, 18.0)
        for regime, risk, alpha in POINTS
        for result in results[regime]
    }
    assert set(found) == expected
    assert len(found) == len(expected)


def test_the_theorem_says_of_each_risk_that_one_by_alpha_is_enough(table):
    found = of(table, "regime", "risk", "at", source="theory")
    assert found == {(regime, risk, 1 / alpha): 1 / alpha for regime, risk, alpha in POINTS}
    theory = where(table, source="theory")
    assert theory[["seed", "run", "limit"]].isna().all(axis=None)


# In training.

# 8 times 0.7 / alpha examples, and 15 times (0.7 / alpha)^(2/3) steps; rounded up.
TRAINING = {0.75: (8, 15), 0.5: (12, 19), 0.9: (7, 13)}


@pytest.fixture(scope="module")
def by_alpha():
    return train(icl.training_runs(FAST))


def test_runs_of_a_smaller_alpha_have_longer_prompts_and_more_steps():
    runs = icl.training_runs(FAST)
    assert list(runs) == list(TRAINING)
    for alpha, (length, steps) in TRAINING.items():
        own = replace(FAST, alpha=alpha, length=length, steps=steps, seeds=3)
        assert_seen_at_their_end(runs[alpha], own.runs())


@pytest.mark.parametrize("alpha", TRAINING)
def test_risks_after_training_are_what_a_plain_loop_gives_on_prompts_alike_for_every_alpha(
    by_alpha, alpha
):
    table = icl.training_lengths(FAST, by_alpha)
    task = replace(FAST.task.on_unseen(), alpha=0.8)  # of 8 examples
    for result in by_alpha[alpha]:
        rows = where(table, alpha=alpha, seed=result.run.seed)
        assert_agree(rows, naive(result.final, prompts(task, result)), RISKS)
        assert set(rows["run"]) == {result.run.id}
        assert set(zip(rows["length"], rows["step"], strict=True)) == {TRAINING[alpha]}


def test_training_lengths_are_tidy_and_nothing_but_measured(by_alpha):
    table = icl.training_lengths(FAST, by_alpha)
    assert_tidy(table, "alpha", "length", key=["alpha"])
    assert set(table["source"]) == {"measured"}
    assert len(table) == len(RISKS) * 3 * 3
