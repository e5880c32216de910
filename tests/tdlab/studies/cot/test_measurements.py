"""The tables of one setting come from the runs that each is about, and no run is trained twice."""

from dataclasses import replace
from importlib import import_module
from itertools import chain
from typing import Any

import pandas as pd
import pytest

from tdlab.run import Run
from tdlab.studies import cot, measurements
from tdlab.sweep import trained

TINY = cot.setting(
    "quick",
    seeds=2,
    steps=2,
    snapshots=1,
    prompts=2,
    width=7,
    wide=8,
    patterns=3,
    chain=2,
    length=3,
    alpha=0.7,
    test_patterns=3,
    tau=0.6,
    rho=0.5,
    tau_o=0.6,
    rho_o=0.5,
    failing=0.6,
    lengths=(2, 4),
    taus=(0.6, 0.65),
    rhos=(0.4, 0.5),
    rate_steps=20,
    rate_alphas=(0.5, 0.9),
    rate_chains=(1, 2),
    rate_patterns=(3, 4),
    rate_losses=(0.3, 0.25),
    rate_loss=0.3,
)


BASE, WIDE = TINY.runs(), TINY.runs(TINY.wide_task)
# What each table is made from, in the order of the function's arguments.
NEEDS: dict[str, list[Any]] = {
    "dynamics": [BASE],
    "ablations": [cot.ablation_runs(TINY)],
    "attention": [BASE, WIDE],
    "rates": [cot.rate_runs(TINY)],
    "chain_errors": [BASE],
    "in_context_errors": [BASE],
    "conditions": [BASE],
    "shift": [WIDE],
}


def named(given):
    """Runs, or the runs of results, by id, seed and steps; in a mapping as they are."""
    if isinstance(given, dict):
        return {key: named(each) for key, each in given.items()}
    runs = [each if isinstance(each, Run) else each.run for each in given]
    return [(run.id, run.seed, run.steps) for run in runs]


def needed(*names):
    """The runs behind these tables, as often as they are needed."""
    groups = chain(*(NEEDS[name] for name in names))
    lists = chain(*(g.values() if isinstance(g, dict) else [g] for g in groups))
    return named(list(chain(*lists)))


@pytest.fixture
def trainings(monkeypatch):
    """Every run that is trained from here on, in order."""
    runs: list[Run] = []

    def noting(wanted, **rest):
        runs.extend(wanted)
        return trained(wanted, **rest)

    monkeypatch.setattr(measurements, "trained", noting)
    return runs


@pytest.fixture
def told(monkeypatch):
    """What the functions of the study are given, by name, each time; nothing is measured."""
    calls: dict[str, list[Any]] = {name: [] for name in (*NEEDS, "phases")}

    def noting(name):
        def table(*given):
            calls[name].append(given)
            return pd.DataFrame({"table": [name]})

        return table

    for name in calls:
        monkeypatch.setattr(import_module("tdlab.studies.cot.measurements"), name, noting(name))
    return calls


@pytest.mark.parametrize("name", NEEDS)
def test_a_table_is_measured_once_on_the_results_it_is_about_and_nothing_else_is_trained(
    told, trainings, name
):
    made = cot.Measurements(TINY)
    assert not trainings
    table = getattr(made, name)
    assert table["table"].tolist() == [name]
    assert getattr(made, name) is table
    ((its_setting, *results),) = told[name]
    assert its_setting is TINY
    assert [named(each) for each in results] == [named(each) for each in NEEDS[name]]
    assert sorted(named(trainings)) == sorted(set(needed(name)))
    assert sum(map(len, told.values())) == 1


def test_phases_are_those_of_the_dynamics_on_prompts_of_training(told):
    made = cot.Measurements(TINY)
    assert made.phases["table"].tolist() == ["phases"]
    ((dynamics, alpha),) = told["phases"]
    assert dynamics is made.dynamics
    assert alpha == 0.7
    assert len(told["dynamics"]) == 1


def test_no_run_is_trained_twice_whatever_is_asked_for(told, trainings):
    made = cot.Measurements(TINY)
    for name in NEEDS:
        getattr(made, name)
    assert sorted(named(trainings)) == sorted(set(needed(*NEEDS)))
    # Two grids of the rates share a point: runs are known across the groups of one table as well.
    assert len(set(needed("rates"))) < len(needed("rates"))
    again = cot.Measurements(TINY, known=made.results(trainings))
    trainings.clear()
    for name in NEEDS:
        getattr(again, name)
    assert not trainings


def test_where_both_widths_are_the_same_so_are_the_runs(told, trainings):
    same = replace(TINY, width=8)
    assert not cot.Measurements(same).attention.empty
    ((_, base, wide),) = told["attention"]
    assert named(base) == named(wide) == named(trainings) == named(same.runs())


def test_a_table_that_is_not_planted_can_be_asked_for():
    table = cot.Measurements(TINY).dynamics
    assert set(table["alpha"]) == {0.7, 0.8}
    assert set(table["seed"].dropna()) == {0, 1}
