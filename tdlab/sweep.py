"""Many runs: what a store lacks of them is trained, in ensembles, and what is there is handed back.

A run that is asked for is trained once, however often and by however many processes it is asked
for; what one process leaves unfinished the next goes on with.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event
from typing import Protocol

import torch

from tdlab.executors import Local, do_at
from tdlab.groups import by_program, ensembles, path_of
from tdlab.job import SAVE_EVERY, Done, Job, do
from tdlab.memory import budget
from tdlab.progress import Progress, bar
from tdlab.records import Damaged
from tdlab.run import Run
from tdlab.schedule import At, Schedule
from tdlab.store import Disk, Memory, Store, Unwritable
from tdlab.train import Observe
from tdlab.trajectory import Standing, Trained, asked

_WAIT = 1.0  # seconds between two looks at runs that another process trains
_LOOK = 2.0  # seconds between two looks at how far other processes have come
_DEATHS = 3  # (ours) in a row, with no job done in between, after which jobs are to blame


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the runs that a sweep was asked for, each counted once."""

    found: list[Run] = field(default_factory=list)  # nothing of them was missing
    trained: list[Run] = field(default_factory=list)
    diverged: list[Run] = field(default_factory=list)  # some of those found or trained
    failed: dict[Run, str] = field(default_factory=dict)  # and why


def trained(
    runs: Sequence[Run],
    *,
    store: Store | None = None,
    observe: Observe | None = None,
    observe_at: Schedule | None = None,
    device: str = "cpu",
    path: str = "auto",
    memory: int | None = None,
) -> list[Trained]:
    """These runs, trained as far as the store lacks them, in this process.

    Runs of one program become ensembles that stay in the caches, or of many more members where
    these are small, and in any case within ``memory`` bytes, all of them that train at once taken
    together (by default a quarter of the machine's); a member's result does not depend on how they
    are split. ``store`` is the user's on disk unless given; with ``Memory()`` all are trained anew.
    Runs that start ``after`` others need these trained, and they are trained first.

    ``observe``, ``observe_at``, ``device`` and ``path`` are those of
    :class:`tdlab.train.Training`. With ``observe``, which sees its members together, the runs of
    one program stay one ensemble; and they are always trained, because what a function observes has
    no name under which it could be found again.

    Returns:
        The results, in the order of the runs.
    """
    store = Disk() if store is None else store
    if observe is not None:
        befores = [run.after for run in runs if run.after is not None]
        store = Memory(trained(befores, store=store, device=device, path=path, memory=memory))
    kind = partial(Job, observe=observe, observe_at=observe_at, device=device)
    _train(runs, store, kind, path, memory, fail_fast=True)
    kept = {run.id: store.load(run) for run in runs}
    return [kept[run.id].as_asked(run) for run in runs]


def train(
    runs: Sequence[Run],
    *,
    store: Store | None = None,
    executor: Executor | None = None,
    device: str = "cpu",
    path: str = "auto",
    memory: int | None = None,
    save_every: float = SAVE_EVERY,
    fail_fast: bool = False,
) -> Outcome:
    """Trains what the store lacks of these runs, without handing their parameters back.

    The arguments are those of :func:`trained`. An ensemble on its way is put by
    every ``save_every`` seconds. What fails is left out, unless ``fail_fast``; what was trained
    until then stays.
    Ensembles are trained in this process, or by an ``executor`` of ``concurrent.futures`` whose
    processes see the same store: :class:`tdlab.executors.Local`, or anybody's.

    Returns:
        What became of each run.
    """
    store = Disk() if store is None else store
    kind = partial(Job, device=device, save_every=save_every)
    return _train(runs, store, kind, path, memory, executor, fail_fast=fail_fast)


def report(outcome: Outcome) -> str:
    """What became of the runs, in words: how many, which diverged, what failed and why."""
    counts = {
        "were there": outcome.found,
        "were trained": outcome.trained,
        "diverged": outcome.diverged,
        "failed": outcome.failed,
    }
    lines = [", ".join(f"{len(runs)} {what}" for what, runs in counts.items())]
    lines += [f"diverged: run {run.id} (seed {run.seed})" for run in outcome.diverged]
    lines += [f"failed: run {run.id}: {why}" for run, why in outcome.failed.items()]
    return "\n".join(lines)


