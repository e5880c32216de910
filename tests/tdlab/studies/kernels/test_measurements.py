"""The tables of one setting come from the runs that each is about, and no run is trained twice."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import pandas as pd
import pytest
import torch

from tdlab.run import Run
from tdlab.studies import kernels, measurements
from tdlab.sweep import Trained
from tdlab.train import Ending

TINY = kernels.setting(
    "quick",
    seeds=2,
    problems=2,
    scales=(0.5, 2),
    samples=2,
    width=3,
    heads=(1, 2),
    starts=(0.5, 2),
    class_seeds=2,
    land_seeds=2,
    land_width=4,
    stage_one="gaussian",
)
STAGES = [kernels.stage_runs(replace(TINY, stage_one=kernel)) for kernel in ("softmax", "gaussian")]
# What each table is made from, each time that its function is called.
NEEDS: dict[str, list[Any]] = {
    "phase": [kernels.phase_runs(TINY)],
    "rates": [kernels.rate_runs(TINY)],
    "guards": [None],
    "scalar": [kernels.scalar_runs(TINY)],
    "query_only": [kernels.query_runs(TINY)],
    "surfaces": [STAGES[1]],
    "curvature": STAGES,
    "variation": STAGES,
    "classification": [kernels.classification_runs(TINY)],
}


def named(given):
    """Runs, or the runs of results, by point."""
    if given is None:
        return None
    return {
        point: [each if isinstance(each, Run) else each.run for each in some]
        for point, some in given.items()
    }


def needed(*names):
    """The runs behind these tables, as often as they are needed."""
    groups = [group for name in names for group in NEEDS[name] if group]
    return [(run.id, run.steps) for group in groups for runs in group.values() for run in runs]


@pytest.fixture
def trainings(monkeypatch):
    """Every run that would be trained from here on, in order."""
    runs: list[Run] = []

    def noting(wanted, **rest):
        runs.extend(wanted)
        ending, loss = Ending(1, "finished"), torch.zeros(1)
        return [
            Trained(run=run, steps=(0,), params={}, loss=loss, observed={}, ending=ending)
            for run in wanted
        ]

    monkeypatch.setattr(measurements, "trained", noting)
    return runs


@pytest.fixture
def told(monkeypatch):
    """What the functions of the study are given, by name, each time; nothing is measured."""
    calls: dict[str, list[Any]] = {name: [] for name in NEEDS}

    def noting(name):
        def table(setting, results=None):
            calls[name].append((setting, results))
            return pd.DataFrame({"table": [name]})

        return table

    for name in calls:
        monkeypatch.setattr(import_module("tdlab.studies.kernels.measurements"), name, noting(name))
    return calls


@pytest.mark.parametrize("name", NEEDS)
def test_a_table_is_measured_once_on_the_results_it_is_about_and_nothing_else_is_trained(
    told, trainings, name
):
    made = kernels.Measurements(TINY)
    assert not trainings
    table = getattr(made, name)
    assert set(table["table"]) == {name}
    assert getattr(made, name) is table
    assert [named(results) for _, results in told[name]] == [named(each) for each in NEEDS[name]]
    assert sorted((run.id, run.steps) for run in trainings) == sorted(set(needed(name)))
    assert sum(map(len, told.values())) == len(NEEDS[name])


def test_curvature_and_variation_are_measured_after_a_stage_one_with_either_kernel(told, trainings):
    made = kernels.Measurements(TINY)
    for name in ("curvature", "variation"):
        table = getattr(made, name)
        assert len(table) == 2
        assert table.index.tolist() == [0, 1]
        for (setting, results), kernel in zip(told[name], ("softmax", "gaussian"), strict=True):
            assert setting == replace(TINY, stage_one=kernel)
            befores: list[Any] = [each.run.after for some in results.values() for each in some]
            assert {run.model.kernel for run in befores} == {kernel}


def test_no_run_is_trained_twice_whatever_is_asked_for(told, trainings):
    names = ("scalar", "surfaces", "curvature", "variation")
    made = kernels.Measurements(TINY)
    for name in names:
        getattr(made, name)
    wanted = needed(*names)
    assert sorted((run.id, run.steps) for run in trainings) == sorted(set(wanted))
    assert len(set(wanted)) < len(wanted)  # the planes are of the same runs
    again = kernels.Measurements(TINY, known=made.results(trainings))
    trainings.clear()
    for name in names:
        getattr(again, name)
    assert not trainings


def test_only_a_gpu_is_asked_for_the_large_images(told, trainings, monkeypatch):
    monkeypatch.setattr(measurements, "available", torch.device)
    for device, expected in (("cpu", False), ("cuda", True)):
        assert not kernels.Measurements(TINY, device).classification.empty
        ((_, results),) = told["classification"]
        assert (("pathfinder 32x32", "gaussian") in results) == expected
        told["classification"].clear()
