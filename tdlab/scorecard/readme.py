"""The scorecard as Markdown with figures, for a repository."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

import pandas as pd

from tdlab.figures.style import png
from tdlab.files import whole_or_absent
from tdlab.report.thumbnails import in_few_colours
from tdlab.results import provenance
from tdlab.scorecard.card import Scorecard
from tdlab.scorecard.overview import counted, overview
from tdlab.scorecard.page import decisive, picture, words
from tdlab.studies.regimes import NEARER, OURS
from tdlab.symbols import MARKS, in_symbols

# Of these the figures are shown, as far as they were measured.
SHOWN = (
    *("icl.iterations", "icl.attention", "icl.shift", "icl.pruning"),
    *("cot.training", "cot.inference", "cot.icl_needs_condition_1", "kernels.bad_basin"),
)
FOLDER = "figures"  # beside the file
OVERVIEW = "scorecard.png"  # all of it, for the first page of a repository


def write(path: Path, found: Scorecard, seconds: float) -> None:
    """Writes the file, and the figures into a folder beside it, each whole or not at all."""
    folder = path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    measured = {claim.id for claim, _ in found.judged}
    shown = {claim: picture(found, claim) for claim in SHOWN if claim in measured}
    for claim, figure in shown.items():
        with whole_or_absent(folder / f"{claim}.png") as file:
            file.write(png(figure, dpi=160))
    if len(found.verdicts):
        with whole_or_absent(folder / OVERVIEW) as file:
            drawn = overview(found.verdicts, f"at preset {found.preset}; seeds: {_seeds(found)}")
            file.write(in_few_colours(png(drawn), str(drawn.get_label())))
    said = {claim: words(found, figure, claim) for claim, figure in shown.items()}
    text = "\n".join([*_head(found, seconds), *_figures(said), *_table(found.verdicts)])
    with whole_or_absent(path) as file:
        file.write((text + "\n").encode())


def _head(found: Scorecard, seconds: float) -> Iterator[str]:
    origin = provenance()
    changed = "".join(f", {name} = {value}" for name, value in found.changes.items())
    versions = ", ".join(f"{name} {origin[name]}" for name in ("python", "torch", "numpy"))
    total = ", ".join(f"{count} {verdict}" for verdict, count in counted(found.verdicts).items())
    yield "# The scorecard"
    yield ""
    yield f"What the papers predict beside what was measured: {total}."
    runs = f"seeds of the studies: {_seeds(found)}; {len(found.runs)} runs"
    yield f"Preset `{found.preset}`{changed}; {runs}."
    yield f"Commit `{origin['commit']}`, {versions}, {origin['threads']} threads, {seconds:.0f} s."
    yield "`make scorecard` writes this file and its figures anew; `make report` makes the page"
    yield "with all findings, rules and rows (`reports/index.html`), which git ignores."
    yield ""
    for claim, why in found.failed.items():
        yield f"`{claim}` could not be measured: {why}."
        yield ""


def _seeds(found: Scorecard) -> str:
    return ", ".join(f"{name} {card.setting.seeds}" for name, card in found.cards.items())


def _figures(said: Mapping[str, str]) -> Iterator[str]:
    for claim, alt in said.items():
        yield f'<img src="{FOLDER}/{claim}.png" width="380" alt="{escape(alt)}">'
    yield ""


def _table(verdicts: pd.DataFrame) -> Iterator[str]:
    """A line a claim with the finding that decides it, and then how the regimes differ."""
    yield f"| verdict | {NEARER} | claim | the finding that decides | predicted | measured [95 %] |"
    yield "|---|---|---|---|---|---|"
    for claim, rows in verdicts.groupby("claim", sort=False):
        row = decisive(rows[rows.regime == OURS])
        there = "" if pd.isna(row.nearer) else f"{MARKS[row.nearer]} {row.nearer}"
        cells = (
            f"{MARKS[row.overall]} {row.overall}",
            there,
            f"**{claim}** {in_symbols(row.statement)}",
            in_symbols(row.quantity),
            in_symbols(row.prediction),
            row.measurement,
        )
        yield "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
    yield ""
    yield "Where what is measured differs from what the theorems assume:"
    yield ""
    for claim, rows in verdicts.groupby("claim", sort=False):
        yield f"- **{claim}**: {in_symbols(rows.about.iloc[0])} {in_symbols(rows.rule.iloc[0])}."
    yield ""
    yield "All findings:"
    yield ""
    yield "| | claim | measured | value [95 %] | predicted | |"
    yield "|---|---|---|---|---|---|"
    for _, row in verdicts.iterrows():
        where = f" ({NEARER})" if row.regime == NEARER else ""
        cells = (
            MARKS[row.verdict],
            row.claim,
            in_symbols(row.quantity) + where,
            row.measurement,
            in_symbols(row.prediction),
            in_symbols(row.note),
        )
        yield "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
