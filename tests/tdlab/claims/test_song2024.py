"""Every claim about attention kernels on tables with a planted answer, for it and against it.

Each function below builds the table of its name as the study has it, in a world that differs from
the claim's as said. Noise over seeds has mean 0 and standard deviation 1, so that the interval of
a planted number x with spread s is x +- t_7 s / sqrt(8) = x +- 0.836 s, and no verdict is left to
chance. What a rule must not look at holds the opposite.
"""

import inspect
import math
import re
from dataclasses import replace
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from synthetic_tasks import Digits
from synthetic_tasks.threefry import stream
from tdlab.claims import song2024 as claims
from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE, VERDICTS
from tdlab.claims.song2024.constants import (
    CHANCE,
    ENOUGH,
    EXACT,
    REACHED,
    STARTS,
    STRAIGHT,
    ZERO,
)
from tdlab.models import KERNELS, SequenceClassifier, stacked
from tdlab.optimisers import SGD
from tdlab.results import COLUMNS
from tdlab.studies import kernels as study
from tdlab.studies.kernels.basins import SOLVED
from tdlab.studies.kernels.setting import SCALAR, SUBSETS
from tdlab.sweep import Trained
from tdlab.train import Ending

SEEDS = range(3, 11)
A, D, U = AGREES, DISAGREES, INCONCLUSIVE
TASKS = ("digits", "pathfinder 16x16", "text")


@cache
def standard(key: int) -> np.ndarray:
    """One number a seed, of mean 0 and standard deviation 1; different for each key."""
    noise = np.random.default_rng(key).normal(size=len(SEEDS))
    return (noise - noise.mean()) / noise.std(ddof=1)


NOISE, OTHER, COMMON = standard(0), standard(1), standard(2)


def rows(
    quantity: str, values: Any, source: str = "measured", member: bool = True, **where: Any
) -> list[dict[str, Any]]:
    """One row a seed, from one value for all of them or one for each."""
    each = np.broadcast_to(np.asarray(values, dtype=np.float64), len(SEEDS))
    shared = {"quantity": quantity, "source": source, **where}
    found = []
    for place, (seed, value) in enumerate(zip(SEEDS, each, strict=True)):
        row = {"run": f"run {seed}", "seed": seed, "value": float(value), **shared}
        found.append({"member": place, **row} if member else row)
    return found


def theory(quantity: str, value: float, **where: Any) -> list[dict[str, Any]]:
    return [{"quantity": quantity, "source": "theory", "value": value, **where}]


