"""The claims about attention kernels, and what is planted for them, beside the study itself."""

import inspect
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from synthetic_tasks import Digits
from synthetic_tasks.threefry import stream
from tdlab.claims import song2024 as claims
from tdlab.models import SequenceClassifier, stacked
from tdlab.optimisers import SGD
from tdlab.studies import kernels as study
from tdlab.trajectory import Ending, Trained
from tests.tdlab import smallest
from tests.tdlab.claims.findings import assert_judged, assert_like
from tests.tdlab.claims.song2024.tables import TABLES
from tests.tdlab.claims.song2024.worlds import CLAIMS, PLANTED

TINY = smallest.kernels(
    width=5,
    heads=(1, 3),
    query_steps=2,
    starts=(0.5, 1.2),
    scalar_steps=2,
    digit_steps=2,
    test_prompts=4,
    land_steps=2,
    land_pieces=2,
)


def small(run):
    model = SequenceClassifier(kernel=run.model.kernel, width=4, hidden=3)
    return replace(run, model=model)


def result(run, place=0):
    """As good as trained: a loss that falls, and parameters that shrink."""
    start = run.model.init(stream(run.seed, "init"))
    steps = (0, run.steps)
    leaves = ({k: (1 - 0.1 * bool(step)) * v for k, v in start.items()} for step in steps)
    return Trained(
        run=run,
        steps=steps,
        params=stacked({k: v.to(run.torch_dtype) for k, v in each.items()} for each in leaves),
        loss=torch.logspace(0, -3 - place, run.steps, dtype=torch.float64),
        observed={},
        ending=Ending(run.steps, "finished"),
    )


def results(runs):
    return {
        point: [result(run, place) for place, run in enumerate(each)]
        for point, each in runs.items()
    }


@pytest.fixture(scope="module")
def tiny():
    """Every table as the study makes it, of results that nobody trained; with two kernels."""
    pair = ("softmax", "gaussian")
    layers = {k: TINY.layer_runs(k, 3, "all") for k in pair}
    rate_runs = {
        (k, subset): TINY.layer_runs(k, 3, subset, steps=TINY.rate_steps, optimiser=SGD(lr=0.01))
        for k, subset in product(pair, ("W_V", "all"))
    }
    query_runs = {(k, *point): r for k in pair for point, r in TINY.query_runs(k).items()}
    digits = {("digits", k): TINY.classifier_runs(Digits(), k, TINY.digit_steps) for k in pair}
    stages = results(study.stage_runs(TINY))
    return SimpleNamespace(
        phase=study.phase(TINY, results({(k, "all", 3): runs for k, runs in layers.items()})),
        rates=study.rates(TINY, results(rate_runs)),
        scalar=study.scalar(TINY, results(study.scalar_runs(TINY))),
        query_only=study.query_only(TINY, results(query_runs)),
        classification=study.classification(
            TINY, results({point: [small(run) for run in runs] for point, runs in digits.items()})
        ),
        curvature=study.curvature(TINY, stages),
        variation=study.variation(TINY, stages),
    )


@CLAIMS
def test_a_claim_judges_the_tables_of_the_study(claim, tiny):
    # Of three tasks one, of two kernels of stage one one.
    fewer = {claims.classification: 3, claims.landscape: 2}.get(claim, 1)
    assert_judged(claim.findings(tiny), len(PLANTED[claim.id]) / fewer)


@pytest.mark.parametrize("name", TABLES)
def test_a_planted_table_has_the_columns_of_the_studys_and_no_other_measurement(name, tiny):
    planted, real = TABLES[name](), getattr(tiny, name)
    assert_like(planted, real, "measured", "theory")
    for column in {"kernel", "trained", "targets", "task", "problem"} & {*planted.columns}:
        assert {*real[column].dropna()} <= {*planted[column].dropna()}, column


@CLAIMS
def test_a_claim_needs_what_the_study_measures_and_judges_it_under_that_name(claim):
    assert set(claim.needs) <= {*vars(study.Measurements)}
    assert tuple(inspect.signature(claim.judge).parameters) == claim.needs
