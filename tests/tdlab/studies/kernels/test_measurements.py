"""The tables of one setting come from the runs that each is about, and no run is trained twice."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tdlab.studies import kernels, measurements
from tests.tdlab.studies.wanted import Needs, assert_measured_once, assert_trained_once, needed

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
NEEDS: Needs = {
    "phase": [(kernels.phase_runs(TINY),)],
    "rates": [(kernels.rate_runs(TINY),)],
    "guards": [()],
    "scalar": [(kernels.scalar_runs(TINY),)],
    "query_only": [(kernels.query_runs(TINY),)],
    "surfaces": [(STAGES[1],)],
    "curvature": [(stage,) for stage in STAGES],
    "variation": [(stage,) for stage in STAGES],
    "classification": [(kernels.classification_runs(TINY),)],
}


@pytest.fixture
def told(planted):
    """What the functions of the study are given, by name, each time; nothing is measured."""
    return planted("kernels", NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_a_table_is_measured_once_on_the_results_it_is_about_and_nothing_else_is_trained(
    told, trainings, name
):
    assert_measured_once(kernels.Measurements(TINY), name, NEEDS, told, trainings)


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
    assert_trained_once(kernels.Measurements, TINY, NEEDS, names, trainings)
    assert len(set(needed(NEEDS, *names))) < len(needed(NEEDS, *names))  # planes: the same runs


def test_only_a_gpu_is_asked_for_the_large_images(told, trainings, monkeypatch):
    monkeypatch.setattr(measurements, "available", torch.device)
    for device, expected in (("cpu", False), ("cuda", True)):
        assert not kernels.Measurements(TINY, device).classification.empty
        ((_, results),) = told["classification"]
        assert (("pathfinder 32x32", "gaussian") in results) == expected
        told["classification"].clear()
