"""What a sweep wants of an executor beyond ``concurrent.futures``, and what it has done there."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from threading import Event
from typing import Any
from uuid import uuid4

_interrupted = defaultdict[str, Event](Event)  # of this process, by the id of a fleet


class Unreachable(RuntimeError):
    """An executor takes no jobs; the line says why."""


class Died(BrokenExecutor):
    """A process ended before its job did; the line says what is known of that."""


class Fleet(Executor):
    """Processes, here or on other machines, that see one store and compute on one thread a job.

    A job whose process died has failed with a ``BrokenExecutor`` and may be submitted again; what
    it had put by is in the store.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers  # jobs that run at once
        self.id = uuid4().hex

    @abstractmethod
    def submit(
        self, function: Callable[..., Any], /, *given: Any, **settings: Any
    ) -> "Future[Any]":
        """As :meth:`concurrent.futures.Executor.submit`."""

    def renew(self) -> None:
        """Replaces processes that died, where nobody else does."""

    def require_reachable(self) -> None:
        """Raises :class:`Unreachable` where no job will ever come back."""

    @abstractmethod
    def interrupt(self) -> None:
        """Has what is trained put by, and nothing begun any more."""


def interrupt(fleet: str) -> None:
    """Has what this process trains for that fleet put by, now and from now on."""
    _interrupted[fleet].set()


def interruption(fleet: str) -> Event:
    """What is set once this process shall put by what it trains for that fleet."""
    return _interrupted[fleet]