def frame(*parts: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame([row for part in parts for row in part])
    others = [name for name in table.columns if name not in COLUMNS]
    return table.reindex(columns=[*COLUMNS, *others]).astype(COLUMNS)


RATIOS = {4: 2.5, 1: 0.625, 2: 1.25}  # of heads


def phase(softmax=-6.5, gaussian=-6.7, fall=0.0, spread=0.001, **_):
    """Logarithms of the loss where all is trained with the most heads; elsewhere it stays."""
    parts = []
    logs = {"softmax": softmax + spread * NOISE, "gaussian": gaussian + spread * OTHER}
    for kernel, subset, (heads, ratio) in product(KERNELS, SUBSETS, RATIOS.items()):
        where: dict[str, Any] = {"kernel": kernel, "trained": subset, "heads": heads}
        where |= {"ratio": ratio, "step": 37}
        looked_at = subset == "all" and heads == 4 and kernel in logs
        value = 10 ** logs[kernel] if looked_at else 0.5
        its_fall = fall + spread * COMMON if looked_at else 3.0
        parts += [rows("relative loss", value, **where), rows("fall", its_fall, **where)]
    return frame(*parts)


def rates(straight=1.0, excess=0.3, gap=1e-5, worse=None, spread=0.001, **_):
    """Late over earlier rate, log10 of the rate over what is predicted, and of the solved curve.

    ``worse`` differ from these for the Gaussian kernel.
    """
    parts = []
    worse = worse or {}
    for kernel, subset in product(KERNELS, ("W_V", "all")):
        where: dict[str, Any] = {"kernel": kernel, "trained": subset}
        its = {"straight": straight, "excess": excess} | (worse if kernel == "gaussian" else {})
        if (kernel, subset) not in (("softmax", "all"), ("gaussian", "all")):
            its = {"straight": 0.2, "excess": -3.0}
        predicted = 0.01 * np.exp(COMMON)
        rate = predicted * 10 ** (its["excess"] + spread * NOISE)
        for step in (0, 5, 30):
            loss = np.exp(-0.1 * step) * np.exp(0.3 * COMMON)
            parts.append(rows("relative loss", loss, step=step, **where))
            if subset == "W_V":  # the farther off the later, and most for the last kernel
                off = gap * (step / 30) * (1.0 if kernel == KERNEL_OF_GAP else 0.4)
                solved = loss * 10 ** (-off * (1 + spread * OTHER))
                parts.append(rows("relative loss", solved, "theory", step=step, **where))
        parts += [
            rows("rate", rate, **where),
            rows("rate", predicted, "theory", **where),
            rows("straight", its["straight"] + spread * OTHER, **where),
            rows("sigma_min", 0.3, **where),
        ]
    return frame(*parts)


KERNEL_OF_GAP = "normalized gaussian"
QUERIES = (-2.5, -2.0, 0.5, 1.0, 1.04, 2.5, 5.0, 6.0)


def scalar(before=(1e-9, 0.9e-3), beyond=(0.2, 0.7), alive=(1e-9, 0.9e-3), fall=0.0, **_):
    """What lies in the range of the starts that a rule looks at.

    The losses of softmax left of the barrier, how far it moved right of it, the losses of the
    Gaussian kernel from -2 to 5; and how much the largest of the losses still falls.
    """
    parts = []
    for kernel, problem in product(KERNELS, SCALAR):
        where: dict[str, Any] = {"kernel": kernel, "problem": problem}
        first = problem == next(iter(SCALAR))
        losses = dict.fromkeys(QUERIES, 0.3)
        moved = dict.fromkeys(QUERIES, -0.4 if first else 0.0)
        if first and kernel == "softmax":
            losses |= {-2.5: before[0], -2.0: before[1], 0.5: before[0], 1.0: before[0]}
            moved |= {1.04: beyond[0], 2.5: beyond[1], 5.0: beyond[1], 6.0: beyond[1]}
        if first and kernel == "gaussian":
            losses |= dict.fromkeys(QUERIES[1:-1], alive[0]) | {2.5: alive[1]}
        falls = {q: fall if q in (-2.0, 2.5) else 0.5 for q in QUERIES}  # of the others it does
        parts += [theory("loss", 0.9, q=q, **where) for q in QUERIES]
        if first and kernel == "softmax":
            parts += [theory("barrier", 1.005, **where), theory("plateau", 0.045, **where)]
        ends = {q: q + away for q, away in moved.items()}
        for quantity, of_start in (("loss", losses), ("fall", falls), ("end", ends)):
            shared = {"seed": 0, "step": 400, "quantity": quantity, "source": "measured", **where}
            parts.append(
                [
                    {"run": f"run {place}", "member": place, "q": q, "value": value, **shared}
                    for place, (q, value) in enumerate(of_start.items())
                ]
            )
    return frame(*parts)


# Targets, scale of W_K and of W_Q: in the order in which they are judged.
POINTS = (
    *(("random", 1.3, 1.0), ("teacher", 1.3, 0.5)),
    *(("teacher", 1.3, 2.0), ("teacher", 2.0, 2.0)),
)
ALL, NONE = (1,) * 8, (0,) * 8
HALF = (1, 0, 1, 0, 1, 1, 0, 0)
OPPOSITE = (0, 1, 0, 1, 0, 0, 1, 1)


def some(count):
    """That many problems of eight."""
    return (1,) * count + (0,) * (8 - count)


def query_only(solved=None, **_):
    """Which problems softmax solves, and which the Gaussian kernel, at the points in order."""
    solved = solved or {}
    parts = []
    for place, (targets, key_scale, scale) in enumerate(POINTS):
        softmax, gaussian = solved.get(place, (NONE, ALL))
        of_kernel = {"softmax": softmax, "gaussian": gaussian, "normalized gaussian": NONE}
        for kernel, values in of_kernel.items():
            where: dict[str, Any] = {"kernel": kernel, "targets": targets, "scale": scale}
            where |= {"key_scale": key_scale, "step": 37}
            parts += [
                rows("solved", values, **where),
                rows("relative loss", 1e-9 if kernel == "softmax" else 0.8, **where),
            ]
    return frame(*parts)


STAGE_ONE = ("gaussian", "softmax")  # in the order in which they are judged


def curvature(end=-0.5, middle=-0.5, spread=0.001, after_softmax=None, **_):
    """log2 of the ratio of top eigenvalues at the last step, and at the one before it.

    ``after_softmax`` differ from these where stage one had that kernel.
    """
    parts = []
    for stage_one in STAGE_ONE:
        its = {"end": end, "middle": middle}
        its |= (after_softmax or {}) if stage_one == "softmax" else {}
        last, before = its["end"] + spread * NOISE, its["middle"] + spread * OTHER
        ratios = {0: np.full(8, 3.0), 20: before, 60: last}
        for (step, log2), kernel in product(ratios.items(), ("softmax", "gaussian")):
            where: dict[str, Any] = {"stage_one": stage_one, "kernel": kernel, "step": step}
            where |= {"member": False}
            value = 2 ** (2 + COMMON + (log2 if kernel == "gaussian" else 0))
            parts += [
                rows("eigenvalue", value, rank=0, **where),
                rows("eigenvalue", 0.3 / value, rank=1, **where),
                rows("residual", -1.0, rank=0, **where),
                rows("loss", 1 / value, **where),
            ]
    return frame(*parts)


def variation(varies=-0.4, spread=0.001, after_softmax=None, **_):
    """log2 of the ratio of the gradient's variation: the mean over a segment."""
    parts = []
    for stage_one, at, kernel in product(STAGE_ONE, (0.25, 0.75), ("softmax", "gaussian")):
        its = {"varies": varies} | ((after_softmax or {}) if stage_one == "softmax" else {})
        log2 = its["varies"] + 10 * (at - 0.5) + spread * NOISE
        value = 2 ** (1 + COMMON + (log2 if kernel == "gaussian" else 0))
        parts.append(rows("variation", value, stage_one=stage_one, kernel=kernel, at=at))
    return frame(*parts)


def classification(accuracy=None, loss=None, level=0.8, spread=0.001, **_):
    """By how much the Gaussian kernel is more accurate at the end, and its loss less, by task."""
    accuracy, loss = accuracy or {}, loss or {}
    parts = []
    levels = level if isinstance(level, dict) else dict.fromkeys(TASKS, level)
    for task, kernel, step in product(TASKS, ("softmax", "gaussian"), (0, 40, 80)):
        where: dict[str, Any] = {"task": task, "kernel": kernel, "step": step}
        gaussian = kernel == "gaussian"
        gain = accuracy.get(task, 0.05) + spread * NOISE if step == 80 else -0.2
        faster = loss.get(task, 0.1) + spread * OTHER if step else -2.0
        uneven = 0.3 * (step - 60) / 20  # so that it is the mean over steps that counts
        parts += [
            rows("accuracy", levels[task] + 0.002 * COMMON + gaussian * gain, **where),
            rows("loss", 0.7 + uneven + 0.1 * COMMON - gaussian * faster, **where),
            rows("row sum", 1.0, **where),
            theory("accuracy", 0.5, **where),
        ]
        if not gaussian:
            parts.append(rows("entropy", 2.0, **where))
    return frame(*parts)


TABLES: dict[str, Any] = {
    "phase": phase,
    "rates": rates,
    "scalar": scalar,
    "query_only": query_only,
    "curvature": curvature,
    "variation": variation,
    "classification": classification,
}


def measured(claim, **world):
    """The tables that a claim needs, in a world that differs from the claim's as said."""
    return SimpleNamespace(**{name: TABLES[name](**world) for name in claim.needs})


def verdicts(claim, **world):
    return [finding.verdict for finding in claim.findings(measured(claim, **world))]


def judged(claim, *worlds):
    """The worlds of one claim, each with the verdicts that it must get."""
    return [
        pytest.param(claim, *each, id=f"{claim.id} {place}") for place, each in enumerate(worlds)
    ]


CLAIMS = pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.id)


