"""A scorecard of two studies, planted: three findings, three tables, one claim not measured."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd

from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE, Claim, Finding
from tdlab.results import tidy
from tdlab.scorecard.card import Card, Scorecard
from tdlab.statistics import Interval
from tdlab.studies import cot, icl
from tdlab.studies.regimes import NEARER
from tests.tdlab.runs import RUN

RUNS = [replace(RUN, seed=seed) for seed in (0, 1, 2)]
RUNS = [RUN, *RUNS[1:]]


def claim(name: str, judge: Any = list, needs: tuple[str, ...] = ("setting",)) -> Claim:
    return Claim(
        id=name,
        statement="The risk <= eps & more.",
        equation=r"L \le \epsilon",
        source="Us, ICML 2024",
        rule="at most 0.1 (ours)",
        regime="Here {s.steps} steps.",
        page="icl_dynamics",
        needs=needs,
        judge=judge,
    )


def table(value: float) -> pd.DataFrame:
    """A tidy table of three runs, and a row of the theory."""
    runs = {"member": range(3), "seed": ("member", [0, 1, 2])}
    ids = ("member", [run.id for run in RUNS])
    measured = tidy("x", value * pd.Series([1, 2, 3]).to_numpy(), "member", source="measured",
                    run=ids, **runs)  # fmt: skip
    return pd.concat([measured, tidy("x", 0.1, "", source="theory")], ignore_index=True)


def _measurements(study: Any, **tables: pd.DataFrame) -> Any:
    setting = study.setting("quick")
    return SimpleNamespace(setting=setting, known_runs=RUNS, diverged=[], **tables)


FINDINGS = [
    Finding("risk <= eps", "<= 0.1", Interval(0.02, 0.01, 0.03), AGREES, (float("-inf"), 0.1)),
    Finding(
        *("exponent", "-1", Interval(-0.5, -0.6, -0.4), DISAGREES, (-1.1, -0.9)),
        note="a point is off",
        regime=NEARER,
    ),
]
OTHER = Finding("mass", ">= 0.9", Interval(0.9, -float("inf"), float("inf")), INCONCLUSIVE)
FOUND = Scorecard(
    "quick",
    {"beta": 2.0},
    {
        "icl": Card(
            "icl",
            _measurements(icl, first=table(0.5), second=table(0.7)),
            [(claim("icl.one", needs=("setting", "first", "second")), FINDINGS)],
            {"icl.three": "nothing is large"},
        ),
        "cot": Card(
            "cot",
            _measurements(cot, first=table(0.2)),
            [(claim("cot.two", needs=("first",)), [OTHER])],
        ),
    },
)
