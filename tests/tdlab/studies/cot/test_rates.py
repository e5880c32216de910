"""Steps to a fixed loss against a naive scan of the losses."""

import itertools
import math
from dataclasses import replace

import pytest

from tdlab.models import OneHead
from tdlab.optimisers import SGD
from tdlab.studies import cot
from tdlab.sweep import trained
from tdlab.theory import li2025
from tests.tdlab.studies.cot.settings import CHAINS
from tests.tdlab.studies.tidy import TIDY, of

TINY = replace(
    CHAINS,
    rate_lr=1.5,
    rate_steps=30,
    rate_seeds=3,
    rate_alphas=(0.9, 0.5, 0.7),
    rate_patterns=(6, 5, 4),
    rate_losses=(0.2, 0.01, 0.16),
    rate_loss=0.18,
    near_by=1.25,
)
MORE = replace(TINY, seeds=3)


@pytest.fixture(scope="module")
def results():
    return {point: trained(runs) for point, runs in cot.rate_runs(TINY).items()}


def times(table):
    """What is measured, by what is varied, its value and the seed."""
    return of(table, "regime", "varied", "at", "seed")


def steps_to(losses, level):
    """When the mean of nine losses in a row, filed under their middle, comes down to the level."""
    smooth = [(t + 4, sum(losses[t : t + 9]) / 9) for t in range(len(losses) - 8)]
    if smooth[0][1] <= level:
        return 4.0
    for (a, u), (b, v) in itertools.pairwise(smooth):
        if v <= level:
            return a + (b - a) * (u - level) / (u - v)
    return math.nan


def test_runs_train_on_the_rate_tasks_with_a_step_size_and_a_length_of_their_own():
    runs = cot.rate_runs(TINY)
    assert list(runs) == list(TINY.rate_tasks)
    for point, task in TINY.rate_tasks.items():
        for run, own in zip(runs[point], MORE.runs(task), strict=True):
            assert run.id == replace(own, optimiser=SGD(lr=1.5)).id
            assert run.steps == 30
            assert run.snapshots.steps(30) == ()
            assert run.model == OneHead(width=9, xi=0.05)


def test_times_are_what_a_scan_of_smoothed_losses_gives(results):
    table = cot.rates(TINY, results)
    assert list(table.columns[:6]) == TIDY
    assert set(table["quantity"]) == {"time"}
    expected, ids = {}, set()
    for regime, by in (("ours", 1), ("nearer the theorem", 1.25)):
        for (varied, at), its in results.items():
            for level in TINY.rate_losses if varied == "loss" else (0.18,):
                for result in its:
                    value = level / by if varied == "loss" else at
                    place = (regime, varied, value, result.run.seed)
                    expected[place] = steps_to(result.loss.tolist(), level / by)
                    ids.add((*place, result.run.id))
    found = times(table)
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
    rows = table[table["source"] == "measured"]
    names = ("regime", "varied", "at", "seed", "run")
    assert set(zip(*(rows[name] for name in names), strict=True)) == ids
    # On their way most come down, and none to a loss of 0.01.
    never = {point[1:3] for point, time in found.items() if math.isnan(time)}
    assert ("loss", 0.01) in never
    assert len({time for time in found.values() if time > 4}) > 8
    assert set(rows["limit"]) == {25.0}  # the middle of the last nine of 30


def test_laws_start_at_the_median_of_the_smallest_value_and_have_both_exponents(results):
    table = cot.rates(replace(TINY, rate_losses=(0.2, 0.16, 0.17), near_by=1.1), results)
    measured = times(table)
    grids = {"alpha": (0.5, 0.7, 0.9), "steps": (1, 2, 3), "patterns": (4, 5, 6)}
    expected = {}
    for regime, by in (("ours", 1), ("nearer the theorem", 1.1)):
        for varied, values in {**grids, "loss": (0.16 / by, 0.17 / by, 0.2 / by)}.items():
            own = [measured[regime, varied, values[0], seed] for seed in (3, 4, 5)]
            start = sorted(own)[1]
            for exponent, x in itertools.product(li2025.rate_exponents()[varied], values):
                expected[regime, varied, x, exponent] = start * (x / values[0]) ** exponent
    laws = table[table["source"] == "theory"]
    names = ("regime", "varied", "at", "exponent")
    points = zip(*(laws[name] for name in names), strict=True)
    assert len(laws) == len(expected) == 48
    assert dict(zip(points, laws["value"], strict=True)) == pytest.approx(expected)
