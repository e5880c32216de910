"""Executors by their names; the module of each is loaded when it is asked for."""

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tdlab.executors.fleet import Fleet

NAMES = "local, local=WORKERS, dask=ADDRESS, slurm, slurm=PARTITION or threads"
_NAME = re.compile(r"threads|local(=[1-9][0-9]*)?|dask=.+|slurm(=.+)?")


def require_name(text: str) -> str:
    """The name of an executor. Raises ``ValueError`` for anything else."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"no executor {text!r}; there are {NAMES}")
    return text


def named(text: str, store: Path) -> AbstractContextManager[Fleet | None]:
    """The executor of that name: as ``local=4``, ``dask=tcp://node7:8786`` or ``slurm=gpu``.

    ``store`` is the folder of the store, in which a Slurm cluster finds what it is to do.

    Returns:
        A context that gives the executor, and ``None`` for the threads of this process.

    Raises:
        ValueError: for another name, and where what it needs is not installed, or not there.
    """
    kind, _, which = require_name(text).partition("=")
    if kind == "local":
        from tdlab.executors.local import Local

        return Local(int(which) if which else None)
    if kind == "dask":
        from tdlab.executors.dask import Dask

        return Dask(which)
    if kind == "slurm":
        from tdlab.executors.slurm import Slurm

        return Slurm(store / "slurm", parameters={"slurm_partition": which} if which else {})
    return nullcontext()
