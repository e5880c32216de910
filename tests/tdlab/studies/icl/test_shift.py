"""Other prompts, mixed patterns and parts outside the span, against plain loops."""

from collections import Counter
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from synthetic_tasks import OutOfDomain, sample
from synthetic_tasks.threefry import stream
from tdlab.studies.evaluation import evaluate
from tdlab.studies.icl import out_of_domain, outside_span, prompt_shift, shift
from tdlab.studies.icl.shift import (
    ALPHAS,
    COEFFICIENT_SUMS,
    KAPPAS,
    LENGTHS,
    MIXED,
    OUTSIDE,
    pairings,
)
from tdlab.theory import li2024
from tests.tdlab.studies.icl.naive import ROUNDING, assert_agree, naive
from tests.tdlab.studies.icl.settings import TINY
from tests.tdlab.studies.icl.tables import MEASURED, assert_tidy, where

PROMPT_SHIFTS = {"alpha": ALPHAS, "length": LENGTHS, "kappa": KAPPAS}


@pytest.mark.parametrize("name", PROMPT_SHIFTS)
def test_prompt_shift_is_what_a_plain_loop_gives_at_every_value(tiny, name):
    table = prompt_shift(TINY, tiny, name)
    assert_tidy(table, name, key=[name])
    measured = where(table, source="measured")
    assert len(measured) == len(MEASURED) * len(PROMPT_SHIFTS[name]) * 2
    assert set(measured["step"]) == {5}
    for x in PROMPT_SHIFTS[name][::2]:
        shifted: dict[str, Any] = {name: x}
        task = replace(TINY.task.on_unseen(), **shifted)
        batch = sample(task, seed=3, size=TINY.prompts)
        assert_agree(where(measured, seed=3, **{name: x}), naive(tiny[0].final, batch))


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("alpha", {0.4, 0.6, 0.8, 1.0}),  # 4 >= 1 / alpha', so not 0.2
        ("length", {5.0, 10.0, 20.0, 40.0, 80.0}),  # all above 1 / 0.7
        ("kappa", {0.25}),  # at most the 0.4 of training
    ],
)
def test_prompt_shift_predicts_where_the_condition_holds_and_nowhere_else(tiny, name, covered):
    theory = where(prompt_shift(TINY, tiny, name), source="theory")
    assert set(theory[name]) == covered
    assert set(theory["value"]) == {0.0}
    assert set(theory["quantity"]) == {"hinge"}


def test_outside_span_is_what_a_plain_loop_gives(tiny):
    table = outside_span(TINY, tiny)
    assert_tidy(table, "outside", key=["outside"])
    assert len(table) == len(MEASURED) * len(OUTSIDE) * 2
    for r in (0.0, 0.6):
        mixing = OutOfDomain(trained=TINY.task, coefficient_sum=MIXED, outside=r)
        batch = sample(mixing, seed=4, size=TINY.prompts)
        assert_agree(where(table, seed=4, outside=r), naive(tiny[1].final, batch))


def test_outside_span_starts_from_queries_that_mix_two_patterns(tiny, monkeypatch):
    # At a coefficient sum of 1 a mixture is one trained pattern alone, which shifts nothing.
    assert MIXED > li2024.bound_shift_threshold() == 1
    assert MIXED in COEFFICIENT_SUMS
    module, asked = import_module("tdlab.studies.icl.shift"), []

    def spy(runs, variants, tasks, *rest):
        asked.extend(tasks)
        return evaluate(runs, variants, tasks, *rest)

    monkeypatch.setattr(module, "evaluate", spy)
    outside_span(replace(TINY, prompts=2), tiny)
    assert {(task.coefficient_sum, task.outside) for task in asked} == {(MIXED, r) for r in OUTSIDE}
    relevant = TINY.task.world(stream(4, "world")).relevant
    for task, mixes in ((asked[0], True), (replace(asked[0], coefficient_sum=1.0), False)):
        batch = sample(task, seed=4, size=20)
        share = batch.prompt[:, -1, :30].double() @ relevant.T / (relevant[0] @ relevant[0])
        assert ((share.topk(2).values[:, 1] > 0.1) == mixes).all()


def pair_behind_the_query(task, seed, batch):
    """The two IDR patterns that the query of each prompt mixes, read off the prompt itself."""
    relevant = TINY.task.world(stream(seed, "world")).relevant  # the trained member's, mu
    share = (batch.prompt[:, -1, :30].double() @ relevant.T).abs()
    return [frozenset(row.topk(2).indices.tolist()) for row in share]


