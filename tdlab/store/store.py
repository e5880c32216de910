"""What is asked of a store."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from tdlab.run import Run
from tdlab.trajectory import Standing, Trained


@runtime_checkable
class Store(Protocol):
    """Where runs are kept."""

    def standing(self, run: Run) -> Standing | None:
        """How far the run has come; ``None`` for one that has not begun."""

    def load(self, run: Run) -> Trained:
        """All that there is of a run's trajectory, whatever ``run`` asks for of it."""

    def losses(self, run: Run) -> Float[Tensor, " step"]:
        """Every training loss that there is of a run, without its parameters."""

    def save(self, results: Sequence[Trained]) -> None:
        """Keeps these trajectories in place of what there was of them, all of them or none."""

    def locked(self, runs: Sequence[Run]) -> AbstractContextManager[list[Run]]:
        """A context in which the runs that it gives are written by nobody else."""
