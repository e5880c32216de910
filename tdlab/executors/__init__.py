"""Where ensembles are trained: processes of this machine, a Dask cluster, a Slurm cluster."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tdlab.executors.fleet import Fleet, do_at
from tdlab.executors.local import Local

__all__ = ["Fleet", "Local", "do_at", "named"]

KINDS = "local, local=WORKERS, dask=ADDRESS, slurm, slurm=PARTITION or threads"


def named(text: str, store: Path) -> AbstractContextManager[Fleet | None]:
    """The executor of that name: as ``local=4``, ``dask=tcp://node7:8786`` or ``slurm=gpu``.

    ``store`` is the folder of the store, in which a Slurm cluster finds what it is to do.

    Returns:
        A context that gives the executor, and ``None`` for the threads of this process.

    Raises:
        ValueError: for another name, and where what it needs is not installed, or not there.
    """
    kind, _, which = text.partition("=")
    if text == "threads":
        return nullcontext()
    if kind == "local" and (not which or (which.isdecimal() and int(which))):
        return Local(int(which) if which else None)
    if kind == "dask" and which:
        from tdlab.executors.dask import Dask

        return Dask(which)
    if kind == "slurm":
        from tdlab.executors.slurm import Slurm

        parameters = {"slurm_partition": which} if which else {}
        return Slurm(store / "slurm", parameters=parameters)
    raise ValueError(f"no executor {text!r}; there are {KINDS}")
