"""``tdlab runs``: what is in a store, without loading a tensor until one is asked for."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from tdlab import records
from tdlab.records import RECORD, Damaged, Record, configuration


def listed(store: Path) -> int:
    """Prints a line for each run, and what there is of them in all; counts damaged records."""
    damaged, size, reasons = 0, 0, Counter[str]()
    print(f"{'run':14}{'steps':>8}  {'ending':12}{'seed':>8}  {'written':18}task, model")
    for run in records.ids(store):
        try:
            record = records.read(store, run)
        except Damaged as error:
            damaged += 1
            print(f"tdlab: {error}", file=sys.stderr)
            continue
        if record is not None:
            print(_line(store, record))
            size += record.snapshots.bytes + record.rows.bytes
            reasons[record.reason] += 1
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    print(f"{reasons.total()} runs ({counts or 'none'}), {size / 1e6:.1f} MB in {store}")
    return damaged


def _line(store: Path, record: Record) -> str:
    when = datetime.fromtimestamp((records.folder(store, record.id) / RECORD).stat().st_mtime)
    fields = configuration.columns(record.run)
    after = f", after {fields['after']}" if fields["after"] else ""
    return (
        f"{record.id:14}{record.taken:>8}  {record.reason:12}{fields['seed']:>8}  "
        f"{when:%Y-%m-%d %H:%M}  {fields['task']}, {fields['model']}{after}"
    )


def shown(store: Path, start: str) -> int:
    """Prints a run: where it stands, the Python that makes it again, and how to load it."""
    run = records.find(store, start)
    record = records.read(store, run)
    if record is None:
        print(f"run {run} was killed before it was put by for the first time")
        return 0
    path = records.folder(store, run) / record.snapshots.name
    print("\n".join(_about(record, path)))
    return 0


def _about(record: Record, path: Path) -> Iterator[str]:
    yield f"# run {record.id}: {record.reason} after {record.taken} steps"
    yield f"# snapshots at {', '.join(map(str, record.steps))}"
    yield f"# {', '.join(f'{name} {value}' for name, value in record.provenance.items())}"
    yield f"\n{configuration.as_python(record.run)}"
    yield f'assert run.id == "{record.id}"\n'
    yield "# Its parameters, each with a leading axis over the snapshots:"
    yield "from safetensors.torch import load_file"
    yield f'params = load_file("{path}")'
    yield "final = {name: leaf[-1] for name, leaf in params.items() if name[:7] != 'resume/'}"


def checked(store: Path, starts: Sequence[str]) -> int:
    """Prints all that is wrong in the store, or with those runs, and counts it."""
    from tdlab.store import Disk

    wanted = [records.find(store, start) for start in starts] or records.ids(store)
    found = 0
    for _, line in Disk(store).check(wanted):
        print(line)
        found += 1
    print(f"{len(wanted)} runs checked, {found or 'nothing'} wrong")
    return found


def removed(store: Path, starts: Sequence[str]) -> int:
    """Removes those runs."""
    from tdlab.store import Disk

    for run in [records.find(store, start) for start in starts]:
        Disk(store).remove(run)
        print(f"removed {run}")
    return 0


def merged(store: Path, sources: Sequence[Path]) -> int:
    """Brings the runs of other stores into this one; counts those that could not be."""
    from tdlab.store import Disk
    from tdlab.store.merging import merge

    refused = 0
    for source in sources:
        counts: Counter[str] = Counter()
        for run, became, why in merge(Disk(store), Disk(source)):
            counts[became] += 1
            if why:
                refused += 1
                print(f"run {run} {became}: {why}", file=sys.stderr)
        said = ", ".join(f"{count} {became}" for became, count in sorted(counts.items()))
        print(f"{source}: {said or 'no runs'}")
    return refused
