"""A claim: what a paper says, the rule that judges it, and what was found.

A rule compares an interval with a prediction and reads the same whatever the outcome: ``agrees``
where the whole interval satisfies it, ``disagrees`` where none of it does, else ``inconclusive``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np

from tdlab.mathml import mathml
from tdlab.statistics import Interval, PowerLaw
from tdlab.studies.regimes import NEARER, OURS

AGREES, DISAGREES, INCONCLUSIVE = VERDICTS = ("agrees", "disagrees", "inconclusive")
BENT = 0.1  # (ours) a point that is further from a fitted law, as a share of it, speaks against one


class Finding(NamedTuple):
    """One prediction beside its measurement."""

    part: str  # what of the claim is compared
    prediction: str
    measured: Interval  # 95 %, over training seeds
    verdict: str
    agreeing: tuple[float, float] = (-math.inf, math.inf)  # values that the prediction allows
    note: str = ""  # what else to know of the measurement
    regime: str = OURS

    def __repr__(self) -> str:
        return f"<{self.verdict}: {self.part}: {self.measured}, predicted {self.prediction}>"


@dataclass(frozen=True, kw_only=True, repr=False)
class Claim:
    """One claim of one paper.

    ``needs`` names what ``judge`` takes of the study's measurements: tables, and the setting where
    a prediction depends on it. ``judge`` is a pure function, so that a table with a planted answer
    has a known verdict.
    """

    id: str
    statement: str
    equation: str  # in LaTeX
    source: str
    rule: str  # in words, with the constants that are ours
    regime: str  # how what is measured differs from what the theorem assumes; {s} is the setting
    page: str  # the notebook that shows it
    needs: tuple[str, ...]
    judge: Callable[..., list[Finding]]

    def __repr__(self) -> str:
        return f"<claim {self.id}: {self.statement}>"

    def _repr_html_(self) -> str:
        facts = {"source": self.source, "rule": self.rule, "regime": self.regime}
        facts |= {"shown on the page": self.page}
        rows = "".join(
            f'<tr><th scope="row">{name}</th><td>{escape(fact)}</td></tr>'
            for name, fact in facts.items()
        )
        said = f"<p><strong>{self.id}</strong>: {escape(self.statement)}</p>"
        return f"{said}{mathml(self.equation, block=True)}<table>{rows}</table>"

    def findings(self, measurements: Any) -> list[Finding]:
        """The findings on what a study's measurements, or a mapping, have under ``needs``."""
        if isinstance(measurements, Mapping):
            return self.judge(*(measurements[name] for name in self.needs))
        return self.judge(*(getattr(measurements, name) for name in self.needs))

    def in_regime(self, setting: Any) -> str:
        """How a measurement with this setting differs from what the theorem assumes."""
        return self.regime.format(s=setting)

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that it is judged by."""
        return tuple(name for name in self.needs if name != "setting")


def overall(findings: Sequence[Finding], regime: str = OURS) -> str:
    """The verdict on a claim in a regime: disagrees where any part does, agrees where all do."""
    verdicts = {finding.verdict for finding in findings if finding.regime == regime}
    if DISAGREES in verdicts:
        return DISAGREES
    return AGREES if verdicts == {AGREES} else INCONCLUSIVE


def nearer(findings: Sequence[Finding]) -> str | None:
    """The verdict nearer the theorem; ``None`` of a claim that is measured in one regime."""
    there = any(finding.regime == NEARER for finding in findings)
    return overall(findings, NEARER) if there else None


def at_most(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies at or below ``limit``, disagrees where it lies above."""
    verdict = _read(measured.high <= limit, measured.low <= limit)
    return Finding(part, prediction, measured, verdict, (-math.inf, limit))


def at_least(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies at or above ``limit``, disagrees where it lies below."""
    verdict = _read(measured.low >= limit, measured.high >= limit)
    return Finding(part, prediction, measured, verdict, (limit, math.inf))


def below(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies strictly below ``limit``, disagrees where none of it does."""
    verdict = _read(measured.high < limit, measured.low < limit)
    return Finding(part, prediction, measured, verdict, (-math.inf, limit))


def above(part: str, measured: Interval, limit: float, prediction: str) -> Finding:
    """Agrees where the interval lies strictly above ``limit``, disagrees where none of it does."""
    verdict = _read(measured.low > limit, measured.high > limit)
    return Finding(part, prediction, measured, verdict, (limit, math.inf))


def reaches(
    part: str, measured: Interval, limit: float, falling: Interval, prediction: str
) -> Finding:
    """As ``at_most``, for the end of a curve that comes down to ``limit`` if one waits long enough.

    ``falling`` is by how much the curve still fell at its end. One that fell has not been followed
    far enough to disagree.

    Returns:
        The finding; it disagrees only where the curve is above ``limit`` and no longer falls.
    """
    falls = measured.low > limit and falling.low > 0
    verdict = _read(measured.high <= limit, measured.low <= limit or falls)
    note = "still falling at the end" if falls else ""
    return Finding(part, prediction, measured, verdict, (-math.inf, limit), note)


def within(part: str, measured: Interval, low: float, high: float, prediction: str) -> Finding:
    """Agrees where the whole interval lies from ``low`` to ``high``, disagrees where none does."""
    all_of_it = low <= measured.low and measured.high <= high
    some_of_it = measured.low <= high and low <= measured.high
    return Finding(part, prediction, measured, _read(all_of_it, some_of_it), (low, high))


def near(part: str, measured: Interval, value: float, tolerance: float, prediction: str) -> Finding:
    """Agrees where the whole interval lies within ``tolerance`` of ``value``."""
    return within(part, measured, value - tolerance, value + tolerance, prediction)


def fitted(finding: Finding, law: PowerLaw, *, straight: bool = True) -> Finding:
    """A finding about an exponent, with what speaks against there being one.

    ``straight`` is a prediction that is one power law, not a sum of several. Points that are
    further than ``BENT`` from the fit have no exponent that could agree with it.

    Returns:
        The finding with a note about residuals and censored values.
    """
    notes = [f"a point is off the law by up to {100 * law.bend:.1f} %"]
    if law.censored:
        notes.append(f"{law.censored} of {law.of} values are beyond what could be seen")
    bent = straight and law.bend > BENT and finding.verdict == AGREES
    if bent:
        notes[0] += f", more than {100 * BENT:g} %, so that it is none"
    verdict = INCONCLUSIVE if bent else finding.verdict
    return finding._replace(verdict=verdict, note="; ".join(notes))


def _read(all_of_it: np.bool | bool, some_of_it: np.bool | bool) -> str:
    if all_of_it:
        return AGREES
    return INCONCLUSIVE if some_of_it else DISAGREES
