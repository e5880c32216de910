"""Jobs in processes of their own: one thread each, and none that outlives who asked for it."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import torch

from tdlab.job import Done, Job, do
from tdlab.store import Disk

_LAST_WORDS = 60.0  # seconds for putting by what is trained when nobody waits for it any more

_stop, _busy = Event(), Lock()


class Local(Executor):
    """A pool of spawned processes, of one thread each; made anew where one of them died."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def submit(
        self, function: Callable[..., Any], /, *given: Any, **settings: Any
    ) -> "Future[Any]":
        """As :meth:`concurrent.futures.Executor.submit`."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), _prepare
            )
        return self._pool.submit(function, *given, **settings)

    def renew(self) -> None:
        """Gives up a pool of which a process died; the next job starts another."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

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


def do_at(job: Job, folder: Path) -> Done:
    """:func:`tdlab.job.do` in another process, which shares with this one nothing but the store.

    Returns:
        What became of the job's runs.
    """
    with _busy:
        return do(job, Disk(folder), stop=_stop)


def _prepare() -> None:
    """What a process does before its first job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us as well; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone, however that ended; what it trains is put by."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _stop.set()
        _busy.acquire(timeout=_LAST_WORDS)
        os._exit(1)
