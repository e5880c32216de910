"""Steps to a fixed risk, along one number at a time, against a naive scan of the snapshots.

Snapshots are planted, on a straight line from the start to a solution, so that the risk comes down
in a few steps that nobody has to train.
"""

import itertools
import math
import statistics
from dataclasses import replace
from typing import Any

import pytest
import torch

from synthetic_tasks import sample
from synthetic_tasks.threefry import stream
from tdlab.schedule import At
from tdlab.studies import icl
from tdlab.studies.icl.rates import predicted
from tdlab.trajectory import Ending, Trained, asked
from tests.tdlab.studies.icl.naive import naive
from tests.tdlab.studies.icl.settings import TINY
from tests.tdlab.studies.icl.tables import where
from tests.tdlab.studies.tidy import TIDY, of

# In each grid the second value is the smallest one.
LAWS = replace(
    TINY,
    lr=0.18,
    irrelevant=5,
    length=9,
    neurons=10,
    beta=3.0,
    law_seeds=3,
    law_prompts=12,
    law_lrs=(0.18, 0.1, 0.4),
    law_alphas=(0.8, 0.5, 0.65),
    law_betas=(3.3, 2.7, 3.0),
    law_patterns=(6, 4, 5),
    law_steps=5,
    near_delta=0.15,
    near_relevant=7,
    near_law_steps=6,
)
REGIMES: dict[str, dict[str, Any]] = {
    "ours": {"delta": 0.17, "relevant": 6},
    "nearer the theorem": {"delta": 0.15, "relevant": 7},
}
PATTERNS = {"ours": (6, 4, 5), "nearer the theorem": (7, 5, 6)}  # 7 / 6 times as many
# What is varied: its values, its value in the setting, and the power by which steps are given.
GRIDS = {
    "lr": ((0.18, 0.1, 0.4), 0.18, -1),
    "alpha": ((0.8, 0.5, 0.65), 0.7, -1),
    "beta": ((3.3, 2.7, 3.0), 3.0, -2),
}


def points(law_steps):
    """By regime, what is varied and its value: the setting that is trained there."""
    for (regime, changes), steps in zip(REGIMES.items(), law_steps, strict=True):
        own = replace(LAWS, seeds=3, **changes)
        grids = GRIDS | {"relevant": (PATTERNS[regime], own.relevant, 0.5)}
        for varied, (values, usual, power) in grids.items():
            for at in values:
                point: dict[str, Any] = {varied: at}
                point["steps"] = max(1, round(steps * (at / usual) ** power))
                yield (regime, varied, at), replace(own, **point)


def planted(run, strength):
    """A result whose neurons turn to the label vector, and whose attention to the query."""
    label = run.task.world(stream(run.seed, "world")).label
    start = run.model.init(stream(run.seed, "init"))
    inputs = torch.diag(0.04 * (torch.arange(run.task.token_width) < run.task.width))
    solution = {
        "W_Q": inputs,
        "W_K": inputs,
        "W_O": torch.nn.functional.pad(torch.outer(start["a"], label), (run.task.width, 0)),
    }
    steps = asked(run)
    share = strength / run.steps * torch.tensor(steps, dtype=torch.float64)[:, None, None]
    params = {name: leaf.expand(len(steps), *leaf.shape) for name, leaf in start.items()}
    params |= {name: start[name] + share * leaf for name, leaf in solution.items()}
    return Trained(
        run=run,
        steps=steps,
        params=params,
        loss=torch.zeros(run.steps),
        observed={},
        ending=Ending(run.steps, "finished"),
    )


@pytest.fixture(scope="module")
def results():
    """At the last value of each grid one seed falls short."""
    return {
        point: [
            planted(replace(run, dtype="float64"), 3 if place % 3 == 2 and run.seed == 5 else 25)
            for run in runs
        ]
        for place, (point, runs) in enumerate(icl.rate_runs(LAWS).items())
    }


@pytest.fixture(scope="module")
def table(results):
    return icl.rates(LAWS, results)


@pytest.fixture(scope="module")
def times(table):
    """What is measured, by regime, what is varied, its value and the seed."""
    return of(table, "regime", "varied", "at", "seed")