@CLAIMS
def test_a_claim_agrees_in_a_world_in_which_it_is_true_and_changes_no_table(claim):
    tables = measured(claim)
    before = {name: getattr(tables, name).copy() for name in claim.needs}
    assert [each.verdict for each in claim.findings(tables)] == [A] * len(PLANTED[claim.id])
    for name, table in before.items():
        pd.testing.assert_frame_equal(getattr(tables, name), table)


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    [
        *judged(
            claims.convergence,
            # Softmax and Gaussian loss; straightness and excess of each; the solved curve.
            ({"softmax": -6.001}, [A, A, A, A, A, A, A]),
            ({"softmax": -6.0}, [U, A, A, A, A, A, A]),
            ({"softmax": -5.999}, [D, A, A, A, A, A, A]),
            ({"softmax": -5.0, "fall": 0.002}, [U, A, A, A, A, A, A]),  # it still falls
            ({"softmax": -5.0, "fall": -0.002}, [D, A, A, A, A, A, A]),
            ({"softmax": -2.0, "fall": 0.0}, [D, A, A, A, A, A, A]),  # +- 0.0008
            ({"gaussian": -3.0}, [A, D, A, A, A, A, A]),
            ({"gaussian": -3.0, "fall": 1.0}, [A, U, A, A, A, A, A]),
            ({"straight": 0.801}, [A, A, A, A, A, A, A]),
            ({"straight": 0.8}, [A, A, U, A, U, A, A]),
            ({"straight": 0.58}, [A, A, D, A, D, A, A]),  # a power law
            ({"straight": 1.199}, [A, A, A, A, A, A, A]),
            ({"straight": 1.201}, [A, A, D, A, D, A, A]),  # faster and faster is not linear
            ({"worse": {"straight": 0.58}}, [A, A, A, A, D, A, A]),
            ({"excess": 0.0}, [A, A, A, U, A, U, A]),
            ({"excess": 0.001}, [A, A, A, A, A, A, A]),
            ({"excess": -0.001}, [A, A, A, D, A, D, A]),
            ({"worse": {"excess": -1.0}}, [A, A, A, A, A, D, A]),
            ({"gap": 2e-3}, [A, A, A, A, A, A, D]),
            ({"gap": 1e-3}, [A, A, A, A, A, A, U]),
            ({"gap": -0.9e-3}, [A, A, A, A, A, A, A]),  # the loss below what is solved
            ({"gap": -1.1e-3}, [A, A, A, A, A, A, D]),
            ({"softmax": -6.0, "gaussian": -6.0, "spread": 2.0}, [U, U, U, U, U, U, A]),
        ),
        *judged(
            claims.bad_basin,
            # Softmax left and right of the barrier, Gaussian; W_Q alone at four points.
            ({"before": (1e-9, 0.3)}, [D, A, A, A, A, A, A]),
            ({"before": (1e-9, 1.1e-3), "fall": 1e-6}, [U, A, A, A, A, A, A]),  # it still falls
            ({"before": (1e-9, 1.1e-3), "fall": -1e-6}, [D, A, A, A, A, A, A]),
            ({"beyond": (-0.3, -0.1)}, [A, D, A, A, A, A, A]),  # softmax comes back,
            ({"beyond": (-0.3, 0.2)}, [A, U, A, A, A, A, A]),  # from some starts,
            ({"beyond": (0.0, 0.2)}, [A, U, A, A, A, A, A]),  # or does not move
            ({"beyond": (0.0, 0.0)}, [A, D, A, A, A, A, A]),
            ({"alive": (1e-9, 0.3)}, [A, A, D, A, A, A, A]),
            ({"alive": (0.1, 0.3), "fall": 0.01}, [A, A, U, A, A, A, A]),
            ({"alive": (0.0, 0.0)}, [A, A, A, A, A, A, A]),
            ({"solved": {0: (ALL, NONE)}}, [A, A, A, D, A, A, A]),
            ({"solved": {1: (ALL, NONE)}}, [A, A, A, A, D, A, A]),
            ({"solved": {2: (ALL, NONE)}}, [A, A, A, A, A, D, A]),
            ({"solved": {3: (ALL, NONE)}}, [A, A, A, A, A, A, D]),
            ({"solved": {2: (HALF, OPPOSITE)}}, [A, A, A, A, A, U, A]),
            # Of 3 problems one kernel solves alone nothing is sure, of 4 just so.
            ({"solved": {1: (NONE, some(3)), 2: (NONE, some(4))}}, [A, A, A, A, U, A, A]),
            ({"solved": {1: (some(3), NONE), 2: (some(4), NONE)}}, [A, A, A, A, U, D, A]),
            # What both solve, or neither, says nothing of which is better.
            ({"solved": {0: (ALL, ALL), 3: (NONE, NONE)}}, [A, A, A, U, A, A, U]),
            ({"solved": {2: (HALF, HALF)}}, [A, A, A, A, A, U, A]),
            ({"solved": {0: (some(4), ALL)}}, [A, A, A, A, A, A, A]),
        ),
        *judged(
            claims.landscape,
            ({"end": 0.5, "middle": -1.5}, [D, A, A] * 2),
            ({"end": -0.5, "middle": 1.5}, [A, D, A] * 2),
            ({"end": 0.5, "middle": 0.5}, [D, D, A] * 2),
            ({"end": 0.0, "middle": 0.0}, [U, U, A] * 2),
            ({"end": -0.001, "middle": -0.001}, [A, A, A] * 2),
            ({"varies": 0.3}, [A, A, D] * 2),
            ({"varies": 0.0}, [A, A, U] * 2),
            ({"varies": 0.001}, [A, A, D] * 2),
            ({"spread": 2.0}, [U, U, U] * 2),
            ({"end": 0.0, "middle": 0.0, "spread": 0.0}, [D, D, A] * 2),  # as smooth is no smoother
            ({"after_softmax": {"end": 0.3, "middle": -0.6}}, [A, A, A, D, A, A]),
            ({"after_softmax": {"middle": 1.0, "varies": 0.1}}, [A, A, A, A, D, D]),
            ({"end": 0.4, "after_softmax": {"end": -0.7}}, [D, A, A, A, A, A]),
        ),
        *judged(
            claims.classification,
            ({"accuracy": {"digits": -0.05}}, [D, A, A, A, A, A]),
            ({"accuracy": {"digits": 0.0}}, [U, A, A, A, A, A]),
            ({"accuracy": {"pathfinder 16x16": -0.001}}, [A, A, D, A, A, A]),
            ({"accuracy": {"text": 0.001}}, [A, A, A, A, A, A]),
            ({"loss": {"digits": -0.05}}, [A, D, A, A, A, A]),
            ({"loss": {"pathfinder 16x16": 0.0}}, [A, A, A, U, A, A]),
            ({"loss": {"text": -0.001}}, [A, A, A, A, A, D]),
            ({"spread": 0.2}, [U, U, U, U, U, U]),
            # At chance, whichever is ahead; one of the two above it is enough.
            ({"level": {**dict.fromkeys(TASKS, 0.8), "text": 0.48}}, [A, A, A, A, U, U]),
            (
                {"level": dict.fromkeys(TASKS, 0.5), "accuracy": dict.fromkeys(TASKS, 0.051)},
                [U, U, U, U, U, U],
            ),
            (
                {"level": dict.fromkeys(TASKS, 0.5), "accuracy": dict.fromkeys(TASKS, 0.06)},
                [A, A, A, A, A, A],
            ),
            (
                {"level": dict.fromkeys(TASKS, 0.56), "accuracy": dict.fromkeys(TASKS, -0.06)},
                [D, A, D, A, D, A],
            ),
        ),
    ],
)
def test_a_verdict_is_that_of_the_planted_world(claim, world, expected):
    assert verdicts(claim, **world) == expected


