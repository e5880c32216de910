"""What a chain and an answer in context need of their examples: worlds for it and against it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tdlab.claims import li2025 as claims
from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE
from tdlab.studies.cot import setting
from tdlab.studies.cot.inference import MEAN
from tests.tdlab.claims.li2025.tables import SETTING, cell, chain_lengths
from tests.tdlab.claims.li2025.worlds import judged, measured, verdicts, widest
from tests.tdlab.claims.planted import A, D, U


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    [
        *judged(
            claims.inference,
            # The end of the worst curve: still falling, flat, rising, and flat close to the limit.
            ({"cells": {(2, 0, 80): 0.03}}, [U, A, A, A, A, A]),
            ({"cells": {(2, 0, 80): 0.03, (2, 0, 40): 0.03}}, [D, A, A, A, A, A]),
            ({"cells": {(0, 2, 80): 0.03, (0, 2, 40): 0.02}}, [D, A, A, A, A, A]),
            ({"cells": {(1, 0, 80): 0.01, (1, 0, 40): 0.01}}, [U, A, A, A, A, A]),
            # One value of each with more error than the next lower one, or as much.
            ({"cells": {(0, 2, 10): 0.9}}, [A, D, A, A, A, A]),
            ({"cells": {(1, 1, 10): 0.8}}, [A, A, D, A, A, A]),
            ({"cells": {(2, 2, 10): 0.9}}, [A, A, A, D, A, A]),
            ({"cells": {(2, 1, 10): 0.8}}, [A, A, A, D, A, A]),
            ({"cells": {(0, 2, 10): 0.492}}, [A, U, A, A, A, A]),
            # Where examples are enough by the theorem; 32,000 prompts make it +- 0.0024.
            ({"cells": {(0, 1, 40): 0.2}}, [A, A, A, A, D, A]),
            ({"cells": {(1, 2, 20): 0.2}}, [A, A, A, A, D, A]),
            ({"cells": {(2, 1, 40): 0.053}}, [A, A, A, A, D, A]),
            ({"cells": {(2, 1, 40): 0.05}}, [A, A, A, A, U, A]),
            ({"cells": {(2, 1, 40): 0.047}}, [A, A, A, A, A, A]),
            ({"spread": 0.3}, [U, U, U, U, U, U]),
            ({"needed": (60.0, 60.0, 60.0)}, [A, A, A, A, A]),  # no curve is long enough
            ({"exponent": 0.3}, [A, A, A, A, A, A]),  # needing less does not disagree
            ({"exponent": 1.0}, [A, A, A, A, A, U]),
            ({"exponent": 1.01}, [A, A, A, A, A, D]),
            ({"exponent": 0.5, "never": True}, [A, A, A, A, A, A]),  # in one seed of eight
        ),
        *judged(
            claims.in_context,
            ({"cells": {(2, 0, 80): 0.03}}, [U, A, A, A, A, A]),
            ({"cells": {(0, 2, 80): 0.03, (0, 2, 40): 0.03}}, [D, A, A, A, A, A]),
            ({"cells": {(1, 1, 10): 0.8}}, [A, A, D, A, A, A]),
            ({"cells": {(2, 2, 10): 0.9}}, [A, A, A, D, A, A]),
            ({"cells": {(0, 1, 40): 0.2}}, [A, A, A, A, D, A]),
            ({"exponent": 1.01}, [A, A, A, A, A, D]),
        ),
        *judged(
            claims.icl_needs_condition_1,
            ({"fails": 0.3}, [D, A, A, A]),
            ({"fails": 0.5}, [U, A, A, A]),
            ({"rise": -0.1}, [A, D, A, A]),  # more context does help
            ({"rise": 0.0}, [A, U, A, A]),
            ({"rise": 0.0, "spread": 0.0}, [A, A, A, A]),  # no worse
            ({"chain": 0.3}, [A, A, D, A]),
            ({"chain": 0.1}, [A, A, U, A]),
            ({"chain": 0.09}, [A, A, A, A]),
            ({"holds": 0.2}, [A, A, A, D]),
            ({"holds": 0.01}, [A, A, A, U]),
            ({"fails": 0.0, "rise": 0.0, "chain": 0.9, "holds": 0.9}, [D, U, D, D]),
        ),
    ],
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected


@pytest.mark.parametrize(
    ("claim", "planted"),
    [
        (claims.inference, {0: 0.0083, 4: 0.0403}),
        (claims.in_context, {0: 0.0083, 4: 0.0403}),
        (claims.icl_needs_condition_1, {2: 0.03, 3: 0.004}),
    ],
    ids=lambda part: getattr(part, "id", ""),
)
def test_an_error_that_is_the_same_for_all_seeds_is_as_certain_as_its_prompts_make_it(
    claim, planted
):
    tables = measured(claim, spread=0.0)
    tables.setting = replace(SETTING, prompts=30)
    found = claim.findings(tables)
    for part, error in planted.items():
        expected = widest(np.full(8, error), prompts=30)
        assert expected[2] - expected[0] > 0.01
        assert tuple(found[part].measured) == pytest.approx(expected, rel=1e-9)


def test_the_least_gain_may_lie_between_any_two_neighbours():
    lower = claims.inference.findings(measured(claims.inference, cells={(1, 1, 10): 0.8}))[2]
    assert lower.part.startswith("error at tau = 0.4 less that at 0.5")
    expected = cell((1, 0, 10)) - cell((1, 1, 10), {(1, 1, 10): 0.8})
    assert lower.measured.estimate == pytest.approx((expected.mean() + 0.1 + 0.16 + 0.004) / 4)


def curves(**at: tuple[tuple[float, ...], ...]) -> pd.DataFrame:
    """Errors of the chain along alpha', by its value: a row a seed, a column each of 20, 40, 80."""
    rows = [
        {"varied": "alpha", "at": float(name.replace("_", "0.")), "seed": seed, "length": length,
         "value": value, "quantity": "error", "source": "measured", "output": MEAN}
        for name, seeds in at.items()
        for seed, its in enumerate(seeds)
        for length, value in zip((20, 40, 80), its, strict=True)
    ]  # fmt: skip
    bounds = [
        {"varied": "alpha", "at": x, "value": 15.0, "quantity": "length_bound", "source": "theory"}
        for x in {row["at"] for row in rows}
    ]
    return pd.DataFrame([*rows, *bounds])


