"""Processes of this machine, none of which outlives who asked for it."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler
from threading import Lock, Thread
from typing import Any

import torch

from tdlab.executors.fleet import Fleet, interrupt
from tdlab.machine import cores

_LAST_WORDS = 60.0  # seconds for putting by what is trained when nobody waits for it any more

_busy = Lock()


class Local(Fleet):
    """A pool of spawned processes, as many as cores unless told; a new one where one died."""

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(cores() if workers is None else workers)
        self._pool: ProcessPoolExecutor | None = None

    def submit(
        self, function: Callable[..., Any], /, *given: Any, **settings: Any
    ) -> "Future[Any]":
        """As :meth:`concurrent.futures.Executor.submit`; ``ValueError`` for what must stay here."""
        _require_importable(given)
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, spawn, _prepare, (self.id,))
        return self._pool.submit(_call, function, given, settings)

    def renew(self) -> bool:
        """Gives up a pool of which a process died; the next job starts another."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        return True

    def interrupt(self) -> None:
        """Lets the processes put by what they train, and end."""
        processes = getattr(self._pool, "_processes", None) or {}
        for process in list(processes.values()):
            process.terminate()
        self.shutdown(cancel_futures=True)
        self._pool = None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As :meth:`concurrent.futures.Executor.shutdown`."""
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=cancel_futures)


def _require_importable(given: Sequence[Any]) -> None:
    """Raises one line for values of classes that were defined in a session, such as a notebook's.

    A process of its own imports what it is sent, and where there is no file it would die of that.
    """
    typed = getattr(sys.modules["__main__"], "__file__", None) is None
    if typed and b"__main__" in bytes(ForkingPickler.dumps(given)):
        raise ValueError(
            "a task or a model was defined in this session, where processes cannot import it from; "
            "put it into a module, or train in threads"
        )


def _prepare(fleet: str) -> None:
    """What a process does before its first job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us as well; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: interrupt(fleet))
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, args=(fleet,), daemon=True).start()


def _call(function: Callable[..., Any], given: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    with _busy:
        return function(*given, **settings)


def _end_with_parent(fleet: str) -> None:
    """Ends this process when its parent is gone, however that ended; what it trains is put by."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        interrupt(fleet)
        _busy.acquire(timeout=_LAST_WORDS)
        os._exit(1)
