"""The claims on several layers, on planted tables whose verdicts are known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tdlab.claims import multilayer
from tdlab.claims.claim import overall
from tdlab.claims.li2024 import constants as li2024
from tdlab.claims.li2025.constants import FOCUS
from tdlab.statistics import error_interval
from tdlab.studies.multilayer import setting
from tdlab.studies.multilayer.setting import CHAIN, IN_CONTEXT, KINDS, TRAINED
from tests.tdlab.claims.findings import (
    assert_agrees,
    assert_blind_to,
    assert_misses,
    assert_planted,
)
from tests.tdlab.claims.intervals import student
from tests.tdlab.claims.planted import (
    NOISE,
    OTHER,
    A,
    D,
    U,
    Worlds,
    each_of,
    frame,
    rows,
    theory,
)

SETTING = replace(setting("paper"), seeds=8, first_seed=3)
S = 0.003
START, END, LATER = 0.3, 0.95, 400
LAYERS = (1, 2, 3)


def dynamics(ends=(END, END, END), spread=S, lower=0.2, chain=None, **_) -> pd.DataFrame:
    """Each seed's second head ends highest where its noise is above 0, its first elsewhere.

    The first begins highest in all of them.
    """
    parts = []
    for kind in KINDS:
        tops = ends if kind == IN_CONTEXT or chain is None else chain
        for layer, end in zip(LAYERS, tops, strict=True):
            top = end + spread * OTHER
            heads = (np.where(NOISE > 0, lower, top), np.where(NOISE > 0, top, lower))
            for head, last in enumerate(heads, start=1):
                for tasks in ("trained", "unseen") if kind == IN_CONTEXT else ("trained",):
                    # What was measured on trained tasks is no part of the claim.
                    off = 0.4 if kind == IN_CONTEXT and tasks == "trained" else 0.0
                    at: dict[str, Any] = {
                        "kind": kind,
                        "tasks": tasks,
                        "layer": layer,
                        "head": head,
                    }
                    start = START + spread * NOISE - (0.06 if head == 2 else 0.0)
                    parts += [
                        rows("concentration", start + off, step=0, **at),
                        rows("concentration", 0.99, step=7, **at),
                        rows("concentration", last - off, step=LATER, **at),
                    ]
        parts.append(rows("error", 0.4, step=LATER, kind=kind, tasks="unseen"))
        parts.append(theory("concentration", 1.0, step=LATER, kind=kind, tasks="unseen"))
    return frame(*parts)


def generalization(errors=(0.001,) * 3, fit=(0.002,) * 3, **_) -> pd.DataFrame:
    parts = []
    for trained, error, its in zip(TRAINED, errors, fit, strict=True):
        for tasks, value in (("trained", its), ("unseen", error), ("unseen by all", 0.4)):
            parts.append(rows("error", value, step=LATER, trained=trained, tasks=tasks))
            parts.append(rows("loss", 0.7, step=LATER, trained=trained, tasks=tasks))
        at = {"step": LATER, "trained": trained, "tasks": "unseen"}
        parts.append(theory("error", 0.0, **at))
    return frame(*parts)


WORLDS = Worlds({"dynamics": dynamics, "generalization": generalization}, SETTING)
measured, verdicts = WORLDS.measured, WORLDS.verdicts
CLAIMS = each_of(multilayer.CLAIMS)


@CLAIMS
def test_where_every_layer_concentrates_and_it_generalizes_the_claims_agree(claim):
    assert_agrees(claim, measured(claim), 9 if claim is multilayer.in_context else 6)


def test_each_layer_is_judged_by_itself():
    ends = (END, START - 0.1, START)
    assert verdicts(multilayer.in_context, ends=ends, spread=0.05)[:3] == [A, D, U]
    found = verdicts(multilayer.chain_of_thought, chain=(0.95, 0.5, FOCUS), spread=0.02)
    assert found == [A, A, A, A, D, U]


def test_a_head_that_ends_lower_than_it_began_is_no_rise():
    assert verdicts(multilayer.chain_of_thought, chain=(0.25, 0.25, 0.25))[:3] == [D, D, D]


def test_the_error_is_judged_for_every_number_of_training_tasks():
    found = verdicts(multilayer.in_context, errors=(0.0, 0.0049, 0.2), fit=(0.02, 0.0, 0.0099))
    assert found[3:] == [D, A, U, A, U, D]


def test_what_is_measured_is_the_highest_head_of_each_seed_at_both_ends():
    found = multilayer.in_context.findings(measured(multilayer.in_context))
    rise = student(END + S * OTHER - START - S * NOISE)
    fit, error = (tuple(error_interval(np.full(8, x), SETTING.prompts)) for x in (0.002, 0.001))
    assert_planted(found, [rise] * 3 + [fit] * 3 + [error] * 3, rel=1e-9)
    found = multilayer.chain_of_thought.findings(measured(multilayer.chain_of_thought))
    assert_planted(found, [rise] * 3 + [student(END + S * OTHER)] * 3, rel=1e-9)


def test_heads_that_no_training_has_changed_rise_as_rarely_as_the_interval_says():
    """Where both ends are drawn alike, choosing a head must not make it rise."""
    generator, agreed, worlds = np.random.default_rng(5), 0, 70
    for _ in range(worlds):
        table = measured(multilayer.chain_of_thought).dynamics
        table.value = 0.5 + 0.1 * generator.normal(size=len(table))
        found = multilayer.chain_of_thought.findings(
            SimpleNamespace(setting=SETTING, dynamics=table)
        )
        agreed += sum(finding.verdict == A for finding in found[:3])
    expected = 0.025 * 3 * worlds
    assert abs(agreed - expected) < 4 * np.sqrt(expected)


@CLAIMS
def test_the_order_of_rows_and_the_other_kind_do_not_show(claim):
    other = CHAIN if claim is multilayer.in_context else IN_CONTEXT

    def change(_, table):
        table = table.sample(frac=1, random_state=3).reset_index(drop=True)
        if "kind" in table:
            table.loc[table.kind == other, "value"] = 0.5
        return table

    assert_blind_to(change, claim, measured(claim))


@pytest.mark.parametrize(
    ("claim", "name", "lacking"),
    [
        (multilayer.in_context, "dynamics", {"layer": 2}),
        (multilayer.in_context, "dynamics", {"tasks": "unseen"}),
        (multilayer.in_context, "generalization", {"trained": 12}),
        (multilayer.chain_of_thought, "dynamics", {"kind": CHAIN}),
        (multilayer.chain_of_thought, "dynamics", {"source": "measured"}),
    ],
)
def test_what_is_missing_is_said(claim, name, lacking):
    assert_misses(claim, measured(claim), name, lacking)


def test_rules_say_the_constants_that_they_use():
    for number in (li2024.ERROR, multilayer.FITTED):
        assert f"{number:g} (ours)" in multilayer.in_context.rule
    assert f"{FOCUS:g} (ours)" in multilayer.chain_of_thought.rule
    assert overall(multilayer.in_context.findings(measured(multilayer.in_context))) == A
