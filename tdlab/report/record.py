"""What is kept of a page as JSON beside it: what it was run with, and what came of it."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a record."""
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """The record that is there. Raises ``ValueError`` for one that is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        facts(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged; remove it or run its notebook again") from error
    return record


def is_of(parameters: Mapping[str, object], record: Mapping[str, Any]) -> bool:
    """Whether a record is of a page with these parameters, which JSON may write otherwise."""
    return record["parameters"] == json.loads(json.dumps(parameters))


def facts(record: Mapping[str, Any]) -> dict[str, str]:
    """What a reader wants to know about a page before trusting it, in words."""
    started = datetime.fromisoformat(record["started"])
    versions = record["versions"]
    return {
        "parameters": given(record["parameters"]) or "none",
        "commit": _short(record["commit"]) or f"none, tdlab {versions['tdlab']}",
        "date": f"{started:%Y-%m-%d %H:%M} UTC",
        "wall time": f"{record['seconds']:.0f} s",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def given(parameters: Mapping[str, object]) -> str:
    """Those parameters that have a value, in words."""
    known = {name: value for name, value in parameters.items() if value is not None}
    return ", ".join(f"{name} = {value}" for name, value in known.items())


def breakable(name: str) -> str:
    """The name of a claim as HTML that may stand in two lines."""
    return re.sub("([._])", r"\1<wbr>", escape(name))


def pictured(record: Mapping[str, Any]) -> dict[str, str]:
    """The files of the pictures that stand for a page, each with what it shows."""
    figures = record.get("figures", [])
    alts = [figure.get("alt") for figure in figures]  # older records have none
    known = {f"thumbnail-{number}.png": alt for number, alt in enumerate(alts, start=1)}
    known |= {figure.get("file"): alt for figure, alt in zip(figures, alts, strict=True)}
    return {
        file: known.get(file) or f"Figure {number} of {record['title']}"
        for number, file in enumerate(record["thumbnails"], start=1)
    }


def settings(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values of each parameter of a page; of a page that joins a grid, those at its points."""
    own = {name: [value] for name, value in record["parameters"].items() if value is not None}
    own |= record.get("axes", {})
    return {name: [str(value) for value in values] for name, values in own.items()}


def claims(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The verdict on each claim in the first regime it is measured in, from those on its parts."""
    parts: dict[str, set[str]] = {}
    first: dict[str, object] = {}
    for row in rows:
        regime = row.get("regime")
        if first.setdefault(row["claim"], regime) == regime:
            parts.setdefault(row["claim"], set()).add(row["verdict"])
    return {claim: _overall(verdicts) for claim, verdicts in parts.items()}


def decisive(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each claim the first finding that has the claim's verdict."""
    verdicts = claims(rows)
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["verdict"] == verdicts[row["claim"]]:
            found.setdefault(row["claim"], row)
    return list(found.values())


def _overall(verdicts: set[str]) -> str:
    if "disagrees" in verdicts:
        return "disagrees"
    return "agrees" if verdicts == {"agrees"} else "inconclusive"


def _short(commit: str | None) -> str:
    """A commit as people write it; a dirty one says so."""
    digits, _, dirty = (commit or "").partition("-")
    return f"{digits[:10]}{', with changes' if dirty else ''}"
