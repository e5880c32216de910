"""A disk that is full, and one that may only be read: a line says so, and what was there is there.

Mounts small file systems in memory, in a namespace of its own where it may not do that in ours.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tdlab.executors.local import Local
from tdlab.files import is_unfinished
from tdlab.records import Unwritable
from tdlab.run import Run
from tdlab.store import Disk, Memory
from tdlab.sweep import train, trained
from tests.stress.bookkeeping import RUN
from tests.stress.kills import same

SIZE = "24m"  # takes five runs or so
RUNS = [replace(RUN, seed=seed, steps=40 + seed) for seed in range(24)]


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def refusal(runs: Sequence[Run], store: Disk, workers: int) -> str:
    """The line with which a sweep ends."""
    try:
        if workers:
            with Local(workers) as executor:
                train(runs, store=store, executor=executor)
        else:
            train(runs, store=store, executor="threads")
    except Unwritable as error:
        return str(error)
    raise AssertionError("nobody noticed")


def check(store: Disk, expect: int) -> int:
    """How many runs are there; raises unless at least so many, whole, and nothing else is."""
    assert not [line for _, line in store.check() if "before it wrote any" not in line]
    there = [run for run in RUNS if store.standing(run) is not None]
    assert len(there) >= expect, f"{len(there)} runs are left"
    for run, whole in zip(there, trained(there, store=Memory()), strict=True):
        same(store.load(run).as_asked(run), whole)
    assert not [path for path in store.folder.rglob("*") if is_unfinished(path)]
    return len(there)


def full(folder: Path, workers: int) -> None:
    """Fills a disk, and goes on once there is room."""
    with mounted(folder, f"size={SIZE}") as place:
        store = Disk(place)
        line = refusal(RUNS, store, workers)
        assert line.endswith(": No space left on device; what is in it stays readable"), line
        count = check(store, 1)
        print(f"full, {count} runs whole: {line.replace(str(folder), 'STORE')}")
        subprocess.run(["mount", "-o", "remount,size=400m", place], check=True)
        assert not train(RUNS, store=store).failed
        check(store, len(RUNS))


def read_only(folder: Path, workers: int) -> None:
    """Reads a store that may not be written to, and refuses to train."""
    with mounted(folder, "size=400m") as place:
        store = Disk(place)
        train(RUNS[:4], store=store)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        line = refusal(RUNS, store, workers)
        assert line.endswith(": Read-only file system; what is in it stays readable"), line
        print(f"read-only: {line.replace(str(folder), 'STORE')}")
        assert len(train(RUNS[:4], store=store).found) == 4
        check(store, 4)


if __name__ == "__main__":
    if os.geteuid() != 0:
        alone = ["unshare", "--user", "--map-root-user", "--mount"]
        os.execvp("unshare", [*alone, sys.executable, "-m", "tests.stress.disks"])
    with tempfile.TemporaryDirectory() as name:
        for place, attempt in enumerate((full, read_only)):
            for workers in (0, 2):
                attempt(Path(name) / f"{place}-{workers}", workers)
