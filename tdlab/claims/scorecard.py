"""The scorecard: every claim with its prediction, measurement, 95 % interval and verdict."""

import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from synthetic_tasks.value import meant
from tdlab.claims import li2024
from tdlab.claims.claim import Claim, Finding, overall
from tdlab.results import provenance
from tdlab.studies import icl

_MARKS = {"agrees": "+", "disagrees": "-", "inconclusive": "?"}

Judged = tuple[Claim, list[Finding]]


def main(
    names: Sequence[str],
    preset: str | None,
    device: str | None,
    path: Path | None,
    changes: Mapping[str, object] = MappingProxyType({}),
) -> int:
    """Prints the scorecard of these claims (all, if none is named), and writes it to ``path``.

    ``changes`` are fields of the study's setting that differ from the preset's.

    Returns:
        0 when every claim was measured, 1 when one could not be.

    Raises:
        ValueError: for an unknown claim, preset, field or device, and a path that has no directory.
    """
    claims = chosen(names)
    setting = icl.setting(preset or "quick", **changes)
    if path is not None:
        _check_target(path)
    started, judged, failed = time.perf_counter(), [], []
    measurements = icl.Measurements(setting, device or "cpu")
    changed = "".join(f", {name} = {value}" for name, value in changes.items())
    print(f"preset {preset or 'quick'}{changed}: {setting.seeds} seeds, {setting.steps} steps\n")
    for claim in claims:
        try:
            judged.append((claim, claim.findings(measurements)))
        except ArithmeticError as error:
            failed.append(claim.id)
            print(f"{claim.id}  could not be measured: {error}\n", file=sys.stderr)
            continue
        print("\n".join(_lines(*judged[-1])), flush=True)
    counts = Counter(overall(findings) for _, findings in judged)
    for run in measurements.diverged:
        print(f"left out, because it diverged: run {run.id} (seed {run.seed})")
    total = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _MARKS)
    print(f"{total}; {time.perf_counter() - started:.0f} s")
    if path is not None:
        about = {"preset": preset or "quick", "changes": dict(changes), "failed": failed}
        _write(path, about | _record(measurements, judged))
    return 1 if failed else 0


def chosen(names: Sequence[str]) -> list[Claim]:
    """The claims of those ids, all if there are none. Raises ``ValueError`` for an unknown one."""
    known = {claim.id: claim for claim in li2024.CLAIMS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no claim {name!r}{meant(name, list(known))}")
    return [known[name] for name in names] or list(known.values())


def _lines(claim: Claim, findings: list[Finding]) -> Iterator[str]:
    yield f"{claim.id}: {overall(findings)}"
    yield f"  {claim.statement}"
    width = max(len(finding.part) for finding in findings)
    for part, prediction, measured, verdict in findings:
        yield f"  {_MARKS[verdict]} {part:{width}}  {measured!s}  predicted {prediction}"
    yield ""


def _record(measurements: icl.Measurements, judged: Sequence[Judged]) -> dict[str, Any]:
    return {
        "seeds": measurements.setting.seeds,
        "diverged": [run.id for run in measurements.diverged],
        "provenance": provenance(),
        "claims": [
            {
                "id": claim.id,
                "statement": claim.statement,
                "source": claim.source,
                "rule": claim.rule,
                "verdict": overall(findings),
                "findings": [
                    {
                        "part": finding.part,
                        "prediction": finding.prediction,
                        "measured": float(finding.measured.estimate),
                        "interval": [_finite(finding.measured.low), _finite(finding.measured.high)],
                        "verdict": finding.verdict,
                    }
                    for finding in findings
                ],
            }
            for claim, findings in judged
        ],
    }


def _check_target(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--json is {path}, but {path.absolute().parent} is no directory")
    if path.is_dir():
        raise ValueError(f"--json is {path}, but must be a file")


def _finite(bound: float) -> float | None:
    """JSON has no infinity; an interval without an end there ends in null."""
    return float(bound) if math.isfinite(bound) else None


def _write(path: Path, record: dict[str, Any]) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with unfinished.open("x") as file:
            json.dump(record, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