def student(values):
    """Mean and 95 % bounds over eight seeds."""
    values = np.asarray(values, dtype=np.float64)
    half = 2.36462425159278 * values.std(ddof=1) / math.sqrt(8)
    return values.mean(), values.mean() - half, values.mean() + half


# The numbers that were planted, one a seed, for each part of each claim, in a world with spread S.
S = 0.003


def wilson(successes, trials):
    """The share, and Wilson's bounds."""
    p, z2 = successes / trials, 3.841458820694124
    centre = p + z2 / (2 * trials)
    half = math.sqrt(z2 * (p * (1 - p) / trials + z2 / (4 * trials**2)))
    return p, *((centre + sign * half) / (1 + z2 / trials) for sign in (-1, 1))


PLANTED: dict[str, list[tuple[float, float, float]]] = {
    "kernels.global": [
        student(-6.5 + S * NOISE),
        student(-6.7 + S * OTHER),
        *[student(1 + S * OTHER), student(0.3 + S * NOISE)] * 2,
        student(1e-5 * (1 + S * OTHER)),
    ],
    "kernels.bad_basin": [
        (0.9e-3, 0.9e-3, 0.9e-3),
        ((0.2 + 3 * 0.7) / 4, 0.2, 0.7),
        (0.9e-3, 0.9e-3, 0.9e-3),
        *[wilson(8, 8)] * 4,
    ],
    "kernels.landscape": [
        student(-0.5 + S * NOISE),
        student(-0.5 + S * (NOISE + OTHER) / 2),
        student(-0.4 + S * NOISE),
    ]
    * 2,
    "kernels.classification": [student(0.05 + S * NOISE), student(0.1 + S * OTHER)] * 3,
}


