"""What a sweep wants of an executor beyond ``concurrent.futures``."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from threading import Event
from typing import Any
from uuid import uuid4

from tdlab.machine import cores

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

    def renew(self) -> bool:
        """Replaces processes that died, where nobody else does; whether it takes jobs again."""
        return True

    def require_reachable(self) -> None:
        """Raises :class:`Unreachable` where no job will ever come back."""

    @abstractmethod
    def interrupt(self) -> None:
        """Has what is trained put by, and nothing begun any more."""


class Borrowed(Fleet):
    """Anybody's executor, of which no more is known."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(cores())
        self._executor = executor

    def submit(
        self, function: Callable[..., Any], /, *given: Any, **settings: Any
    ) -> "Future[Any]":
        """As :meth:`concurrent.futures.Executor.submit`."""
        return self._executor.submit(function, *given, **settings)

    def renew(self) -> bool:
        """Never: its processes are not ours to replace."""
        return False

    def interrupt(self) -> None:
        """Nothing: its processes end what they have begun."""


def interrupt(fleet: str) -> None:
    """Has what this process trains for that fleet put by, now and from now on."""
    _interrupted[fleet].set()


def interruption(fleet: str) -> Event:
    """What is set once this process shall put by what it trains for that fleet."""
    return _interrupted[fleet]
