"""What a store knows of a run without opening its tensors: one sealed JSON file a run."""

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

RECORD = "run.json"
_SEAL = ',\n "sha256": '


class Damaged(ValueError):
    """A file of a store is not what was written there; the line says which, and how."""


class Unwritable(RuntimeError):
    """A store cannot be written to; the line says why. What is in it stays readable."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file beside the record: its name, its length, and a hash of its content."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of one run beside its tensors."""

    id: str
    run: dict[str, Any]  # every field of the configuration, with the classes of its values
    identity: dict[str, Any]  # of which the id is a hash
    taken: int  # steps
    reason: str  # of the ending; "unfinished" while there is none
    steps: tuple[int, ...]  # of the snapshots
    snapshots: File
    rows: File
    provenance: dict[str, Any]
    earlier: tuple[str, ...] = ()  # its content when it had less, of which all is still in it

    @property
    def names(self) -> set[str]:
        """The files that belong to the run."""
        return {RECORD, self.snapshots.name, self.rows.name}

    @property
    def content(self) -> str:
        """Twelve hexadecimal digits of a hash of all its snapshots and losses."""
        return sha256(f"{self.snapshots.sha256} {self.rows.sha256}".encode()).hexdigest()[:12]

    @property
    def contents(self) -> set[str]:
        """Hashes of all that was ever in it and still is."""
        return {*self.earlier, self.content}


def root(given: str | Path | None = None) -> Path:
    """The folder of the store: the one given, else ``$TDLAB_STORE``, else the user's."""
    users = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(given or os.environ.get("TDLAB_STORE") or users / "tdlab" / "store").absolute()


def folder(store: Path, run: str) -> Path:
    """Where the files of a run are."""
    return store / "runs" / run


def sealed(record: Record) -> bytes:
    """The content of ``run.json``: the record, and last a hash of all that stands before it."""
    files = {"snapshots": vars(record.snapshots), "rows": vars(record.rows)}
    # A line for each field; with its own indents json takes many times as long.
    lines = [f' "{name}": {json.dumps(its)}' for name, its in (vars(record) | files).items()]
    body = "{\n" + ",\n".join(lines)
    seal = sha256(body.encode()).hexdigest()
    return f'{body}{_SEAL}"{seal}"\n}}\n'.encode()


def read(store: Path, run: str) -> Record | None:
    """The record of a run.

    Returns:
        What was written last; ``None`` if there is no such run.

    Raises:
        Damaged: if it is not as it was written, or is that of another run.
    """
    path = folder(store, run) / RECORD
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    body, _, seal = text.rpartition(_SEAL.encode())
    if seal != f'"{sha256(body).hexdigest()}"\n}}\n'.encode():
        raise Damaged(f"{path} was altered or truncated")
    fields = json.loads(text)
    fields.pop("sha256")
    files = {name: File(**fields[name]) for name in ("snapshots", "rows")}
    lists = {name: tuple(fields.get(name, ())) for name in ("steps", "earlier")}
    record = Record(**{**fields, **files, **lists})
    if record.id != run:
        raise Damaged(f"{path} is misplaced: it is the record of run {record.id}")
    return record


def require_length(folder: Path, file: File) -> None:
    """Raises :class:`Damaged` where the file is not there, or has another length."""
    path = folder / file.name
    try:
        length = path.stat().st_size
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing") from error
    if length != file.bytes:
        raise Damaged(f"{path} has {length} bytes, where {file.bytes} were written")


def verified(folder: Path, file: File) -> bytes:
    """What is in the file. Raises :class:`Damaged` unless it is as it was written."""
    require_length(folder, file)
    data = (folder / file.name).read_bytes()
    if sha256(data).hexdigest() != file.sha256:
        raise Damaged(f"{folder / file.name} was altered")
    return data


def ids(store: Path) -> list[str]:
    """The runs that are in the store."""
    runs = store / "runs"
    if not runs.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(runs) if entry.is_dir())


def find(store: Path, start: str) -> str:
    """The one run whose id starts like that. Raises ``ValueError`` for none, or several."""
    found = [run for run in ids(store) if start and run.startswith(start)]
    if len(found) == 1:
        return found[0]
    which = f"{len(found)} runs do: {', '.join(found[:5])}" if found else "no run does"
    raise ValueError(f"which run starts with {start!r}? In {store} {which}")
