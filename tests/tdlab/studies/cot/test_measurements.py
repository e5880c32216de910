"""The tables of one setting come from the runs that each is about, and no run is trained twice."""

from dataclasses import replace

import pytest

from tdlab.studies import cot
from tests.tdlab import smallest
from tests.tdlab.studies.wanted import (
    Needs,
    assert_measured_once,
    assert_trained_once,
    needed,
    runs_of,
)

TINY = smallest.cot(
    steps=2,
    snapshots=1,
    prompts=2,
    width=7,
    wide=8,
    patterns=3,
    length=3,
    lengths=(2, 4),
    rate_patterns=(2, 3, 4),
    rate_chains=(1, 2, 4),
)
BASE, WIDE = TINY.runs(), TINY.runs(TINY.wide_task)
NEEDS: Needs = {
    "dynamics": [(BASE,)],
    "ablations": [(cot.ablation_runs(TINY),)],
    "attention": [(BASE, WIDE)],
    "rates": [(cot.rate_runs(TINY),)],
    "chain_errors": [(BASE,)],
    "in_context_errors": [(BASE,)],
    "conditions": [(BASE,)],
    "shift": [(WIDE,)],
}


@pytest.fixture
def told(planted):
    """What the functions of the study are given, by name, each time; nothing is measured."""
    return planted("cot", (*NEEDS, "phases", "needed_lengths"))


@pytest.mark.parametrize("name", NEEDS)
def test_a_table_is_measured_once_on_the_results_it_is_about_and_nothing_else_is_trained(
    told, trainings, name
):
    made = cot.Measurements(TINY)
    assert_measured_once(made, name, NEEDS, told, trainings)
    assert getattr(made, name)["table"].tolist() == [name]
    ((its_setting, *_),) = told[name]
    assert its_setting is TINY


def test_phases_are_those_of_the_dynamics_on_prompts_of_training(told):
    made = cot.Measurements(TINY)
    assert made.phases["table"].tolist() == ["phases"]
    ((dynamics, alpha),) = told["phases"]
    assert dynamics is made.dynamics
    assert alpha == 0.7
    assert len(told["dynamics"]) == 1


@pytest.mark.parametrize("kind", ["chain", "in_context"])
def test_needed_lengths_are_those_of_the_errors(told, kind):
    made = cot.Measurements(TINY)
    assert getattr(made, f"{kind}_lengths")["table"].tolist() == ["needed_lengths"]
    ((errors,),) = told["needed_lengths"]
    assert errors is getattr(made, f"{kind}_errors")


def test_no_run_is_trained_twice_whatever_is_asked_for(told, trainings):
    assert_trained_once(cot.Measurements, TINY, NEEDS, NEEDS, trainings)
    # Two grids of the rates share a point: runs are known across the groups of one table as well.
    assert len(set(needed(NEEDS, "rates"))) < len(needed(NEEDS, "rates"))


def test_where_both_widths_are_the_same_so_are_the_runs(told, trainings):
    same = replace(TINY, width=8)
    assert not cot.Measurements(same).attention.empty
    ((_, base, wide),) = told["attention"]
    assert runs_of(base) == runs_of(wide) == trainings == same.runs()


def test_a_table_that_is_not_planted_can_be_asked_for():
    table = cot.Measurements(TINY).dynamics
    assert set(table["alpha"]) == {0.7, 0.8}
    assert set(table["seed"].dropna()) == {0, 1}
