"""Stores that were filled apart, brought together."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from tdlab import records
from tdlab.files import write_together
from tdlab.records import RECORD, snapshots
from tdlab.records.snapshots import Content
from tdlab.store import Disk


def merge(store: Disk, other: Disk) -> Iterator[tuple[str, str, str]]:
    """Brings the runs of another store into this one, which loses nothing by it.

    Yields each run's id, what became of it ("copied", "joined", "there", "refused"), and why if it
    was refused: damaged there, or another trajectory than the one that is here.

    Raises:
        Unwritable: where this store may not be written to.
    """
    for run in records.ids(other.folder):
        if wrong := list(other.check([run])):
            yield run, "refused", wrong[0][1]
            continue
        with store.held([run]) as mine, store.writing():
            became = _brought(store, other, run) if mine else "locked"
        why = {
            "differs": "its snapshots are not those that are here",
            "locked": "it is being trained here",
        }.get(became, "")
        yield run, "refused" if why else became, why


def _brought(store: Disk, other: Disk, run: str) -> str:
    theirs, ours = records.read(other.folder, run), records.read(store.folder, run)
    assert theirs is not None  # it was checked
    source, target = records.folder(other.folder, run), records.folder(store.folder, run)
    if ours is None:
        names = sorted(theirs.names, key=RECORD.__eq__)  # it takes its place last
        write_together({target / name: (source / name).read_bytes() for name in names})
        return "copied"
    each = [
        snapshots.read(where / record.snapshots.name, run, record.snapshots)
        for where, record in ((source, theirs), (target, ours))
    ]
    if _differ(*each):
        return "differs"
    if ours.taken >= theirs.taken and set(theirs.steps) <= set(ours.steps):
        return "there"
    its, furthest, rows = (
        (each[1], ours, target) if ours.taken >= theirs.taken else (each[0], theirs, source)
    )
    file, tensors = snapshots.written(run, _joined(its, each[0], each[1]))
    steps = tuple(sorted({*theirs.steps, *ours.steps}))
    record = replace(furthest, steps=steps, snapshots=file)
    contents = {
        file.name: tensors,
        record.rows.name: (rows / record.rows.name).read_bytes(),
        RECORD: records.sealed(record),
    }
    write_together({target / name: content for name, content in contents.items()})
    store.clean(target, record.names)
    return "joined"


def _differ(one: Content, other: Content) -> bool:
    """Whether the two have different parameters at some step that both have."""
    common = set(one.steps) & set(other.steps)
    return one.params.keys() != other.params.keys() or not all(
        leaf[one.steps.index(step)].equal(other.params[name][other.steps.index(step)])
        for name, leaf in one.params.items()
        for step in common
    )


def _joined(furthest: Content, *each: Content) -> Content:
    """All snapshots of these, and the moment of the one that has come furthest."""
    at = {step: (content, content.steps.index(step)) for content in each for step in content.steps}
    steps = tuple(sorted(at))
    params = {
        name: torch.stack([at[step][0].params[name][at[step][1]] for step in steps])
        for name in furthest.params
    }
    return Content(steps, params, furthest.moment)
