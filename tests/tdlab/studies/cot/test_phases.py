"""The two phases of training, on curves whose crossings can be read off."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tdlab.results import tidy
from tdlab.studies import cot
from tests.tdlab.studies.tidy import TIDY, of

PLACES = [f"{a} step, {b} pattern" for a in ("other", "same") for b in ("other", "same")]


def curves(steps, other_step, shared, seed=3, alpha=0.4, source="measured"):
    """A table of dynamics: mass on other steps, and on another pattern of the query's step."""
    other, rival = np.array(other_step), np.array(shared)
    mass = dict(zip(PLACES, (0.75 * other, 0.25 * other, rival, 1 - other - rival), strict=True))
    where: dict[str, Any] = {"source": source, "step": steps, "alpha": alpha}
    where |= {"run": f"run {seed}", "seed": seed}
    loss = tidy("loss", 0.0 * other, "step", **where)
    return pd.concat([loss, *(tidy("mass", x, "step", place=p, **where) for p, x in mass.items())])


def phases(*tables, alpha=0.4):
    """Times, and the shared mass, by (seed, quantity, phase)."""
    made = cot.phases(pd.concat(tables), alpha)
    assert list(made.columns[:6]) == TIDY
    assert set(made["source"]) == {"measured"}
    assert set(made["alpha"]) == {alpha}
    assert made["run"].tolist() == [f"run {seed}" for seed in made["seed"]]
    return of(made, "seed", "quantity", "phase")


def three(seed, position, shared, pattern):
    """What is said of one member."""
    return {
        (seed, "time", "position"): position,
        (seed, "shared", "position"): shared,
        (seed, "time", "pattern"): pattern,
    }


def test_phases_are_over_where_their_curves_come_down_to_a_tenth():
    steps = (0, 10, 20, 40)
    found = phases(
        curves(steps, (0.8, 0.4, 0.0, 0.0), (0.2, 0.4, 0.6, 0.0)),
        curves(steps, (0.5, 0.05, 0.0, 0.0), (0.3, 0.4, 0.2, 0.0), seed=9),
        # Neither is asked for:
        curves(steps, (0.1, 0.0, 0.0, 0.0), (0.9, 0.5, 0.0, 0.0), alpha=0.8),
        curves(steps, (0.1, 0.0, 0.0, 0.0), (0.9, 0.5, 0.0, 0.0), source="theory"),
    )
    at = 80 / 9  # of the way from 0.5 to 0.05
    assert found == pytest.approx(
        three(3, position=17.5, shared=0.4 + 0.2 * 0.75, pattern=20 + 20 * 5 / 6)
        | three(9, position=at, shared=0.3 + 0.1 * at / 10, pattern=30.0)
    )


def test_a_pattern_is_not_learned_where_there_is_no_mass_on_this_step_at_all():
    # At step 0 all mass is elsewhere: nothing is on another pattern of this step.
    found = phases(curves((0, 10, 20, 30), (1.0, 0.05, 0.0, 0.0), (0.0, 0.5, 0.3, 0.0)))
    at = 10 * 0.9 / 0.95
    assert found == pytest.approx(three(3, at, shared=0.05 * at, pattern=20 + 10 * 2 / 3))


def test_a_position_that_is_known_from_the_start_is_learned_at_the_start():
    found = phases(curves((0, 10, 20), (0.1, 0.0, 0.0), (0.4, 0.0, 0.0)))
    assert found == pytest.approx(three(3, 0.0, shared=0.4, pattern=10 * 0.375 / 0.475))


def test_the_pattern_may_be_learned_first():
    # All mass on the right pattern, by step 10; on the right step by 40 only.
    rows = dict.fromkeys(PLACES, np.zeros(4))
    rows["other step, other pattern"] = np.array([0.5, 0.0, 0.0, 0.0])
    rows["other step, same pattern"] = np.array([0.2, 0.8, 0.7, 0.0])
    rows["same step, other pattern"] = np.array([0.2, 0.0, 0.0, 0.0])
    made = curves((0, 10, 20, 40), np.zeros(4), np.zeros(4))
    for place, mass in rows.items():
        made.loc[(made.quantity == "mass") & (made.place == place), "value"] = mass
    found = phases(made)
    position = 20 + 20 * 6 / 7
    assert found == pytest.approx(three(3, position, shared=0.0, pattern=10 * 6 / 7))


def test_snapshots_may_come_in_any_order():
    made = curves((0, 10, 20, 40), (0.8, 0.4, 0.0, 0.0), (0.2, 0.4, 0.6, 0.0))
    assert phases(made.iloc[::-1]) == phases(made)


def test_a_pattern_that_is_never_learned_has_no_time():
    found = phases(curves((0, 10, 20), (0.8, 0.0, 0.0), (0.2, 0.4, 0.3)))
    expected = three(3, 8.75, shared=0.2 + 0.2 * 0.875, pattern=np.nan)
    assert found == pytest.approx(expected, nan_ok=True)


def test_where_neither_is_ever_learned_nothing_has_a_time():
    found = phases(
        curves((0, 10, 20), (0.8, 0.5, 0.3), (0.2, 0.4, 0.05)),
        curves((0, 10, 20), (0.8, 0.0, 0.0), (0.2, 0.3, 0.0), seed=9),  # and others all the same
    )
    never = three(3, np.nan, shared=np.nan, pattern=np.nan)
    learned = three(9, 8.75, shared=0.2875, pattern=10 + 10 * 2 / 3)
    assert found == pytest.approx(never | learned, nan_ok=True)