@CLAIMS
def test_a_measured_interval_is_that_of_the_planted_numbers(claim):
    found = claim.findings(measured(claim, spread=S))
    for finding, planted in zip(found, PLANTED[claim.id], strict=True):
        assert tuple(finding.measured) == pytest.approx(planted, rel=1e-8), finding.part


@CLAIMS
def test_neither_the_order_of_rows_nor_a_third_kernel_makes_a_measurement(claim):
    tables = measured(claim)
    expected = [tuple(each.measured) for each in claim.findings(tables)]
    for name in claim.needs:
        table = getattr(tables, name).sample(frac=1, random_state=1)
        if name != "rates":  # whose solved curve is that of all kernels
            table = table[table.kernel != "normalized gaussian"]
        setattr(tables, name, table)
    for finding, before in zip(claim.findings(tables), expected, strict=True):
        assert tuple(finding.measured) == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_largest_gap_to_the_solved_curve_may_be_that_of_any_kernel_and_step(kernel):
    tables = measured(claims.convergence)
    table = tables.rates
    place = (table.kernel == kernel) & (table.trained == "W_V") & (table.step == 5)
    theirs = place & (table.source == "theory")
    tables.rates = table.assign(value=table.value.mask(theirs, table.value * 1.01))
    assert claims.convergence.findings(tables)[-1].verdict == D


