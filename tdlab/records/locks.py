"""One writer a run: the lock of a run is one byte of one file, which its process cannot outlive.

The kernel drops the locks of a process that ends, however it ends, so none is ever stale, and there
are no lock files to clean up.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_HELD_BY_ANOTHER = {errno.EACCES, errno.EAGAIN}


@contextmanager
def locked(path: Path, runs: Sequence[str]) -> Iterator[list[str]]:
    """Those of the runs that nobody else has locked, in this process or another.

    Raises:
        OSError: if the file cannot be made, or its file system knows no locks.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield [run for run in runs if _lock(file, int(run, 16))]
    finally:
        os.close(file)  # and with it all of its locks


def _lock(file: int, byte: int) -> bool:
    """Locks that byte for whoever holds ``file``, if no other has."""
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):  # Linux: held by the open file, not by the process
            wish = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wish)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte, os.SEEK_SET)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        raise
    return True
