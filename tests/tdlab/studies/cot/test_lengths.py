"""The number of examples that inference needs, on a small table of errors made by hand."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tdlab.results import tidy
from tdlab.studies import cot
from tests.tdlab.studies.tidy import TIDY, of

LENGTHS, SEEDS = (2, 5, 9), (3, 8)
FIRST, SECOND = "mean over steps", "final answer"
# By what is varied and its value: the theorem's number, and errors, a row for each seed.
CURVES: dict[tuple[str, float], tuple[float, list[list[float]]]] = {
    ("tau", 0.7): (4.25, [[0.41, 0.08, 0.02], [0.33, 0.04, 0.07]]),
    ("tau", 0.6): (7.5, [[0.52, 0.31, 0.06], [0.05, 0.2, 0.01]]),
    ("rho", 0.7): (3.125, [[0.37, 0.051, 0.05], [0.049, 0.02, 0.0]]),
}
# An error of 0.05 on the straight line between two lengths; NaN beyond the longest.
NEEDED = {
    ("tau", 0.7, 3): 5 + 4 * 0.03 / 0.06,
    ("tau", 0.7, 8): 2 + 3 * 0.28 / 0.29,
    ("tau", 0.6, 3): math.nan,
    ("tau", 0.6, 8): 2,  # at once, whatever comes later
    ("rho", 0.7, 3): 9,  # at the very last
    ("rho", 0.7, 8): 2,
}


def measured(values, output, **where):
    return tidy(
        "error",
        values,
        "seed length",
        source="measured",
        seed=SEEDS,
        run=("seed", ["one", "another"]),
        length=LENGTHS,
        step=40,
        output=output,
        **where,
    )


def theory(quantity, value, output, **where):
    return tidy(quantity, value, "", source="theory", step=40, output=output, **where)


def table(first=FIRST, second=SECOND):
    """Errors as the study has them: two outputs, the limit at the longest prompt, and bounds."""
    parts = []
    for (varied, at), (bound, errors) in CURVES.items():
        where: dict[str, Any] = {"varied": varied, "at": at}
        parts += [
            measured(np.array(errors), first, **where),
            measured(np.array(errors)[::-1] / 2, second, **where),
            theory("error", 0.0, first, length=9, **where),
            theory("error_bound", 0.02, first, length=5, **where),
            theory("length_bound", bound, first, **where),
        ]
    return pd.concat(parts, ignore_index=True)


def found(errors):
    return of(cot.needed_lengths(errors), "varied", "of", "seed")


def test_the_length_is_where_the_straight_line_between_two_lengths_comes_down_to_the_level():
    assert found(table()) == pytest.approx(NEEDED, nan_ok=True)


@pytest.mark.parametrize("outputs", [(FIRST, SECOND), (SECOND, FIRST)])
def test_only_the_first_output_counts_whichever_it_is(outputs):
    errors = table(*outputs)
    assert found(errors) == pytest.approx(NEEDED, nan_ok=True)
    alone = errors[errors["output"] == outputs[0]]
    pd.testing.assert_frame_equal(cot.needed_lengths(alone), cot.needed_lengths(errors))


def test_rows_stand_at_the_theorems_number_and_say_their_run_and_the_most_examples_there_were():
    lengths = cot.needed_lengths(table())
    assert list(lengths.columns[:6]) == TIDY
    assert set(lengths["quantity"]) == {"length"}
    rows = lengths[lengths["source"] == "measured"]
    names = ("varied", "of", "at", "seed", "run", "step", "limit")
    points = list(zip(*(rows[name] for name in names), strict=True))
    runs = {3: "one", 8: "another"}
    expected = {
        (*point, bound, seed, run, 40, 9.0)
        for point, (bound, _) in CURVES.items()
        for seed, run in runs.items()
    }
    assert set(points) == expected
    assert len(points) == len(expected)


def test_the_theorem_says_its_number_once_for_each_curve():
    lengths = cot.needed_lengths(table())
    expected = {(*point, bound): bound for point, (bound, _) in CURVES.items()}
    assert of(lengths, "varied", "of", "at", source="theory") == expected
    theory_rows = lengths[lengths["source"] == "theory"]
    assert theory_rows[["seed", "run", "limit"]].isna().all(axis=None)


def test_the_order_of_rows_does_not_matter_but_for_which_output_is_first():
    rng = np.random.default_rng(5)
    errors = table()
    own = (errors["output"] == FIRST) & (errors["source"] == "measured")
    for _ in range(3):
        first = errors[own].sample(frac=1, random_state=rng)
        others = pd.concat([first[1:], errors[~own]]).sample(frac=1, random_state=rng)
        mixed = pd.concat([first[:1], others])
        assert found(mixed) == pytest.approx(NEEDED, nan_ok=True)
        assert of(cot.needed_lengths(mixed), "varied", "of", source="theory") == {
            point: bound for point, (bound, _) in CURVES.items()
        }
