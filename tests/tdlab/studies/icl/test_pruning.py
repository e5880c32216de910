"""The risk without some neurons or entries of the attention matrices, against plain loops."""

import math
from collections import Counter
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from synthetic_tasks import sample
from tdlab.studies.evaluation import evaluate
from tdlab.studies.icl import attention_pruning, pruning
from tdlab.studies.icl.pruning import FRACTIONS
from tests.tdlab.studies.icl.naive import ROUNDING, assert_agree, naive, on_prompts
from tests.tdlab.studies.icl.settings import LEARNED, TINY
from tests.tdlab.studies.icl.tables import RISKS, assert_tidy, number, where


def without(params, name, dead):
    """Parameters with those rows at zero."""
    weights = params[name].clone()
    for row in dead:
        weights[row] = 0
    return params | {name: weights}


@pytest.fixture(scope="module")
def unseen_batch():
    """Prompts of the second member at alpha' = 0.6, where the others are at 0.8."""
    task = replace(LEARNED.task.on_unseen(), alpha=0.6)
    return sample(task, seed=1, size=256)


@pytest.fixture(scope="module")
def one_block(learned):
    """The second member's table on one block of prompts, so that `sample` draws them all."""
    return pruning(replace(LEARNED, prompts=256), learned[1:2])


def test_pruning_has_a_row_for_each_order_fraction_alpha_and_seed(pruned_table):
    assert_tidy(
        pruned_table, "fraction", "order", "alpha", "large", key=["order", "fraction", "alpha"]
    )
    measured = where(pruned_table, source="measured")
    each = {(risk, alpha, seed) for risk in RISKS for alpha in (0.6, 0.8, 1.0) for seed in range(3)}
    for order in ("smallest", "random", "largest", "all small"):
        rows = where(measured, order=order)
        points = Counter(zip(rows["quantity"], rows["alpha"], rows["seed"], strict=True))
        assert points == dict.fromkeys(each, 1 if order == "all small" else len(FRACTIONS))
        if order != "all small":
            assert set(rows["fraction"]) == set(FRACTIONS)


@pytest.mark.parametrize("order", ["smallest", "largest"])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_pruned_risk_is_what_a_plain_loop_gives(learned, one_block, unseen_batch, order, fraction):
    params = learned[1].final
    norms = [math.hypot(*row) for row in params["W_O"].double().tolist()]
    by_norm = sorted(range(64), key=norms.__getitem__, reverse=order == "largest")
    expected = naive(without(params, "W_O", by_norm[: round(64 * fraction)]), unseen_batch)
    here = where(one_block, source="measured", alpha=0.6, order=order, fraction=fraction)
    assert_agree(here, expected, RISKS)


def test_nothing_pruned_is_the_same_in_every_order(pruned_table):
    nothing = where(pruned_table, fraction=0.0, source="measured")
    spread = nothing.groupby(["quantity", "alpha", "seed"])["value"].agg(["min", "max", "size"])
    assert (spread["size"] == 3).all()
    assert (spread["min"] == spread["max"]).all()


def test_all_small_prunes_every_row_whose_label_part_is_short(learned, one_block, unseen_batch):
    params = learned[1].final
    rows = params["W_O"].double().numpy() @ params["W_V"].double().numpy()
    small = [m for m in range(64) if math.hypot(*rows[m, 30:]) <= 0.1]
    assert 0 < len(small) < 32
    here = where(one_block, source="measured", alpha=0.6, order="all small")
    assert set(here["fraction"]) == {len(small) / 64}  # sixty-fourths are exact
    assert set(here["large"]) == {1 - len(small) / 64}
    assert_agree(here, naive(without(params, "W_O", small), unseen_batch), RISKS)


def test_a_member_alone_loses_the_same_random_rows_as_beside_others(learned):
    few = replace(LEARNED, prompts=40)
    tables = [pruning(few, results) for results in (learned[1:2], learned)]
    alone, together = (
        where(table, source="measured", order="random", seed=1).sort_values(
            ["quantity", "alpha", "fraction"]
        )["value"]
        for table in tables
    )
    np.testing.assert_allclose(alone, together, atol=ROUNDING)


def test_copies_of_a_member_under_two_seeds_lose_different_random_rows(learned, monkeypatch):
    seen = []

    def spy(runs, variants, *rest):
        seen.append([(params["W_O"] == 0).all(-1) for params in variants])
        return evaluate(runs, variants, *rest)

    # The name `tdlab.studies.icl.pruning` is the function; its module is asked for by import.
    monkeypatch.setattr(import_module("tdlab.studies.icl.pruning"), "evaluate", spy)
    twins = [replace(learned[1], run=result.run) for result in learned[:2]]
    pruning(replace(LEARNED, prompts=2), twins)
    differ = [gone for gone in seen[0] if not gone[0].equal(gone[1])]
    assert len(differ) == len(FRACTIONS) - 1  # the random order, and wherever something is pruned
    assert [gone.sum(-1).tolist() for gone in differ] == [
        [round(64 * fraction)] * 2 for fraction in FRACTIONS[1:]
    ]


def test_pruned_hinge_is_predicted_by_equal_shares_of_the_large_neurons(
    learned, one_block, unseen_batch
):
    table = where(one_block, alpha=0.6)
    theory = where(table, source="theory")
    assert set(theory["quantity"]) == {"hinge"}
    assert set(theory["order"]) == {"smallest", "random", "largest"}
    (large,) = set(where(table, source="measured")["large"])
    outputs = [output for output, _ in on_prompts(learned[1].final, unseen_batch)]
    margins = np.array(outputs) * unseen_batch.target.numpy()
    for fraction in FRACTIONS:
        lost = {
            "largest": min(1.0, fraction / large),
            "smallest": max(0.0, fraction - (1 - large)) / large,
            "random": fraction,
        }
        for order, share in lost.items():
            expected = sum(max(0.0, 1 - (1 - share) * m) for m in margins) / len(margins)
            measured = number(theory, order=order, fraction=fraction)
            assert measured == pytest.approx(expected, abs=ROUNDING)


def test_members_without_a_large_neuron_are_pruned_all_the_same(tiny):
    table = pruning(TINY, tiny)
    assert_tidy(table, key=["order", "fraction", "alpha"])
    assert set(where(table, source="measured")["large"]) == {0.0}
    assert set(where(table, order="all small")["fraction"]) == {1.0}


def test_attention_pruning_is_what_a_plain_loop_gives(tiny):
    table = attention_pruning(TINY, tiny)
    assert_tidy(table, "fraction", "matrix", key=["fraction", "matrix"])
    fractions = (*FRACTIONS, 0.95, 0.99)
    assert len(table) == len(RISKS) * 2 * len(fractions) * 2
    assert set(table["fraction"]) == set(fractions)
    batch = sample(TINY.task.on_unseen(), seed=4, size=TINY.prompts)
    for matrix, fraction in (("W_Q", 0.0), ("W_Q", 0.99), ("W_K", 0.95)):
        params = tiny[1].final
        weights = params[matrix].flatten().tolist()
        order = sorted(range(len(weights)), key=lambda place: abs(weights[place]))
        flat = without({"flat": params[matrix].flatten()}, "flat", order[: round(3600 * fraction)])
        changed = params | {matrix: flat["flat"].reshape(60, 60)}
        here = where(table, seed=4, matrix=matrix, fraction=fraction)
        assert_agree(here, naive(changed, batch), RISKS)
