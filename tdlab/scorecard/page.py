"""The scorecard as HTML: a claim a block, its prediction drawn on its measurement."""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tdlab.figures.small import small
from tdlab.figures.style import svg
from tdlab.figures.words import alt
from tdlab.mathml import mathml
from tdlab.report.record import breakable
from tdlab.scorecard.card import Scorecard, runs_of
from tdlab.scorecard.scale import of_finding
from tdlab.studies.regimes import NEARER, OURS
from tdlab.symbols import MARKS, in_symbols

_WIDTH, _HEIGHT, _EDGE = 170, 20, 6  # of a finding, in pixels


def page(found: Scorecard) -> str:
    """Every claim with its verdict, a figure, its findings, its regime, and the way to its runs."""
    verdicts = found.verdicts
    runs = {name: runs_of(table) for name, table in found.tables.items()}
    blocks = []
    for claim, rows in verdicts.groupby("claim", sort=False):
        its = [f"{_study(found, str(claim))}.{name}" for name in rows.tables.iloc[0].split(", ")]
        behind = {name: runs[name] for name in its}
        blocks.append(_block(rows, _drawn(found, str(claim)), behind))
    missing = [_missing(claim, why) for claim, why in found.failed.items()]
    return f'<div class="scorecard">{_overview(verdicts)}{"".join(missing + blocks)}</div>'


def picture(found: Scorecard, claim: str) -> Figure:
    """The small figure of a claim."""
    study = _study(found, claim)
    of_study = found.cards[study]
    names = next(each.tables for each, _ in of_study.judged if each.id == claim)
    return small(claim, {name: found.tables[f"{study}.{name}"] for name in names})


def words(found: Scorecard, figure: Figure, claim: str) -> str:
    """The verdict on a claim, the finding that decides it, and what its figure shows."""
    rows = found.verdicts[found.verdicts.claim == claim]
    first = decisive(rows[rows.regime == OURS])
    finding = f"{first.quantity}, measured {first.measurement}, predicted {first.prediction}"
    return f"{claim} {first.overall}: {in_symbols(finding)}. {alt(figure)}"


def decisive(rows: pd.DataFrame) -> pd.Series:
    """The finding that decides a verdict: the first that disagrees, or else is inconclusive."""
    for verdict in ("disagrees", "inconclusive", "agrees"):
        if len(its := rows[rows.verdict == verdict]):
            return its.iloc[0]
    raise AssertionError("a claim has findings")


def _overview(verdicts: pd.DataFrame) -> str:
    """A line a claim: the verdict, and the finding that decides it."""
    lines = []
    for claim, rows in verdicts.groupby("claim", sort=False):
        first = decisive(rows[rows.regime == OURS])
        lines.append(
            f'<tr><td>{_chip(first.overall)}</td><td><a href="#{claim}">{breakable(claim)}</a></td>'
            f"<td>{_text(rows.statement.iloc[0])}</td><td>{_text(first.quantity)}</td>"
            f"<td>{_text(first.prediction)}</td><td>{_bar(first)}</td>"
            f"<td>{escape(first.measurement)}</td><td>{_nearer(rows)}</td></tr>"
        )
    head = "verdict,claim,what the paper says,the finding that decides,predicted,,measured [95 %]"
    columns = "".join(f"<th>{name}</th>" for name in (*head.split(","), NEARER))
    return f'<table class="overview"><tr>{columns}</tr>{"".join(lines)}</table>'


def _block(rows: pd.DataFrame, image: str, behind: Mapping[str, Sequence[str]]) -> str:
    first = rows.iloc[0]
    link = f'<a href="../{first.page}/{first.page}.html">{first.page}</a>'
    return (
        f'<section class="claim" id="{first.claim}">'
        f"<h2>{_chip(first.overall)} {first.claim}</h2>"
        f"<p>{_text(first.statement)} <small>{escape(first.origin)}; more in the report {link}"
        f"</small></p>{mathml(first.equation, block=True)}"
        f'<div class="evidence">{image}{_findings(rows)}</div>'
        f'<p class="regime">{_text(first.about)}</p>'
        f"<details><summary>the rule, and the rows and runs behind it</summary>"
        f"<p>Rule: {_text(first.rule)}.</p>{_behind(behind)}</details></section>"
    )


def _findings(rows: pd.DataFrame) -> str:
    parts = []
    for _, row in rows.iterrows():
        where = f" <small>({NEARER})</small>" if row.regime == NEARER else ""
        note = f"<br><small>{_text(row.note)}</small>" if row.note else ""
        parts.append(
            f'<tr><td class="{row.verdict}" title="{row.verdict}">{MARKS[row.verdict]}</td>'
            f"<td>{_text(row.quantity)}{where}{note}</td><td>{_bar(row)}</td>"
            f"<td>{escape(row.measurement)}</td><td>{_text(row.prediction)}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("", "measured", "", "value [95 %]", "predicted"))
    return f"<table><tr>{head}</tr>{''.join(parts)}</table>"


def _behind(behind: Mapping[str, Sequence[str]]) -> str:
    """From a verdict to its rows, and from these to the runs and their configuration."""
    lines = [
        f'<li>rows: <a href="{name}.parquet">{name}.parquet</a>, of {len(runs)} runs: '
        f'<span class="address">{" ".join(runs) or "none is trained for it"}</span></li>'
        for name, runs in behind.items()
    ]
    return (
        f"<ul>{''.join(lines)}</ul><p>The configuration of each run is in "
        '<a href="runs.parquet">runs.parquet</a>, and with <code>tdlab runs show RUN</code>.</p>'
    )


def _missing(claim: str, why: str) -> str:
    return f'<p class="missing"><strong>{claim}</strong> could not be measured: {escape(why)}</p>'


def _drawn(found: Scorecard, claim: str) -> str:
    figure = picture(found, claim)
    data, said = b64encode(svg(figure)).decode(), escape(words(found, figure, claim))
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{said}">'


def _bar(row: Any) -> str:
    """An interval beside the values that would agree, which are shaded."""
    place = of_finding(row, _WIDTH, _EDGE)
    left, right = place(row["from"]), place(row["to"])
    low, high = place(row.low), place(row.high)
    dot = "" if math.isnan(row.value) else f'<circle cx="{place(row.value):.1f}" cy="10" r="3.5"/>'
    words = f"{row.measurement}; {row.prediction}: {row.verdict}"
    return (
        f'<svg class="bar {row.verdict}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words)}">'
        f'<rect x="{left:.1f}" y="1" width="{max(right - left, 1.5):.1f}" height="18"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="10" y2="10"/>{dot}</svg>'
    )


def _nearer(rows: pd.DataFrame) -> str:
    verdict = rows.nearer.iloc[0]
    return "" if verdict is None or pd.isna(verdict) else _chip(verdict)


def _chip(verdict: str) -> str:
    return f'<span class="chip {verdict}">{MARKS[verdict]} {verdict}</span>'


def _text(words: str) -> str:
    return escape(in_symbols(words))


def _study(found: Scorecard, claim: str) -> str:
    return next(
        study for study, card in found.cards.items() if claim in [c.id for c, _ in card.judged]
    )