def steps_to(steps, risks, level):
    """When the risk comes down to the level, on straight lines between the snapshots."""
    curve = list(zip(steps, risks, strict=True))
    if curve[0][1] <= level:
        return curve[0][0]
    for (a, u), (b, v) in itertools.pairwise(curve):
        if v <= level:
            return a + (b - a) * (u - level) / (u - v)
    return math.nan


@pytest.fixture(scope="module", params=[(1, 2), (5, 6), (57, 83)])
def asked_for(request):
    """How many steps there are in each regime, and the runs."""
    own, near = request.param
    return request.param, icl.rate_runs(replace(LAWS, law_steps=own, near_law_steps=near))


def test_runs_are_those_of_the_setting_with_one_number_and_the_steps_changed(asked_for):
    law_steps, runs = asked_for
    expected = dict(points(law_steps))
    assert list(runs) == list(expected)
    for point, its in expected.items():
        assert [run.seed for run in runs[point]] == [3, 4, 5]
        for run, wanted in zip(runs[point], its.runs(), strict=True):
            assert replace(run, snapshots=wanted.snapshots) == wanted


def test_snapshots_are_the_start_and_twenty_steps_on_a_log_axis_over_the_last_decade(asked_for):
    _, runs = asked_for
    for run in itertools.chain(*runs.values()):
        assert isinstance(run.snapshots, At)
        first = max(1, run.steps / 10)
        late = {round(first * (run.steps / first) ** (k / 19)) for k in range(20)}
        assert run.snapshots.at == (0, *sorted(late))
        assert max(late) == run.steps


def test_times_are_what_a_scan_of_the_risks_of_the_snapshots_gives(times, results):
    expected = {}
    for point, each in results.items():
        for result in each:
            # On the prompts of the point itself, but for alpha', and on the unseen tasks.
            task = replace(result.run.task.on_unseen(), alpha=0.8)
            batch = sample(task, seed=result.run.seed, size=12, dtype=torch.float64)
            risks = [naive(result.at(step), batch).hinge for step in result.steps]
            expected[*point, result.run.seed] = steps_to(result.steps, risks, 0.1)
    assert times == pytest.approx(expected, rel=1e-6, nan_ok=True)
    # Between snapshots, but where they fall short.
    never = {point for point, time in times.items() if math.isnan(time)}
    last = {point for place, point in enumerate(results) if place % 3 == 2}
    assert never == {(*point, 5) for point in last}
    assert len({time for time in times.values() if time % 1}) > 50


def test_rows_say_their_run_and_up_to_which_step_it_was_followed(table, results):
    assert list(table.columns[:6]) == TIDY
    assert set(table["quantity"]) == {"time"}
    rows = where(table, source="measured")
    names = ("regime", "varied", "at", "seed", "run", "limit")
    expected = [
        (*point, result.run.seed, result.run.id, float(its.steps))
        for point, its in points((5, 6))
        for result in results[point]
    ]
    assert list(zip(*(rows[name] for name in names), strict=True)) == expected
    theory = where(table, source="theory")
    assert theory[["seed", "run", "limit"]].isna().all(axis=None)


def test_laws_start_at_the_median_of_the_smallest_value_and_follow_the_theorem(table, times):
    shapes = {
        "lr": lambda x: 1 / x,
        "alpha": lambda x: x ** (-2 / 3),
        "beta": lambda x: x ** (-2 / 3),
        "relevant": lambda x: x * math.sqrt(math.log(x)),
    }
    expected = {}
    for regime, varied, at in dict(points((5, 6))):
        low = PATTERNS[regime][1] if varied == "relevant" else GRIDS[varied][0][1]
        own = [times[regime, varied, low, seed] for seed in (3, 4, 5)]
        law = statistics.median(own) * shapes[varied](at) / shapes[varied](low)
        assert law != pytest.approx(statistics.mean(own) * shapes[varied](at) / shapes[varied](low))
        expected[regime, varied, at] = law
    found = of(table, "regime", "varied", "at", source="theory")
    assert found == pytest.approx(expected, rel=1e-12)


def test_what_the_theorem_says_of_a_setting_is_its_rate():
    point = replace(LAWS, lr=0.3, relevant=5, alpha=0.65, beta=2.7)
    expected = 5 * math.sqrt(math.log(5)) / (0.3 * (0.65 * 2.7) ** (2 / 3))
    assert predicted(point) == pytest.approx(expected, rel=1e-12)
