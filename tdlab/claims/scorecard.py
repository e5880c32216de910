"""The scorecard: every claim with its prediction, measurement, 95 % interval and verdict."""

import dataclasses
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from synthetic_tasks.value import meant
from tdlab.claims import li2024, li2025, song2024
from tdlab.claims import multilayer as several
from tdlab.claims.claim import Claim, Finding, overall
from tdlab.files import whole_or_absent
from tdlab.results import provenance
from tdlab.studies import cot, icl, kernels, multilayer
from tdlab.studies.measurements import Measurements

_MARKS = {"agrees": "+", "disagrees": "-", "inconclusive": "?"}

Judged = tuple[Claim, list[Finding]]

# Each study with the claims about it.
_STUDIES: dict[str, tuple[Any, Any]] = {
    "icl": (icl, li2024),
    "cot": (cot, li2025),
    "kernels": (kernels, song2024),
    "multilayer": (multilayer, several),
}


class Card(NamedTuple):
    """What was found in one study."""

    measurements: Measurements[Any]
    judged: list[Judged]
    failed: list[str]


def main(
    names: Sequence[str],
    preset: str | None,
    device: str | None,
    path: Path | None,
    changes: Mapping[str, object] = MappingProxyType({}),
) -> int:
    """Prints the scorecard of these claims (all, if none is named), and writes it to ``path``.

    ``changes`` are fields of the settings that differ from the preset's; each study that is asked
    for must have them.

    Returns:
        0 when every claim was measured, 1 when one could not be.

    Raises:
        ValueError: for an unknown claim, preset, field or device, and a path that has no directory.
    """
    wanted = chosen(names)
    preset = preset or "quick"
    _require_shared(wanted, changes)
    settings = {study: _STUDIES[study][0].setting(preset, **changes) for study in wanted}
    if path is not None:
        _check_target(path)
    started, cards = time.perf_counter(), {}
    changed = "".join(f", {name} = {value}" for name, value in changes.items())
    for study, claims in wanted.items():
        setting = settings[study]
        print(f"{study}, preset {preset}{changed}: {setting.seeds} seeds, {setting.steps} steps\n")
        measurements = _STUDIES[study][0].Measurements(setting, device or "cpu")
        cards[study] = _card(measurements, claims)
    counts = Counter(overall(found) for card in cards.values() for _, found in card.judged)
    total = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _MARKS)
    print(f"{total}; {time.perf_counter() - started:.0f} s")
    if path is not None:
        _write(path, {"preset": preset, "changes": dict(changes), **_record(cards)})
    return 1 if any(card.failed for card in cards.values()) else 0


def chosen(names: Sequence[str]) -> dict[str, list[Claim]]:
    """The claims of those ids, all if there are none.

    Returns:
        Each study with those that are about it.

    Raises:
        ValueError: for an unknown claim.
    """
    known = {claim.id: (study, claim) for study, (_, of) in _STUDIES.items() for claim in of.CLAIMS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no claim {name!r}{meant(name, list(known))}")
    found: dict[str, list[Claim]] = {}
    for name in names or known:
        study, claim = known[name]
        found.setdefault(study, []).append(claim)
    return found


def _require_shared(wanted: Mapping[str, object], changes: Mapping[str, object]) -> None:
    """Raises ``ValueError`` for a change that only some of several studies know."""
    fields = {
        study: {field.name for field in dataclasses.fields(_STUDIES[study][0].Setting)}
        for study in wanted
    }
    for name in changes:
        without = [study for study, known in fields.items() if name not in known]
        if 0 < len(without) < len(wanted):
            raise ValueError(
                f"{name} is no setting of the study {without[0]}; name the claims that it is for"
            )


def _card(measurements: Measurements[Any], claims: Sequence[Claim]) -> Card:
    """Judges claim by claim, and prints each as soon as it is known."""
    judged, failed = [], []
    for claim in claims:
        try:
            judged.append((claim, claim.findings(measurements)))
        except ArithmeticError as error:
            failed.append(claim.id)
            print(f"{claim.id}  could not be measured: {error}\n", file=sys.stderr)
            continue
        print("\n".join(_lines(*judged[-1])), flush=True)
    for run in measurements.diverged:
        print(f"left out, because it diverged: run {run.id} (seed {run.seed})")
    return Card(measurements, judged, failed)


def _lines(claim: Claim, findings: list[Finding]) -> Iterator[str]:
    yield f"{claim.id}: {overall(findings)}"
    yield f"  {claim.statement}"
    width = max(len(finding.part) for finding in findings)
    for finding in findings:
        mark, measured = _MARKS[finding.verdict], finding.measured
        yield f"  {mark} {finding.part:{width}}  {measured!s}  predicted {finding.prediction}"
    yield ""


def _record(cards: Mapping[str, Card]) -> dict[str, Any]:
    return {
        "provenance": provenance(),
        "studies": {
            study: {
                "seeds": card.measurements.setting.seeds,
                "diverged": [run.id for run in card.measurements.diverged],
                "failed": card.failed,
            }
            for study, card in cards.items()
        },
        "claims": [
            {
                "id": claim.id,
                "study": study,
                "statement": claim.statement,
                "source": claim.source,
                "rule": claim.rule,
                "verdict": overall(findings),
                "findings": [
                    {
                        "part": finding.part,
                        "prediction": finding.prediction,
                        "measured": _finite(finding.measured.estimate),
                        "interval": [_finite(finding.measured.low), _finite(finding.measured.high)],
                        "verdict": finding.verdict,
                    }
                    for finding in findings
                ],
            }
            for study, card in cards.items()
            for claim, findings in card.judged
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
    with whole_or_absent(path) as file:
        file.write(json.dumps(record, indent=1, allow_nan=False).encode())
