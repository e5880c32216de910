"""Files that are whole or not there, also after a loss of power."""

import ctypes
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def whole_or_absent(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` once it is complete and on disk, or never."""
    unfinished = _unfinished(path)
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Each of these files whole or absent; none takes its place before all of them are on disk.

    They take their places in the order given, so that a file may name those before it.

    Raises:
        OSError: where they cannot be written; what was there before is there still.
    """
    unfinished = {path: _unfinished(path) for path in files}
    folders = {path.parent for path in files}
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            with unfinished[path].open("xb") as file:
                file.write(content)
        _make_durable(unfinished.values())
        for path, its in unfinished.items():
            its.replace(path)
        _make_durable(folders)
    finally:
        for its in unfinished.values():
            its.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Whether a file is what a process left behind that was killed while it wrote."""
    return path.name.startswith(".")


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex}")


def _make_durable(paths: Iterable[Path]) -> None:
    """Waits until these files or folders, all of one file system, are on disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    # One wait for all of them, where there is a call for it: each may cost a turn of the disk.
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            if not hasattr(libc, "syncfs"):
                os.fsync(file)
            elif libc.syncfs(file):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
            else:
                return
        finally:
            os.close(file)