def judged_by_inference(table: pd.DataFrame) -> list[str]:
    found = claims.inference.judge(setting("quick", prompts=10_000), table, chain_lengths())
    return [finding.verdict for finding in found]


def test_a_curve_that_is_flat_disagrees_whatever_a_worse_one_does():
    flat = ((0.03, 0.03, 0.03), (0.031, 0.03, 0.03), (0.03, 0.031, 0.03))
    falling = ((0.4, 0.2, 0.1), (0.41, 0.21, 0.1), (0.4, 0.2, 0.101))
    assert judged_by_inference(curves(_2=falling, _4=flat))[0] == DISAGREES


def test_the_gain_that_is_least_sure_is_the_one_that_is_judged():
    sure = ((0.3, 0.3, 0.3), (0.301, 0.3, 0.3), (0.3, 0.301, 0.3))
    less = ((0.2, 0.2, 0.2), (0.201, 0.2, 0.2), (0.2, 0.201, 0.2))
    wild = ((0.0, 0.0, 0.0), (0.3, 0.3, 0.3), (0.0, 0.0, 0.0))
    assert judged_by_inference(curves(_2=sure, _4=less, _8=wild))[1] == INCONCLUSIVE
    assert judged_by_inference(curves(_2=sure, _4=less))[1] == AGREES


def test_errors_that_never_happen_cannot_be_ordered():
    none = ((0.0, 0.0, 0.0),) * 3
    assert judged_by_inference(curves(_2=none, _4=none))[:2] == [AGREES, INCONCLUSIVE]


def test_every_length_that_is_enough_must_have_a_small_error():
    back = ((0.2, 0.03, 0.26), (0.2, 0.03, 0.261), (0.2, 0.031, 0.26))
    well = ((0.2, 0.03, 0.004), (0.2, 0.03, 0.0041), (0.2, 0.031, 0.004))
    assert judged_by_inference(curves(_2=back, _4=well))[-2] == DISAGREES
    assert judged_by_inference(curves(_2=well, _4=well))[-2] == AGREES
