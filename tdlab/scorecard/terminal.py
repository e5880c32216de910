"""The scorecard in a terminal, a claim as soon as it is known; and as files."""

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tdlab import results
from tdlab.claims.claim import Claim, Finding, nearer, overall
from tdlab.files import whole_or_absent
from tdlab.scorecard.card import Card, Scorecard, Told, measure, runs_of
from tdlab.studies.regimes import NEARER

_MARKS = {"agrees": "+", "disagrees": "-", "inconclusive": "?"}
_COLUMNS = ("measured quantity", "value [95 % interval]", "predicted")


def main(
    names: Sequence[str],
    preset: str | None,
    device: str | None,
    changes: Mapping[str, object] = MappingProxyType({}),
    *,
    file: Path | None = None,
    folder: Path | None = None,
    readme: Path | None = None,
) -> int:
    """Prints the scorecard of these claims (all, if none is named).

    ``changes`` are fields of the settings that differ from the preset's. It is written as JSON to
    ``file``, with the rows and the runs behind it as parquet to ``folder``, and as Markdown with
    figures to ``readme``, as far as these are given.

    Returns:
        0 when every claim was measured, 1 when one could not be.

    Raises:
        ValueError: for an unknown claim, preset, field or device, and a path that has no directory.
    """
    for option, path in (("--json", file), ("--parquet", folder), ("--readme", readme)):
        if path is not None:
            _check_target(option, path, is_folder=path is folder)
    started = time.perf_counter()
    preset = preset or "quick"
    changed = "".join(f", {name} = {value}" for name, value in changes.items())
    told = Told(lambda card: _start(card, preset + changed), _claim, _failure, _end)
    found = measure(names, preset, device or "cpu", changes, told)
    seconds = time.perf_counter() - started
    counts = Counter(overall(findings) for _, findings in found.judged)
    total = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _MARKS)
    unmeasured = f", {len(found.failed)} not measured" if found.failed else ""
    print(f"{total}{unmeasured}; {seconds:.0f} s")
    if file is not None:
        with whole_or_absent(file) as target:
            target.write(json.dumps(record(found), indent=1, allow_nan=False).encode())
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for name, table in found.files().items():
            results.write(folder / f"{name}.parquet", table)
    if readme is not None:
        from tdlab.scorecard.readme import write  # draws figures, which takes seconds to load

        write(readme, found, seconds)
    return 1 if found.failed else 0


def record(found: Scorecard) -> dict[str, Any]:
    """All verdicts as JSON, with where they come from; an interval without an end ends in null."""
    runs = found.runs
    return {
        "preset": found.preset,
        "changes": dict(found.changes),
        "provenance": results.provenance(),
        "studies": {
            study: {
                "seeds": card.setting.seeds,
                "diverged": [run.id for run in card.measurements.diverged],
                "failed": card.failed,
            }
            for study, card in found.cards.items()
        },
        "claims": [
            _of_claim(study, card, claim, findings)
            for study, card in found.cards.items()
            for claim, findings in card.judged
        ],
        "runs": {
            run: json.loads(configuration)
            for run, configuration in zip(runs.run, runs.configuration, strict=True)
        },
    }


def _of_claim(study: str, card: Card, claim: Claim, findings: list[Finding]) -> dict[str, Any]:
    tables = {name: getattr(card.measurements, name) for name in claim.tables}
    runs = {run for table in tables.values() for run in runs_of(table)}
    return {
        "id": claim.id,
        "study": study,
        "statement": claim.statement,
        "equation": claim.equation,
        "source": claim.source,
        "rule": claim.rule,
        "regime": claim.in_regime(card.setting),
        "verdict": overall(findings),
        "nearer": nearer(findings),
        "findings": [
            {
                "part": finding.part,
                "regime": finding.regime,
                "prediction": finding.prediction,
                "agreeing": [_finite(end) for end in finding.agreeing],
                "measured": _finite(finding.measured.estimate),
                "interval": [_finite(finding.measured.low), _finite(finding.measured.high)],
                "verdict": finding.verdict,
                "note": finding.note,
            }
            for finding in findings
        ],
        "tables": [f"{study}.{name}" for name in tables],
        "runs": sorted(runs),
    }


def _start(card: Card, preset: str) -> None:
    setting = card.setting
    print(f"{card.study}, preset {preset}: {setting.seeds} seeds, {setting.steps} steps\n")


def _claim(claim: Claim, findings: list[Finding]) -> None:
    print("\n".join(_lines(claim, findings)), flush=True)


def _failure(claim: Claim, why: str) -> None:
    print(f"{claim.id}  could not be measured: {why}\n", file=sys.stderr)


def _end(card: Card) -> None:
    for run in card.measurements.diverged:
        print(f"left out, because it diverged: run {run.id} (seed {run.seed})")


def _lines(claim: Claim, findings: list[Finding]) -> Iterator[str]:
    """A claim as a small table, with its verdict above."""
    there = nearer(findings)
    yield f"{claim.id}: {overall(findings)}" + (f"; {NEARER}: {there}" if there else "")
    yield f"  {claim.statement}"
    rows = [(each.part, str(each.measured), each.prediction) for each in findings]
    part, value, _ = (max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True))
    yield f"    {_COLUMNS[0]:{part}}  {_COLUMNS[1]:{value}}  {_COLUMNS[2]}"
    for finding, (what, measured, prediction) in zip(findings, rows, strict=True):
        line = f"  {_MARKS[finding.verdict]} {what:{part}}  {measured:{value}}  {prediction}"
        yield line + ("" if finding.regime != NEARER else f" ({NEARER})")
        if finding.note:
            yield f"    {'':{part}}  {finding.note}"
    yield ""


def _check_target(option: str, path: Path, *, is_folder: bool) -> None:
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{option} is {path}, but {path.absolute().parent} is no directory")
    if is_folder and path.exists() and not path.is_dir():
        raise ValueError(f"{option} is {path}, but must be a folder")
    if not is_folder and path.is_dir():
        raise ValueError(f"{option} is {path}, but must be a file")


def _finite(number: Any) -> float | None:
    """JSON has no infinity."""
    return float(number) if math.isfinite(number) else None