@pytest.fixture(scope="module")
def mixed(tiny):
    return out_of_domain(TINY, tiny)


@pytest.mark.parametrize("pairing", pairings(6))
def test_out_of_domain_separates_queries_whose_pair_was_a_training_task(tiny, mixed, pairing):
    table = where(mixed, source="measured", pairing=pairing)
    neighbours = {frozenset((a, (a + 1) % 6)) for a in range(6)}
    task = OutOfDomain(trained=TINY.task, coefficient_sum=0.7, pairing=pairings(6)[pairing])
    for member, seed in enumerate((3, 4)):
        batch = sample(task, seed=seed, size=TINY.prompts)
        pairs = pair_behind_the_query(task, seed, batch)
        found = {"trained" if pair in neighbours else "other" for pair in pairs}
        here = where(table, seed=seed, coefficient_sum=0.7)
        assert set(here["pair"]) == found | {"any"}
        assert_agree(where(here, pair="any"), naive(tiny[member].final, batch))
        for kind in found:
            chosen = [(pair in neighbours) == (kind == "trained") for pair in pairs]
            expected = naive(tiny[member].final, batch, chosen.__getitem__)
            assert_agree(where(here, pair=kind), expected)


def test_drawn_pairings_differ_between_seeds_and_some_mix_both_kinds(mixed):
    many = [OutOfDomain(trained=TINY.task).pairs(stream(seed, "world")) for seed in range(12)]
    assert len({str(pairs.tolist()) for pairs in many}) == 12
    kinds = where(mixed, source="measured", pairing="drawn")
    assert set(kinds["pair"]) == {"trained", "other", "any"}


def test_any_pair_weights_every_prompt_alike_and_not_every_kind(mixed):
    # One pair in three was a training task: the mean of two kinds would weight its prompts twice.
    table = where(mixed, source="measured", pairing="drawn", quantity="concentration")
    values = table.pivot(index=["seed", "coefficient_sum"], columns="pair", values="value").dropna()
    assert len(values)
    share = (values["any"] - values["other"]) / (values["trained"] - values["other"])
    # A share of the 32 prompts, as far as the difference of the kinds resolves it.
    resolved = (values["trained"] - values["other"]).abs() > 1e-3
    prompts_ = share[resolved] * TINY.prompts
    assert resolved.any()
    np.testing.assert_allclose(prompts_, prompts_.round(), atol=32 * ROUNDING / 1e-3)
    assert (prompts_.round() != TINY.prompts / 2).any()


def test_named_pairings_are_made_of_training_tasks_or_of_none():
    cyclic = {frozenset((a, (a + 1) % 6)) for a in range(6)}
    named = pairings(6)
    for name, expected in (("neighbours", cyclic), ("opposite", set())):
        pairs = {frozenset(pair) for pair in named[name]}
        assert len(pairs) == 3
        assert set().union(*pairs) == set(range(6))
        assert pairs & cyclic == pairs & expected == (pairs if expected else set())


def test_out_of_domain_has_every_coefficient_sum_and_predicts_from_the_threshold(mixed):
    key = ["coefficient_sum", "pairing", "pair"]
    assert_tidy(mixed, *key, key=key)
    measured, theory = (where(mixed, source=source) for source in ("measured", "theory"))
    for pairing in ("neighbours", "opposite"):
        each = where(measured, pairing=pairing)
        assert len(each) == 2 * len(MEASURED) * len(COEFFICIENT_SUMS) * 2  # its kind, and any
        assert set(each["pair"]) == {"any", {"neighbours": "trained"}.get(pairing, "other")}
    anyone = where(measured, pair="any")
    assert len(anyone) == 3 * len(MEASURED) * len(COEFFICIENT_SUMS) * 2
    assert set(theory["coefficient_sum"]) == {1.0, 1.1, 1.2, 1.3, 1.4}
    assert set(theory["value"]) == {0.0}


def test_shift_is_all_shifts_in_one_table_and_says_which(tiny, mixed):
    table = shift(TINY, tiny)
    parts = {
        "coefficient_sum": mixed,
        "outside": outside_span(TINY, tiny),
        **{name: prompt_shift(TINY, tiny, name) for name in PROMPT_SHIFTS},
    }
    assert Counter(table["shift"]) == {name: len(part) for name, part in parts.items()}
    for name, part in parts.items():
        here = where(table, shift=name)
        assert here["value"].tolist() == part["value"].tolist()
        assert here[name].notna().all()
