"""The pages of a grid as one: their verdicts in a table, their figures side by side."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from tdlab import results
from tdlab.report import html, record
from tdlab.report.pages import Page


def join(name: str, pages: Sequence[Page], out: Path, folder: Path) -> bool:
    """Writes the page ``name`` of these that are in ``out`` into ``folder``.

    One that failed, or was made with other parameters, is named there as missing.

    Returns:
        Whether there was anything to join.
    """
    there = {page.name: _record(page, out) for page in pages}
    made = {name: its for name, its in there.items() if its is not None}
    if not made:
        return False
    newest = max(made.values(), key=lambda its: its["started"])
    axes = {
        axis: list(dict.fromkeys(page.point[axis] for page in pages)) for axis in pages[0].point
    }
    points = {page.name: record.given(page.point) for page in pages}
    joined = {
        **{key: newest[key] for key in ("notebook", "preset", "commit", "versions")},
        "page": name,
        "study": newest.get("study"),
        "title": f"{newest['title']}, over {' and '.join(axes)}",
        "parameters": pages[0].parameters
        | {axis: ", ".join(map(str, values)) for axis, values in axes.items()},
        "started": newest["started"],
        "seconds": sum(its["seconds"] for its in made.values()),
        "axes": axes,
        "points": points,
        "missing": [name for name in points if name not in made],
        "thumbnails": [],
        "tables": _joined_tables([page for page in pages if page.name in made], out, folder),
        "verdicts": [],  # counted on the pages themselves
    }
    verdicts = {name: record.claims(its["verdicts"]) for name, its in made.items()}
    text = html.rendered(
        "grid",
        page=joined,
        axes=list(axes),
        points={page.name: page.point for page in pages},
        claims=list(dict.fromkeys(claim for its in verdicts.values() for claim in its)),
        verdicts=verdicts,
        rows=_rows_of_figures(made, out),
    )
    (folder / f"{name}.html").write_text(text, encoding="utf-8")
    record.write(folder / "page.json", joined)
    return True


def _record(page: Page, out: Path) -> dict[str, Any] | None:
    """The record of a page as it was asked for, if it is there."""
    path = out / page.name / "page.json"
    found = record.read(path) if path.is_file() else None
    return found if found is not None and record.is_of(page.parameters, found) else None


def _joined_tables(pages: Sequence[Page], out: Path, folder: Path) -> list[str]:
    """Writes each table of these pages once, with the point of its page in columns before it."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for page in pages:
        for path in sorted((out / page.name).glob("*.parquet")):
            try:
                table = results.read(path)
            except ValueError:  # a notebook may keep other tables than tidy ones
                continue
            for at, (axis, value) in enumerate(page.point.items()):
                table.insert(at, f"page.{axis}", value)
            tables.setdefault(path.name, []).append(table)
    for name, each in tables.items():
        results.write(folder / name, pd.concat(each, ignore_index=True))
    return sorted(tables)


def _rows_of_figures(made: Mapping[str, Mapping[str, Any]], out: Path) -> list[dict[str, Any]]:
    """For each figure of the notebook its heading there, and how it looks on the pages with it."""
    figures = [
        [
            {
                **each,
                "page": name,
                "title": each.get("title", each["alt"]),  # older records have none
                "src": html.embedded(out / name / each["file"]),
            }
            for each in its["figures"]
        ]
        for name, its in made.items()
    ]
    rows = [[figure for figure in row if figure] for row in zip_longest(*figures)]
    return [
        {"heading": row[0].get("heading") or f"Figure {number}", "figures": row}
        for number, row in enumerate(rows, start=1)
    ]