def test_how_far_below_zero_a_loss_lies_is_no_matter():
    # One seed a little above and all others far below: their mean is not below by their depth.
    tables = measured(claims.convergence)
    for depth in (1e-9, 1e-30, 0.0):
        values = tables.phase.value.mask(tables.phase.value < 1e-4, depth)
        values = values.mask((values == depth) & (tables.phase.seed == 5), 1e-4)
        found = claims.convergence.findings(
            SimpleNamespace(phase=tables.phase.assign(value=values), rates=tables.rates)
        )
        assert found[0].verdict == U
        assert tuple(found[0].measured) == pytest.approx(student([-7] * 7 + [-4]))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("both", [0, 5])
def test_where_no_problem_tells_the_kernels_apart_it_is_said_how_many_are_solved(place, both):
    world = {place: (some(both), some(both))}
    found = claims.bad_basin.findings(measured(claims.bad_basin, solved=world))
    said = [f"({both} of 8 solved by both)" in finding.part for finding in found]
    assert said == [index == place + 3 for index in range(7)]
    assert tuple(found[place + 3].measured) == (0.5, 0, 1)


def test_a_share_is_of_the_problems_that_one_kernel_solves_alone():
    softmax, gaussian = (1, 1, 1, 0, 0, 0, 0, 0), (1, 1, 0, 1, 1, 1, 1, 0)
    found = claims.bad_basin.findings(measured(claims.bad_basin, solved={1: (softmax, gaussian)}))
    assert tuple(found[4].measured) == pytest.approx(wilson(4, 5))


def test_where_accuracies_are_at_chance_it_is_said():
    guessing = {**dict.fromkeys(TASKS, 0.8), "pathfinder 16x16": 0.48}
    found = claims.classification.findings(measured(claims.classification, level=guessing))
    said = [finding.part.endswith("(both at chance)") for finding in found]
    assert said == [False, False, True, True, False, False]
    assert [finding.verdict for finding in found[2:4]] == [U, U]


