"""The findings on claims as a tidy table, and how a notebook shows it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE, Claim, Finding, nearer, overall
from tdlab.symbols import SYMBOLS


def table(claims: Sequence[tuple[Claim, Sequence[Finding]]], setting: Any) -> pd.DataFrame:
    """Findings as tidy rows: the measured value, its interval, prediction and verdict in words.

    Returns:
        A row for each. ``overall`` and ``nearer`` are the verdicts on its claim, in our regime and,
        where it is measured in a second one, nearer the theorem; ``from`` and ``to`` say which
        values the prediction allows; ``tables`` names those that the claim was judged by.
    """
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
                "from": float(finding.agreeing[0]),
                "to": float(finding.agreeing[1]),
                "claim": claim.id,
                "statement": claim.statement,
                "equation": claim.equation,
                "rule": claim.rule,
                "origin": claim.source,
                "regime": finding.regime,
                "about": claim.in_regime(setting),
                "prediction": finding.prediction,
                "measurement": str(finding.measured),
                "note": finding.note,
                "verdict": finding.verdict,
                "overall": overall(findings),
                "nearer": nearer(findings),
                "page": claim.page,
                "tables": ", ".join(claim.tables),
            }
            for claim, findings in claims
            for finding in findings
        ]
    )


def summary(table: pd.DataFrame) -> Styler:
    """A table of findings as a notebook shows it: a row a finding, nothing cut off."""
    names = {"quantity": "measured quantity", "measurement": "value [95 % interval]"}
    shown = table[["claim", "regime", *names, "prediction", "verdict", "note"]]
    shown = shown.rename(columns=names).replace(SYMBOLS, regex=True)
    # A column that is the same for all tells nothing.
    shown = shown.drop(columns=[c for c in ("regime", "note") if shown[c].nunique() < 2])
    index = [name for name in ("claim", "regime", names["quantity"]) if name in shown]
    styler = shown.set_index(index).style
    return styler.set_properties(**{"text-align": "left"}).map(_colour, subset=["verdict"])


def _colour(verdict: str) -> str:
    """A report's own colours, which suit its mode; elsewhere ones that both modes can bear.

    The word itself says the same.

    Returns:
        The style of its cell.
    """
    colours = {AGREES: "#2e8b57", DISAGREES: "#d2571e", INCONCLUSIVE: "#808080"}
    return f"color: var(--{verdict}, {colours[verdict]}); font-weight: bold"
