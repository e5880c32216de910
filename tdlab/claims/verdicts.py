"""The findings on claims as a tidy table, and how a notebook shows it."""

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE, Claim, Finding, nearer, overall
from tdlab.studies.regimes import NEARER, OURS
from tdlab.symbols import MARKS, in_symbols


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


def summary(table: pd.DataFrame) -> "Summary":
    """A table of findings as a notebook shows it: claim by claim, nothing cut off."""
    return Summary(table)


class Summary:
    """The findings of a table, each below its claim: a page of text, or of HTML."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    def __repr__(self) -> str:
        return "\n".join(
            line
            for claim, rows in self.table.groupby("claim", sort=False)
            for line in (f"{claim} {rows.overall.iloc[0]}", *map(_line, rows.itertuples()))
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(self) -> str:
        """A table in which each claim heads its findings."""
        names = ("", "measured", "value [95 %]", "predicted")
        head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in names)
        body = "".join(
            _heading(str(claim), rows) + "".join(map(_row, rows.itertuples()))
            for claim, rows in self.table.groupby("claim", sort=False)
        )
        return f'<table class="verdicts"><tr>{head}</tr>{body}</table>'


def _line(row: Any) -> str:
    where = f" ({row.regime})" if row.regime != OURS else ""
    return f"  {row.verdict}: {row.quantity}{where}: {row.measurement}, predicted {row.prediction}"


def _heading(claim: str, rows: pd.DataFrame) -> str:
    verdicts = _coloured(rows.overall.iloc[0])
    if (there := rows.nearer.iloc[0]) is not None and not pd.isna(there):
        verdicts += f" ({NEARER}: {_coloured(there)})"
    return f'<tr><th scope="rowgroup" colspan="4">{claim}: {verdicts}</th></tr>'


def _row(row: Any) -> str:
    said = [NEARER] * (row.regime == NEARER) + [in_symbols(row.note)] * bool(row.note)
    more = "".join(f"<br><small>{escape(each)}</small>" for each in said)
    mark = _coloured(row.verdict, MARKS[row.verdict])
    measured, predicted = (escape(in_symbols(each)) for each in (row.quantity, row.prediction))
    cells = (mark, measured + more, escape(row.measurement), predicted)
    # A notebook would set them to the right.
    told = "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells)
    return f"<tr>{told}</tr>"


def _coloured(verdict: str, mark: str = "") -> str:
    """A verdict, or its mark, in a report's own colours, which suit its mode; elsewhere in ours."""
    colours = {AGREES: "#2e8b57", DISAGREES: "#d2571e", INCONCLUSIVE: "#808080"}
    style = f"color: var(--{verdict}, {colours[verdict]}); font-weight: bold"
    name = f' role="img" aria-label="{verdict}"' if mark else ""
    return f'<span style="{style}"{name}>{mark or verdict}</span>'