@CLAIMS
def test_parts_have_names_of_their_own_and_say_where_they_were_measured(claim):
    found = claim.findings(measured(claim))
    assert len({finding.part for finding in found}) == len(found)
    parts = "\n".join(finding.part for finding in found)
    places = {
        "kernels.global": ("2.5, softmax", "2.5, gaussian", "W_V"),
        "kernels.bad_basin": ("1.005", "[-2, 5]", "random", "teacher", "0.5", "1.3", "2"),
        "kernels.landscape": ("eigenvalue", "path", "variation", *STAGE_ONE),
        "kernels.classification": TASKS,
    }
    assert not [place for place in places[claim.id] if place not in parts]


# What cannot be measured, and what is not there.


@pytest.mark.parametrize("changes", [{"scale": 0}, {"scale": -1}])
@pytest.mark.parametrize("step", [20, 60])
def test_a_top_eigenvalue_that_is_not_positive_is_named_and_not_left_out(changes, step):
    tables = measured(claims.landscape)
    table = tables.curvature
    one = (table.step == step) & (table["rank"] == 0) & (table.seed == 5)
    tables.curvature = table.assign(value=table.value.mask(one, table.value * changes["scale"]))
    with pytest.raises(ArithmeticError, match=r"eigenvalue is not positive"):
        claims.landscape.findings(tables)


def test_a_loss_that_did_not_fall_has_no_rate_and_that_is_said():
    tables = measured(claims.convergence)
    table = tables.rates
    one = (table.quantity == "rate") & (table.seed == 5) & (table.trained == "all")
    tables.rates = table.assign(value=table.value.mask(one & (table.source == "measured"), -0.1))
    with pytest.raises(ArithmeticError, match=r"^a loss did not fall at all"):
        claims.convergence.findings(tables)


@pytest.mark.parametrize(
    ("kernel", "kept"), [("softmax", (-2.0, 0.5)), ("softmax", (2.5,)), ("gaussian", (6.0, -2.5))]
)
def test_starts_that_all_lie_elsewhere_are_named(kernel, kept):
    tables = measured(claims.bad_basin)
    rest = tables.scalar
    tables.scalar = rest[(rest.kernel != kernel) | rest.q.isin(kept)]
    with pytest.raises(ArithmeticError, match=r"^no start lies where the rule looks"):
        claims.bad_basin.findings(tables)


def test_too_few_unknowns_for_the_claim_are_named():
    tables = measured(claims.convergence)
    tables.phase = tables.phase[tables.phase.ratio < 2]
    with pytest.raises(ArithmeticError, match=r"^the largest H D / N n is 1\.25, but must be 2 or"):
        claims.convergence.findings(tables)


def test_a_loss_that_is_rounding_too_soon_has_no_rate_and_that_is_said():
    tables = measured(claims.convergence)
    table = tables.rates
    one = (table.quantity == "straight") & (table.seed == 5) & (table.trained == "all")
    tables.rates = table.assign(value=table.value.mask(one, math.nan))
    with pytest.raises(ArithmeticError, match=r"^a loss came down to rounding within a few steps"):
        claims.convergence.findings(tables)


def test_targets_that_frozen_scores_cannot_reach_predict_no_rate_and_that_is_said():
    tables = measured(claims.convergence)
    table = tables.rates
    one = (table.quantity == "rate") & (table.seed == 5) & (table.source == "theory")
    tables.rates = table.assign(value=table.value.mask(one, 0.0))
    with pytest.raises(ArithmeticError, match=r"^with frozen scores some targets are out of reach"):
        claims.convergence.findings(tables)


