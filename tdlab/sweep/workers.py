"""Jobs side by side: in threads of this process, or in processes wherever an executor has them."""

import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from functools import partial
from threading import Event
from typing import Protocol, runtime_checkable

import torch

from tdlab.executors import Fleet
from tdlab.progress import Progress
from tdlab.run import Run
from tdlab.store import Disk, Store
from tdlab.sweep.job import Job, do, do_at

_LOOK = 2.0  # seconds between two looks at how far other processes have come
_DEATHS = 3  # (ours) in a row, with no job done in between, after which jobs are to blame

# The jobs as they are done, each with the ids of those of its runs that somebody else trains.
Ends = Generator[tuple[Job, "Future[tuple[str, ...]]"], None, None]


@runtime_checkable
class Workers(Protocol):
    """What runs jobs, ``count`` of them at once."""

    count: int

    def done(self, jobs: Sequence[Job]) -> Ends:
        """Runs these jobs; once that is closed, those on their way are put by."""


class InThreads:
    """Ensembles compute on one thread each, so as many as there are threads run at once."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self.count = torch.get_num_threads()
        self._store, self._progress = store, progress

    def done(self, jobs: Sequence[Job]) -> Ends:
        """The jobs as they are done."""
        stop = Event()
        work = partial(do, store=self._store, stop=stop, progress=self._progress)
        try:
            with ThreadPoolExecutor(self.count) as pool:
                try:
                    futures = {pool.submit(work, job): job for job in jobs}
                    for future in as_completed(futures):
                        yield futures[future], future
                except BaseException:  # an interrupt above all: threads must not go on without us
                    stop.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:
            # torch hands the count that any thread sets to the threads that start later.
            torch.set_num_threads(self.count)


class InProcesses:
    """Jobs wherever a fleet runs them; all that is known of them stands in the store."""

    def __init__(self, fleet: Fleet, store: Disk, progress: Progress) -> None:
        self.count = fleet.workers
        self._fleet, self._store, self._progress = fleet, store, progress
        self._seen: dict[tuple[Run, ...], int] = {}

    def done(self, jobs: Sequence[Job]) -> Ends:
        """The jobs as they are done; those that a dying process took along are run once more."""
        self._seen = {job.runs: self._taken(job) for job in jobs}
        deaths, pending, next_look = 0, self._submit(jobs), time.monotonic() + _LOOK
        try:
            while pending:
                ended, _ = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
                self._look([pending[future] for future in ended])
                self._fleet.require_reachable()
                if (began := time.monotonic()) >= next_look:
                    self._look(pending.values())
                    next_look = time.monotonic() + max(_LOOK, 10 * (time.monotonic() - began))
                died = {future for future in ended if _died(future)}
                deaths = deaths + 1 if died else 0 if ended else deaths
                if 0 < deaths < _DEATHS and self._fleet.renew():
                    again = [pending.pop(future) for future in list(pending) if _died(future)]
                    pending |= self._submit(again)
                    ended -= died
                for future in ended:
                    yield pending.pop(future), future
        except BaseException:  # an interrupt above all
            for future in pending:
                future.cancel()
            self._fleet.interrupt()
            raise

    def _submit(self, jobs: Sequence[Job]) -> dict["Future[tuple[str, ...]]", Job]:
        folder, fleet = self._store.folder, self._fleet
        return {fleet.submit(do_at, job, folder, fleet.id): job for job in jobs}

    def _look(self, jobs: Iterable[Job]) -> None:
        """Moves the line on by what these jobs have put by since the last look."""
        for job in jobs:
            now = self._taken(job)
            self._progress.update((now - self._seen[job.runs]) * len(job.runs))
            self._seen[job.runs] = now

    def _taken(self, job: Job) -> int:
        """How many steps a job's members have behind them, by what was put by of the first."""
        standing = self._store.standing(job.runs[0])
        return min(standing.taken, job.runs[0].steps) if standing else 0


def _died(future: "Future[tuple[str, ...]]") -> bool:
    """Whether a process took its job along; a pool cancels what waited for such a process."""
    return future.cancelled() or (future.done() and isinstance(future.exception(), BrokenExecutor))
