"""The index of a folder of reports: every page in it, from the record that each page keeps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdlab.report import html
from tdlab.report.notebooks import staging
from tdlab.report.record import claims, pictured, read, settings
from tdlab.symbols import MARKS


def write(out: Path) -> None:
    """Write ``index.html`` for the pages and failures that are in ``out`` now.

    Raises:
        ValueError: a page's record is damaged.
    """
    records = [read(path) for path in sorted(out.glob("*/page.json"))]
    failures = [read(path) for path in sorted(out.glob("failed/*.json"))]
    fronts = [record for record in records if record.get("front")]
    others = [record for record in records if not record.get("front")]
    # A front page sums up the others: its verdicts are theirs.
    tally = _tally(fronts or others)
    text = html.rendered(
        "index",
        fronts=fronts,
        pages=others,
        failures=failures,
        tally=tally,
        studies=sorted({record["study"] for record in others if record.get("study")}),
        parameters=_parameters(others),
        pictures={record["page"]: _pictures(record, out) for record in others},
    )
    with staging(out) as staged:
        (staged / "index.html").write_text(text, encoding="utf-8")
        (staged / "index.html").replace(out / "index.html")


def _pictures(record: dict[str, Any], out: Path) -> list[dict[str, str]]:
    """What stands for a page, inside the index: it can be sent without the folder."""
    files = {out / record["page"] / file: alt for file, alt in pictured(record).items()}
    return [
        {"src": html.embedded(path), "alt": alt} for path, alt in files.items() if path.is_file()
    ]


def _parameters(records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Each parameter of these pages with the values that it has among them, in order."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, values in settings(record).items():
            found.setdefault(name, set()).update(values)
    return {name: sorted(values, key=_in_order) for name, values in sorted(found.items())}


def _in_order(value: str) -> tuple[float, str]:
    """Numbers by size, and words after them."""
    try:
        return float(value), value
    except ValueError:
        return math.inf, value


def _tally(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many claims came to each verdict."""
    verdicts = [each for record in records for each in claims(record["verdicts"]).values()]
    return {verdict: verdicts.count(verdict) for verdict in MARKS}
