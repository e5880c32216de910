"""What is wrong in a store: every byte of it is read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tdlab.files import is_unfinished
from tdlab.records import snapshots
from tdlab.records.record import RECORD, Damaged, Record, folder, ids, read, verified
from tdlab.run import id_of


def findings(store: Path, runs: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """What is wrong with these runs, or with all that there are: the run, and a line."""
    for run in runs or ids(store):
        for line in _of_run(store, run):
            yield run, line


def _of_run(store: Path, run: str) -> Iterator[str]:
    while True:
        try:
            record = read(store, run)
        except Damaged as error:
            yield str(error)
            return
        found = list(_of_files(store, run, record))
        if not found or read(store, run) == record:  # nobody kept the run again meanwhile
            yield from found
            return


def _of_files(store: Path, run: str, record: Record | None) -> Iterator[str]:
    its = folder(store, run)
    if record is None:
        yield f"{its} has no {RECORD}: its process was killed before it wrote any"
        return
    if id_of(record.identity) != run:
        yield f"{its / RECORD} is misplaced: its configuration has another id"
    yield from snapshots.findings(its / record.snapshots.name, run, record.snapshots)
    try:
        verified(its, record.rows)
    except Damaged as error:
        yield str(error)
    for path in sorted(its.iterdir()):
        if path.name not in record.names and not is_unfinished(path):
            yield f"{path} belongs to no run"
