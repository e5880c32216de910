"""A claim: what a paper says, the rule that judges it, and what was found.

A rule compares an interval with a prediction and reads the same whatever the outcome: ``agrees``
where the whole interval satisfies it, ``disagrees`` where none of it does, else ``inconclusive``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from tdlab.statistics import Interval

# What a terminal spells out and a page need not.
_SYMBOLS = {
    r"\beps\b": "ε",
    r"\beta\b": "η",
    r"\balpha\b": "α",
    r"\bkappa\b": "κ",
    r"\bOmega\b": "Ω",
    r"\btau\b": "τ",
    r"\btau_o\b": "τₒ",
    r"\brho\b": "ρ",
    r"\brho_o\b": "ρₒ",
    r"\bS_1\b": "S₁",
    r"\^-1/2": "⁻¹ᐟ²",
    "<=": "≤",
    ">=": "≥",
}

AGREES, DISAGREES, INCONCLUSIVE = VERDICTS = ("agrees", "disagrees", "inconclusive")


class Finding(NamedTuple):
    """One prediction beside its measurement."""

    part: str  # what of the claim is compared
    prediction: str
    measured: Interval  # 95 %, over training seeds
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of one paper.

    ``needs`` names what ``judge`` takes of the study's measurements: tables, and the setting where
    a prediction depends on it. ``judge`` is a pure function, so that a table with a planted answer
    has a known verdict.
    """

    id: str
    statement: str
    source: str
    rule: str  # in words, with the constants that are ours
    needs: tuple[str, ...]
    judge: Callable[..., list[Finding]]

    def findings(self, measurements: Any) -> list[Finding]:
        """The findings on the tables of ``measurements``, which measures what is missing."""
        return self.judge(*(getattr(measurements, name) for name in self.needs))


def overall(findings: Sequence[Finding]) -> str:
    """The verdict on a claim: agrees where every part does, disagrees where any part does."""
    verdicts = {finding.verdict for finding in findings}
    if DISAGREES in verdicts:
        return DISAGREES
    return AGREES if verdicts == {AGREES} else INCONCLUSIVE


def at_most(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies at or below ``limit``, disagrees where it lies above."""
    verdict = _read(measured.high <= limit, measured.low <= limit)
    return Finding(part, prediction, measured, verdict)


def at_least(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies at or above ``limit``, disagrees where it lies below."""
    verdict = _read(measured.low >= limit, measured.high >= limit)
    return Finding(part, prediction, measured, verdict)


def below(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies strictly below ``limit``, disagrees where none of it does."""
    return Finding(part, prediction, measured, _read(measured.high < limit, measured.low < limit))


def above(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies strictly above ``limit``, disagrees where none of it does."""
    return Finding(part, prediction, measured, _read(measured.low > limit, measured.high > limit))


def reaches(
    part: str, measured: Interval, limit: float, falling: Interval, prediction: str
) -> Finding:
    """As ``at_most``, for the end of a curve that comes down to ``limit`` if one waits long enough.

    ``falling`` is by how much the curve still fell at its end. One that fell has not been followed
    far enough to disagree.

    Returns:
        The finding; it disagrees only where the curve is above ``limit`` and no longer falls.
    """
    verdict = _read(measured.high <= limit, measured.low <= limit or falling.low > 0)
    return Finding(part, prediction, measured, verdict)


def near(part: str, measured: Interval, value: float, tolerance: float, prediction: str) -> Finding:
    """Agrees where the whole interval lies within ``tolerance`` of ``value``."""
    low, high = value - tolerance, value + tolerance
    all_of_it = low <= measured.low and measured.high <= high
    some_of_it = measured.low <= high and low <= measured.high
    return Finding(part, prediction, measured, _read(all_of_it, some_of_it))


def table(claims: Sequence[tuple[Claim, Sequence[Finding]]], seeds: int) -> pd.DataFrame:
    """Findings as tidy rows: the measured value, its interval, prediction and verdict in words."""
    return pd.DataFrame(
        [
            {
                "run": None,
                "seed": None,
                "step": None,
                "quantity": finding.part,
                "source": "measured",
                "value": float(finding.measured.estimate),
                "low": float(finding.measured.low),
                "high": float(finding.measured.high),
                "claim": claim.id,
                "statement": claim.statement,
                "rule": claim.rule,
                "origin": claim.source,
                "prediction": finding.prediction,
                "measurement": str(finding.measured),
                "verdict": finding.verdict,
                "seeds": seeds,
            }
            for claim, findings in claims
            for finding in findings
        ]
    )


def summary(table: pd.DataFrame) -> Styler:
    """A table of findings as a notebook shows it: a row a finding, nothing cut off."""
    names = {"quantity": "measured quantity", "measurement": "value [95 % interval]"}
    shown = table[["claim", *names, "prediction", "verdict"]].rename(columns=names)
    shown = shown.replace(_SYMBOLS, regex=True)
    styler = shown.set_index(["claim", names["quantity"]]).style
    return styler.set_properties(**{"text-align": "left"}).map(_colour, subset=["verdict"])


def _colour(verdict: str) -> str:
    """Legible on light and on dark pages; the word itself says the same."""
    colours = {AGREES: "#2e8b57", DISAGREES: "#d2571e", INCONCLUSIVE: "#808080"}
    return f"color: {colours[verdict]}; font-weight: bold"


def _read(all_of_it: np.bool | bool, some_of_it: np.bool | bool) -> str:
    if all_of_it:
        return AGREES
    return INCONCLUSIVE if some_of_it else DISAGREES
