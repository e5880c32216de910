"""Where ensembles are trained: processes of this machine, a Dask cluster, a Slurm cluster."""

from tdlab.executors.fleet import Borrowed, Died, Fleet, Unreachable
from tdlab.executors.names import NAMES, named, require_name

__all__ = ["NAMES", "Borrowed", "Died", "Fleet", "Unreachable", "named", "require_name"]
