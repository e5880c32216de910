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
    rate_alphas=(0.9, 0.5),
    rate_patterns=(6, 5),
    rate_losses=(0.2, 0.01, 0.16),
    rate_loss=0.18,
)


@pytest.fixture(scope="module")
def results():
    return {point: trained(runs) for point, runs in cot.rate_runs(TINY).items()}


def times(table):
    """What is measured, by what is varied, its value and the seed."""
    return of(table, "varied", "at", "seed")


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
        for run, own in zip(runs[point], TINY.runs(task), strict=True):
            assert run.id == replace(own, optimiser=SGD(lr=1.5)).id
            assert run.steps == 30
            assert run.snapshots.steps(30) == ()
            assert run.model == OneHead(width=9, xi=0.05)


def test_times_are_what_a_scan_of_smoothed_losses_gives(results):
    table = cot.rates(TINY, results)
    assert list(table.columns[:6]) == TIDY
    assert set(table["quantity"]) == {"time"}
    expected, ids = {}, set()
    for (varied, at), its in results.items():
        for level in TINY.rate_losses if varied == "loss" else (0.18,):
            for result in its:
                place = (varied, level if varied == "loss" else at, result.run.seed)
                expected[place] = steps_to(result.loss.tolist(), level)
                ids.add((*place, result.run.id))
    found = times(table)
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
    rows = table[table["source"] == "measured"]
    assert set(zip(*(rows[name] for name in ("varied", "at", "seed", "run")), strict=True)) == ids
    # On their way most come down, and none to a loss of 0.01.
    assert {point for point, time in found.items() if math.isnan(time)} == {
        ("loss", 0.01, 3),
        ("loss", 0.01, 4),
    }
    assert len({time for time in found.values() if time > 4}) > 8


def test_laws_start_at_the_median_of_the_smallest_value_and_have_both_exponents(results):
    table = cot.rates(replace(TINY, rate_losses=(0.2, 0.16)), results)
    measured = times(table)
    grids = {"alpha": (0.5, 0.9), "steps": (1, 3), "patterns": (5, 6), "loss": (0.16, 0.2)}
    expected = {}
    for varied, values in grids.items():
        start = (measured[varied, values[0], 3] + measured[varied, values[0], 4]) / 2
        for exponent, x in itertools.product(li2025.rate_exponents()[varied], values):
            expected[varied, x, exponent] = start * (x / values[0]) ** exponent
    laws = table[table["source"] == "theory"]
    points = zip(laws["varied"], laws["at"], laws["exponent"], strict=True)
    assert len(laws) == len(expected) == 16
    assert dict(zip(points, laws["value"], strict=True)) == pytest.approx(expected)