def _train(
    runs: Sequence[Run],
    store: Store,
    kind: Callable[..., Job],
    path: str,
    memory: int | None,
    executor: Executor | None = None,
    *,
    fail_fast: bool,
) -> Outcome:
    requests = _requests(runs)
    wanted = {run.id for run in runs}
    outcome = Outcome()
    lacking = _lacking(requests, wanted, store, outcome, fail_fast)
    paths = _paths(requests, path) if lacking else {}
    left = sum(run.steps - first for run, (first, _) in lacking.items())
    with bar(left, f"training {len(lacking)} runs", unit="step") as progress:
        workers: Workers = InThreads(store, progress)
        if executor is not None:
            assert isinstance(store, Disk), "processes share nothing but a store on disk"
            workers = InProcesses(executor, store, progress)
        waiting = _waiting(list(lacking))
        for count in sorted(set(waiting.values()), reverse=True):
            ready = {run: its for run, its in lacking.items() if waiting[run.id] == count}
            threads = executor.workers if isinstance(executor, Local) else torch.get_num_threads()
            jobs = _jobs(_with_befores(ready, outcome), paths, kind, memory, threads)
            _run_all(jobs, workers, outcome, fail_fast)
    for run in requests:
        if run.id in wanted and run not in outcome.failed:
            (outcome.trained if run in lacking else outcome.found).append(run)
            standing = store.standing(run)
            if standing is not None and standing.over and standing.taken < run.steps:
                outcome.diverged.append(run)
    return outcome


def _requests(runs: Sequence[Run]) -> list[Run]:
    """All that is asked of each id, as one run: of these runs and of those before them."""
    of_id: dict[str, list[Run]] = {}
    queue = list(runs)
    for run in queue:
        of_id.setdefault(run.id, []).append(run)
        if run.after is not None:
            queue.append(run.after)
    return [_together(each) for each in of_id.values()]


def _together(runs: Sequence[Run]) -> Run:
    """One run that asks for all that these runs of one id ask for."""
    steps = max(run.steps for run in runs)
    first = next(run for run in runs if run.steps == steps)
    seen = {step for run in runs for step in asked(run)}
    return first if seen <= set(asked(first)) else replace(first, snapshots=At(at=_sorted(seen)))


def _sorted(steps: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(steps))


def _depth(run: Run) -> int:
    return 0 if run.after is None else 1 + _depth(run.after)


def _waiting(runs: Sequence[Run]) -> dict[str, int]:
    """How many of these runs wait for each one, in the longest row of runs after it."""
    found = {run.id: 0 for run in runs}
    for run in sorted(runs, key=_depth, reverse=True):
        if run.after is not None and run.after.id in found:
            found[run.after.id] = max(found[run.after.id], found[run.id] + 1)
    return found


Lacking = dict[Run, tuple[int, Standing | None]]  # from which step on, and what there is


def _lacking(
    requests: Sequence[Run], wanted: set[str], store: Store, outcome: Outcome, fail_fast: bool
) -> Lacking:
    """What is to be trained for the wanted runs."""
    found: Lacking = {}
    needed = set(wanted)
    for run in sorted(requests, key=_depth, reverse=True):
        if run.id not in needed:
            continue
        try:
            standing = store.standing(run)
        except Damaged as error:
            if fail_fast:
                raise
            outcome.failed[run] = str(error)
            continue
        first = 0 if standing is None else standing.lacks(run)
        if first is None:
            continue
        if first == 0 and standing is not None:  # a snapshot is missing that was passed by
            seen = _sorted({*standing.steps, *asked(run)})
            steps = max(run.steps, standing.taken)
            found[replace(run, steps=steps, snapshots=At(at=seen))] = (first, standing)
        else:
            found[run] = (first, standing)
        if run.after is not None:
            needed.add(run.after.id)
    return found


def _paths(requests: Sequence[Run], path: str) -> dict[str, str]:
    """The path of each run, by its id: decided by all that is asked for, done or not."""
    # So that a sweep that goes on takes those that it took when it began.
    return {
        run.id: its
        for group in by_program(requests)
        for its in [path_of(group) if path == "auto" else path]
        for run in group
    }


def _with_befores(ready: Lacking, outcome: Outcome) -> Lacking:
    """Those whose runs before them did not fail."""
    failed = {run.id: why for run, why in outcome.failed.items()}
    for run in ready:
        if run.after is not None and run.after.id in failed:
            outcome.failed[run] = f"the run before it failed: {failed[run.after.id]}"
    return {run: its for run, its in ready.items() if run not in outcome.failed}


