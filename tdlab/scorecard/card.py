"""Claims judged by what their studies measure, and the way back from a verdict to its runs."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from synthetic_tasks.value import meant
from tdlab import results
from tdlab.claims import li2024, li2025, song2024, verdicts
from tdlab.claims import multilayer as several
from tdlab.claims.claim import Claim, Finding, overall
from tdlab.records import configuration
from tdlab.studies import cot, icl, kernels, multilayer

Judged = tuple[Claim, list[Finding]]

# Each study with the claims about it.
STUDIES: dict[str, tuple[Any, Any]] = {
    "icl": (icl, li2024),
    "cot": (cot, li2025),
    "kernels": (kernels, song2024),
    "multilayer": (multilayer, several),
}


@dataclass(repr=False)
class Card:
    """What was found in one study."""

    study: str
    measurements: Any  # of the study
    judged: list[Judged] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # claims that could not be, and why

    def __repr__(self) -> str:
        said = ", ".join(f"{claim.id} {overall(findings)}" for claim, findings in self.judged)
        return f"<{self.study}: {said or 'no claim judged'}>"

    @property
    def setting(self) -> Any:
        """What was measured."""
        return self.measurements.setting

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The tables that the claims were judged by, named by the study as well."""
        names = dict.fromkeys(name for claim, _ in self.judged for name in claim.tables)
        for name in names:
            yield f"{self.study}.{name}", getattr(self.measurements, name)


class Told(NamedTuple):
    """Who is told of what is measured, as it is."""

    start: Callable[[Card], None] = lambda _: None
    claim: Callable[[Claim, list[Finding]], None] = lambda *_: None
    failure: Callable[[Claim, str], None] = lambda *_: None
    end: Callable[[Card], None] = lambda _: None


NOBODY = Told()


@dataclass(frozen=True, repr=False)
class Scorecard:
    """What was found in all studies that were asked about."""

    preset: str
    changes: Mapping[str, object]
    cards: Mapping[str, Card]

    def __repr__(self) -> str:
        return f"<scorecard at preset {self.preset}: {', '.join(map(repr, self.cards.values()))}>"

    @property
    def judged(self) -> list[Judged]:
        """Every claim that was measured, with its findings."""
        return [each for card in self.cards.values() for each in card.judged]

    @property
    def failed(self) -> dict[str, str]:
        """The claims that could not be measured, and why."""
        return {claim: why for card in self.cards.values() for claim, why in card.failed.items()}

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A tidy row for each finding: see ``tdlab.claims.verdicts``."""
        tables = [verdicts.table(card.judged, card.setting) for card in self.cards.values()]
        none = pd.DataFrame(columns=[*results.COLUMNS])
        return pd.concat([table for table in tables if len(table)] or [none], ignore_index=True)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The rows behind the verdicts, as ``study.table``."""
        return dict(pair for card in self.cards.values() for pair in card.tables())

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The runs behind the rows: how many steps, in which tables, and the configuration.

        Returns:
            A tidy table of ``steps`` with columns ``tables`` and ``configuration`` (JSON).
        """
        found: dict[str, list[str]] = {}
        for name, table in self.tables.items():
            for run in runs_of(table):
                found.setdefault(run, []).append(name)
        known = {
            run.id: run for card in self.cards.values() for run in card.measurements.known_runs
        }
        rows = [
            {
                "run": run,
                "seed": known[run].seed,
                "step": known[run].steps,
                "quantity": "steps",
                "source": "measured",
                "value": float(known[run].steps),
                "tables": ", ".join(tables),
                "configuration": json.dumps(configuration.encoded(known[run])),
            }
            for run, tables in found.items()
        ]
        return pd.DataFrame(rows, columns=[*results.COLUMNS, "tables", "configuration"])

    def files(self) -> dict[str, pd.DataFrame]:
        """All of it by the name of a file: verdicts, rows behind them, runs behind these."""
        return {"verdicts": self.verdicts, **self.tables, "runs": self.runs}

    def keep(self) -> None:
        """Keeps all of it beside the page that is being made, if one is."""
        for name, table in self.files().items():
            results.keep(name, table)


def measure(
    names: Sequence[str] = (),
    preset: str = "quick",
    device: str = "cpu",
    changes: Mapping[str, object] = MappingProxyType({}),
    told: Told = NOBODY,
) -> Scorecard:
    """Judges these claims (all, if none is named); what their runs lack is trained.

    ``changes`` are fields of the settings that differ from the preset's; each study that is asked
    for must have them.

    Returns:
        What was found. Claims that could not be measured are named there.

    Raises:
        ValueError: for an unknown claim, preset, field or device.
    """
    wanted = chosen(names)
    _require_shared(wanted, changes)
    settings = {study: STUDIES[study][0].setting(preset, **changes) for study in wanted}
    cards = {
        study: Card(study, STUDIES[study][0].Measurements(setting, device))
        for study, setting in settings.items()
    }
    for study, claims in wanted.items():
        told.start(cards[study])
        _judge(cards[study], claims, told)
        told.end(cards[study])
    return Scorecard(preset, dict(changes), cards)


def runs_of(table: pd.DataFrame) -> list[str]:
    """The ids of the runs that a table was measured on."""
    return sorted(str(run) for run in table.run.dropna().unique())


def chosen(names: Sequence[str] = ()) -> dict[str, list[Claim]]:
    """The claims of those ids, all if there are none.

    Returns:
        Each study with those that are about it.

    Raises:
        ValueError: for an unknown claim.
    """
    known = {claim.id: (study, claim) for study, (_, of) in STUDIES.items() for claim in of.CLAIMS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no claim {name!r}{meant(name, list(known))}")
    found: dict[str, list[Claim]] = {}
    for name in names or known:
        study, claim = known[name]
        found.setdefault(study, []).append(claim)
    return found


def _require_shared(wanted: Iterable[str], changes: Mapping[str, object]) -> None:
    """Raises ``ValueError`` for a change that only some of several studies know."""
    fields = {
        study: {each.name for each in dataclasses.fields(STUDIES[study][0].Setting)}
        for study in wanted
    }
    for name in changes:
        without = [study for study, known in fields.items() if name not in known]
        if 0 < len(without) < len(fields):
            raise ValueError(
                f"{name} is no setting of the study {without[0]}; name the claims that it is for"
            )


def _judge(card: Card, claims: Sequence[Claim], told: Told) -> None:
    for claim in claims:
        try:
            findings = claim.findings(card.measurements)
        except (ArithmeticError, ModuleNotFoundError) as error:  # an extra may not be installed
            card.failed[claim.id] = str(error)
            told.failure(claim, str(error))
            continue
        card.judged.append((claim, findings))
        told.claim(claim, findings)
