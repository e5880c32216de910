"""A store in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor

from tdlab.run import Run
from tdlab.trajectory import Standing, Trained


class Memory:
    """A store that ends with its process, and whose runs nobody else can ask for."""

    def __init__(self, results: Sequence[Trained] = ()) -> None:
        self._kept = {result.run.id: result for result in results}

    def standing(self, run: Run) -> Standing | None:
        """How far the run has come."""
        return self._kept[run.id].standing if run.id in self._kept else None

    def load(self, run: Run) -> Trained:
        """The trajectory, by the id of ``run``."""
        return self._kept[run.id]

    def losses(self, run: Run) -> Float[Tensor, " step"]:
        """Its losses."""
        return self._kept[run.id].loss

    def save(self, results: Sequence[Trained]) -> None:
        """Keeps them."""
        self._kept |= {result.run.id: result for result in results}

    @contextmanager
    def locked(self, runs: Sequence[Run]) -> Iterator[list[Run]]:
        """All of them."""
        yield list(runs)
