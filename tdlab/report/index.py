"""The index of a folder of reports: every page in it, from the record that each page keeps."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tdlab.report import html
from tdlab.report.notebooks import staging

marks = {"agrees": "✓", "disagrees": "✗", "inconclusive": "?"}


def write(out: Path) -> None:
    """Write ``index.html`` for the pages and failures that are in ``out`` now.

    Raises:
        ValueError: a page's record is damaged.
    """
    records = [_read(path) for path in sorted(out.glob("*/page.json"))]
    failures = [_read(path) for path in sorted(out.glob("failed/*.json"))]
    environment = Environment(
        loader=FileSystemLoader(html.templates), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"claims": claims, "markdown": _markdown, "number": _number}
    text = environment.get_template("index.html.j2").render(
        style=Markup(html.style()),
        pages=records,
        failures=failures,
        facts=facts,
        marks=marks,
        tally=_tally(records),
    )
    with staging(out) as staged:
        (staged / "index.html").write_text(text, encoding="utf-8")
        (staged / "index.html").replace(out / "index.html")


def facts(record: dict[str, Any]) -> dict[str, str]:
    """What a reader wants to know about a page before trusting it, in words."""
    given = {name: value for name, value in record["parameters"].items() if value is not None}
    started = datetime.fromisoformat(record["started"])
    versions = record["versions"]
    return {
        "parameters": ", ".join(f"{name} = {value}" for name, value in given.items()) or "none",
        "commit": _short(record["commit"]) or f"none, tdlab {versions['tdlab']}",
        "date": f"{started:%Y-%m-%d %H:%M} UTC",
        "wall time": f"{record['seconds']:.0f} s",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def claims(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The verdict on each claim: it agrees where all parts do, disagrees where any part does."""
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(row["claim"], set()).add(row["verdict"])
    return {claim: _overall(verdicts) for claim, verdicts in parts.items()}


def _overall(verdicts: set[str]) -> str:
    if "disagrees" in verdicts:
        return "disagrees"
    return "agrees" if verdicts == {"agrees"} else "inconclusive"


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        facts(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged; remove it or run its notebook again") from error
    return record


def _short(commit: str | None) -> str:
    """A commit as people write it; a dirty one says so."""
    digits, _, dirty = (commit or "").partition("-")
    return f"{digits[:10]}{', with changes' if dirty else ''}"


def _tally(records: list[dict[str, Any]]) -> dict[str, int]:
    """How many claims came to each verdict."""
    verdicts = [each for record in records for each in claims(record["verdicts"]).values()]
    return {verdict: verdicts.count(verdict) for verdict in marks}


def _markdown(text: object) -> Markup:
    return Markup(html.inline(str(text)))


def _number(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
