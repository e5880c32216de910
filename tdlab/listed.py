"""Lists of runs, and of what was trained of them, that say in a notebook what differs in them."""

from collections.abc import Sequence
from html import escape
from typing import Any

from tdlab.records import configuration
from tdlab.run import Run
from tdlab.trajectory import Trained

_ROWS = 24  # (ours) runs that are shown one by one


class Runs(list[Run]):
    """Runs; a notebook shows a row for each, with the fields in which they differ."""

    def __repr__(self) -> str:
        return _short(self, "run")

    def _repr_html_(self) -> str:
        return _table(self, [{} for _ in self])


class Results(list[Trained]):
    """What was trained of runs; a notebook shows a row for each, with how it went."""

    def __repr__(self) -> str:
        return _short([result.run for result in self], "trained run")

    def _repr_html_(self) -> str:
        went = [
            {"ending": f"{result.ending.reason} at step {result.ending.step}", **_losses(result)}
            for result in self
        ]
        return _table([result.run for result in self], went)


def named(runs: Sequence[Run]) -> list[str]:
    """What tells each run from the others, in words; of a single one its seed."""
    _, own = differing(runs)
    return [_words(its or {"seed": run.seed}) for run, its in zip(runs, own, strict=True)]


def differing(runs: Sequence[Run]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fields of runs by their dotted names: those that are the same in all, and each one's own.

    Returns:
        The common fields, and for each run the others.
    """
    each = [configuration.columns(configuration.encoded(run)) for run in runs]
    names = list(dict.fromkeys(name for fields in each for name in fields))
    apart = [name for name in names if len({str(fields.get(name)) for fields in each}) > 1]
    common = {name: each[0][name] for name in names if name not in apart}
    return common, [{name: fields[name] for name in apart if name in fields} for fields in each]


def _losses(result: Trained) -> dict[str, str]:
    loss = result.loss[: result.ending.losses]
    if not len(loss):
        return {}
    return {"first loss": f"{loss[0]:.4g}", "last loss": f"{loss[-1]:.4g}"}


def _short(runs: Sequence[Run], kind: str) -> str:
    """So many, and in what they differ."""
    _, own = differing(runs)
    apart = {name: dict.fromkeys(str(its.get(name)) for its in own) for name in (own or [{}])[0]}
    said = [f"{name} {', '.join(values)}" for name, values in apart.items()]
    counted = f"{len(runs)} {kind}{'s' * (len(runs) != 1)}"
    return f"<{counted}{': ' * bool(said)}{'; '.join(said)}>"


def _words(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in fields.items())


def _table(runs: Sequence[Run], more: Sequence[dict[str, str]]) -> str:
    common, own = differing(runs)
    rows = [
        {"run": run.id, **its, **other} for run, its, other in zip(runs, own, more, strict=True)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["".join(f"<th>{escape(name)}</th>" for name in names)]
    for row in rows[:_ROWS]:
        cells = (escape(str(row.get(name, ""))) for name in names)
        lines.append("".join(f"<td>{cell}</td>" for cell in cells))
    if len(rows) > _ROWS:
        lines.append(f'<td colspan="{len(names)}">… and {len(rows) - _ROWS} more</td>')
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>{body}</table><p><small>All: {escape(_words(common))}</small></p>"