@pytest.mark.parametrize(
    ("claim", "table", "lacking"),
    [
        (claims.convergence, "phase", {"trained": "all"}),
        (claims.convergence, "phase", {"kernel": "gaussian"}),
        (claims.convergence, "phase", {"quantity": "fall"}),
        (claims.convergence, "rates", {"quantity": "straight"}),
        (claims.convergence, "rates", {"quantity": "rate"}),
        (claims.convergence, "rates", {"kernel": "softmax"}),
        (claims.convergence, "rates", {"trained": "W_V"}),
        (claims.bad_basin, "scalar", {"source": "measured"}),
        (claims.bad_basin, "query_only", {"kernel": "softmax"}),
        (claims.landscape, "curvature", {"rank": 0}),
        (claims.landscape, "curvature", {"kernel": "gaussian"}),
        (claims.landscape, "variation", {"kernel": "softmax"}),
        (claims.landscape, "variation", {"quantity": "variation"}),
        (claims.classification, "classification", {"quantity": "loss"}),
        (claims.classification, "classification", {"kernel": "gaussian"}),
        (claims.classification, "classification", {"source": "measured"}),
    ],
    ids=lambda part: getattr(part, "id", str(part)),
)
def test_a_table_that_lacks_rows_gets_one_clear_line(claim, table, lacking):
    tables = measured(claim)
    rest = getattr(tables, table)
    for name, gone in lacking.items():
        rest = rest[(rest[name] != gone).fillna(True)]
    setattr(tables, table, rest)
    with pytest.raises(ValueError, match=r"^the table has no rows with [^\n]*$"):
        claim.findings(tables)


# Claims, and the study that they are about.

TINY = study.setting(
    "quick", seeds=2, steps=10, samples=2, tokens=2, width=5, heads=(1, 3), head_width=2,
    value_width=2, rate_steps=30, problems=2, scales=(0.5, 2), query_steps=2,
    starts=(0.5, 1.2), scalar_steps=2, batch=2, class_seeds=2, class_snapshots=1, digit_steps=2,
    test_prompts=4, land_seeds=2, land_width=4, land_hidden=3, land_steps=2, land_snapshots=1,
    land_samples=2, land_points=3, land_eigenvalues=1, land_pieces=2,
)  # fmt: skip


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
    found = claim.findings(tiny)
    # Of three tasks one, of two kernels of stage one one.
    fewer = {claims.classification: 3, claims.landscape: 2}.get(claim, 1)
    assert len(found) == len(PLANTED[claim.id]) / fewer
    for finding in found:
        assert finding.verdict in VERDICTS
        assert finding.measured.low <= finding.measured.estimate <= finding.measured.high


@pytest.mark.parametrize("name", TABLES)
def test_a_planted_table_has_the_columns_of_the_studys_and_no_other_measurement(name, tiny):
    planted, real = TABLES[name](), getattr(tiny, name)
    assert {*planted.columns} == {*real.columns}
    assert planted[[*COLUMNS]].dtypes.equals(real[[*COLUMNS]].dtypes)
    for source in ("measured", "theory"):
        kinds = [{*table[table.source == source].quantity} for table in (planted, real)]
        assert kinds[0] == kinds[1]
    for column in {"kernel", "trained", "targets", "task", "problem"} & {*planted.columns}:
        assert {*real[column].dropna()} <= {*planted[column].dropna()}, column


@CLAIMS
def test_a_claim_needs_what_the_study_measures_and_judges_it_under_that_name(claim):
    assert set(claim.needs) <= {*vars(study.Measurements)}
    assert tuple(inspect.signature(claim.judge).parameters) == claim.needs


def test_ids_are_those_of_the_study():
    ids = [claim.id for claim in claims.CLAIMS]
    assert ids == [
        f"kernels.{name}" for name in ("global", "bad_basin", "landscape", "classification")
    ]
    assert len({claim.statement for claim in claims.CLAIMS}) == 4
    assert all(claim.source.startswith("after Song et al.") for claim in claims.CLAIMS)


@pytest.mark.parametrize(
    ("claim", "constants"),
    [
        (claims.convergence, (ZERO, ENOUGH, STRAIGHT, EXACT)),
        (claims.bad_basin, (REACHED, SOLVED, *STARTS)),
        (claims.landscape, ()),
        (claims.classification, (CHANCE,)),
    ],
    ids=lambda part: getattr(part, "id", ""),
)
def test_a_rule_states_its_constants_and_which_are_ours(claim, constants):
    words = re.split(r"[ ,:;\[\]]+", claim.rule)
    assert not [constant for constant in constants if f"{constant:g}" not in words]
    assert "95 %" in claim.rule
    assert ("ours" in claim.rule) == bool(constants)