def _jobs(
    ready: Lacking,
    paths: dict[str, str],
    kind: Callable[..., Job],
    memory: int | None,
    threads: int,
) -> list[Job]:
    """Ensembles of runs that stand at the same step and take the same path, the longest first."""
    alike: dict[tuple[int, str], list[Run]] = {}
    for run, (first, standing) in ready.items():
        alike.setdefault((first, standing.path if standing else paths[run.id]), []).append(run)
    job = kind(runs=(), path="eager")
    threads = threads if job.device == "cpu" else 1
    limit = (budget() if memory is None else memory) // threads
    jobs = [
        replace(job, runs=tuple(members), path=path)
        for (_, path), runs in alike.items()
        for group in by_program(runs)
        for members in ([group] if job.observe else ensembles(group, path, threads, limit))
    ]
    # The longest first, so that no thread is left alone with it in the end.
    return sorted(jobs, key=lambda each: -sum(run.numbers for run in each.runs))


def _run_all(jobs: list[Job], workers: "Workers", outcome: Outcome, fail_fast: bool) -> None:
    """Runs the jobs side by side, and then what somebody else was training meanwhile."""
    while jobs:
        again, waits = list[Job](), False
        with closing(workers.done(jobs)) as done:
            for job, future in done:
                error = future.exception()
                if error is not None and (fail_fast or isinstance(error, Unwritable)):
                    raise error
                if isinstance(error, ValueError | TypeError) and len(job.runs) > 1:
                    # One of them was refused, and the others need not suffer for it.
                    again += [replace(job, runs=(run,)) for run in job.runs]
                    continue
                if error is not None:
                    why = f"{type(error).__name__}: {error}"
                    outcome.failed.update(dict.fromkeys(job.runs, why))
                    continue
                left = [run for run in job.runs if run.id in future.result().elsewhere]
                again += [replace(job, runs=tuple(left))] if left else []
                waits = waits or bool(left)
        jobs = again
        if waits:
            time.sleep(_WAIT)


class Workers(Protocol):
    """What runs jobs."""

    def done(self, jobs: Sequence[Job]) -> Generator[tuple[Job, "Future[Done]"], None, None]:
        """The jobs as they are done, each with what became of it."""


class InThreads:
    """Ensembles compute on one thread each, so as many as there are threads run at once."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self._store, self._progress = store, progress

    def done(self, jobs: Sequence[Job]) -> Generator[tuple[Job, "Future[Done]"], None, None]:
        """The jobs as they are done; once that is left, the others are put by."""
        before, stop = torch.get_num_threads(), Event()
        work = partial(do, store=self._store, stop=stop, progress=self._progress)
        try:
            with ThreadPoolExecutor(before) as pool:
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
            torch.set_num_threads(before)


class InProcesses:
    """Jobs wherever an executor runs them; all that is known of them stands in the store."""

    def __init__(self, executor: Executor, store: Disk, progress: Progress) -> None:
        self._executor, self._store, self._progress = executor, store, progress

    def done(self, jobs: Sequence[Job]) -> Generator[tuple[Job, "Future[Done]"], None, None]:
        """The jobs as they are done; those that a dying process took along are run once more."""
        seen = {job.runs: self._taken(job) for job in jobs}
        deaths, pending = 0, self._submit(jobs)
        try:
            while pending:
                ended, _ = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
                for job in [*pending.values()]:
                    now = self._taken(job)
                    self._progress.update((now - seen[job.runs]) * len(job.runs))
                    seen[job.runs] = now
                died = {future for future in ended if _died(future)}
                deaths = deaths + 1 if died else 0 if ended else deaths
                if isinstance(self._executor, Local) and 0 < deaths < _DEATHS:
                    self._executor.renew()
                    again = [pending.pop(future) for future in list(pending) if _died(future)]
                    pending |= self._submit(again)
                    ended -= died
                for future in ended:
                    yield pending.pop(future), future
        except BaseException:  # an interrupt above all
            for future in pending:
                future.cancel()
            if isinstance(self._executor, Local):
                self._executor.interrupt()
            raise

    def _submit(self, jobs: Sequence[Job]) -> dict["Future[Done]", Job]:
        return {self._executor.submit(do_at, job, self._store.folder): job for job in jobs}

    def _taken(self, job: Job) -> int:
        """How many steps a job's members have behind them, by what was put by of the first."""
        standing = self._store.standing(job.runs[0])
        return min(standing.taken, job.runs[0].steps) if standing else 0


def _died(future: "Future[Done]") -> bool:
    return future.done() and isinstance(future.exception(), BrokenExecutor)
