"""Many runs: what a store lacks of them is trained, in ensembles, and what is there is handed back.

A run that is asked for is trained once, however often and by however many processes it is asked
for; what one process leaves unfinished the next goes on with.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tdlab.executors import Borrowed, Fleet, Unreachable, named
from tdlab.listed import Results
from tdlab.progress import Progress, bar
from tdlab.records import Damaged, Unwritable
from tdlab.run import Run
from tdlab.schedule import Schedule
from tdlab.store import Disk, Memory, Store
from tdlab.sweep.groups import by_program, ensembles
from tdlab.sweep.job import SAVE_EVERY, Job
from tdlab.sweep.lacking import Lacking, in_order, lacking, paths, requested
from tdlab.sweep.workers import InProcesses, InThreads, Workers
from tdlab.train import Observe
from tdlab.train.memory import budget

_WAIT = 1.0  # seconds between two looks at runs that another process trains


@dataclass(frozen=True, kw_only=True, repr=False)
class Outcome:
    """What became of the runs that a sweep was asked for, each counted once."""

    found: list[Run] = field(default_factory=list)  # nothing of them was missing
    trained: list[Run] = field(default_factory=list)
    diverged: list[Run] = field(default_factory=list)  # some of those found or trained
    failed: dict[Run, str] = field(default_factory=dict)  # and why

    def __repr__(self) -> str:
        return f"<{report(self)}>"


def trained(
    runs: Sequence[Run] | Any,
    *,
    store: Store | None = None,
    executor: Executor | str | None = None,
    observe: Observe | None = None,
    observe_at: Schedule | None = None,
    device: str = "cpu",
    path: str = "auto",
    memory: int | None = None,
) -> Results:
    """These runs, trained as far as the store lacks them.

    Runs of one program become ensembles that stay in the caches, or of many more members where
    these are small, and in any case within ``memory`` bytes, all of them that train at once taken
    together (by default a quarter of the machine's); a member's result does not depend on how they
    are split. ``store`` is the user's on disk unless given; with ``Memory()`` all are trained anew.
    Runs that start ``after`` others need these trained, and they are trained first.

    Ensembles are trained by an ``executor`` of ``concurrent.futures`` whose processes see the same
    store, anybody's or one of :mod:`tdlab.executors` by its name, such as ``"local=4"``; by default
    that of ``$TDLAB_EXECUTOR``, or the threads of this process.

    ``observe``, ``observe_at``, ``device`` and ``path`` are those of
    :class:`tdlab.train.Training`. With ``observe``, which sees its members together, the runs of
    one program stay one ensemble; and they are always trained, in this process, because what a
    function observes has no name under which it could be found again.

    Returns:
        The results, in the order of the runs.

    Raises:
        TypeError: for one run that is in no list.
    """
    _require_several(runs)
    store = Disk() if store is None else store
    if observe is not None:
        befores = [run.after for run in runs if run.after is not None]
        known = trained(
            befores, store=store, executor=executor, device=device, path=path, memory=memory
        )
        store = Memory(known)
    kind = partial(Job, observe=observe, observe_at=observe_at, device=device)
    _train(runs, store, executor, kind, path, memory, fail_fast=True)
    kept = {run.id: store.load(run) for run in runs}
    return Results(kept[run.id].as_asked(run) for run in runs)


def train(
    runs: Sequence[Run],
    *,
    store: Store | None = None,
    executor: Executor | str | None = None,
    device: str = "cpu",
    path: str = "auto",
    memory: int | None = None,
    save_every: float = SAVE_EVERY,
    fail_fast: bool = False,
) -> Outcome:
    """Trains what the store lacks of these runs, without handing their parameters back.

    The arguments are those of :func:`trained`. An ensemble on its way is put by every
    ``save_every`` seconds. What fails is left out, unless ``fail_fast``; what was trained until
    then stays.

    Returns:
        What became of each run.

    Raises:
        TypeError: for one run that is in no list.
    """
    _require_several(runs)
    store = Disk() if store is None else store
    kind = partial(Job, device=device, save_every=save_every)
    return _train(runs, store, executor, kind, path, memory, fail_fast=fail_fast)


def _require_several(runs: Any) -> None:
    if isinstance(runs, Run):
        raise TypeError("a sweep takes a list of runs; of a single one that is [run]")


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
    of_cause: dict[str, list[str]] = {}
    for run, why in outcome.failed.items():
        of_cause.setdefault(why, []).append(run.id)
    for why, ids in of_cause.items():
        lines.append(f"failed: run{'s' * (len(ids) > 1)} {', '.join(ids)}: {why}")
    return "\n".join(lines)


def _train(
    runs: Sequence[Run],
    store: Store,
    executor: Executor | str | None,
    kind: Callable[..., Job],
    path: str,
    memory: int | None,
    *,
    fail_fast: bool,
) -> Outcome:
    outcome = Outcome()

    def damaged(run: Run, error: Damaged) -> None:
        if fail_fast:
            raise error
        outcome.failed[run] = str(error)

    requests = requested(runs)
    wanted = {run.id for run in runs}
    missing, there = lacking(requests, wanted, store, damaged)
    its_path = paths(requests, path) if missing else {}
    left = sum(run.steps - first for run, (first, _) in missing.items())
    with (
        bar(left, f"training {len(missing)} runs", unit="step") as progress,
        _workers(executor if missing else None, store, progress) as workers,
    ):
        for part in in_order(missing):
            jobs = _jobs(_with_befores(part, outcome), its_path, kind, memory, workers.count)
            _run_all(jobs, workers, store, outcome, fail_fast)
    failed = {run.id for run in outcome.failed}
    for run in requests:
        if run.id not in wanted or run.id in failed:
            continue
        standing = there.get(run.id)
        if standing is not None:
            outcome.found.append(run)
        elif (standing := store.standing(run)) is not None and standing.lacks(run) is None:
            outcome.trained.append(run)
        else:
            outcome.failed[run] = "it is not all there; the next sweep goes on with it"
            continue
        if standing.over and standing.taken < run.steps:
            outcome.diverged.append(run)
    return outcome


@contextmanager
def _workers(
    executor: Executor | str | None, store: Store, progress: Progress
) -> Iterator[Workers]:
    if isinstance(store, Memory):  # of which no other process knows
        yield InThreads(store, progress)
        return
    assert isinstance(store, Disk), "processes share nothing but a store on disk"
    if isinstance(executor, Executor):
        fleet = executor if isinstance(executor, Fleet) else Borrowed(executor)
        yield InProcesses(fleet, store, progress)
        return
    with named(executor or os.environ.get("TDLAB_EXECUTOR") or "threads", store.folder) as its:
        yield InProcesses(its, store, progress) if its else InThreads(store, progress)


def _with_befores(ready: Lacking, outcome: Outcome) -> Lacking:
    """Those whose runs before them did not fail."""
    failed = {run.id: why for run, why in outcome.failed.items()}
    for run in ready:
        if run.after is not None and run.after.id in failed:
            outcome.failed[run] = f"the run before it failed: {failed[run.after.id]}"
    return {run: its for run, its in ready.items() if run not in outcome.failed}


def _jobs(
    ready: Lacking,
    path_of: dict[str, str],
    kind: Callable[..., Job],
    memory: int | None,
    threads: int,
) -> list[Job]:
    """Ensembles of runs that stand at the same step and take the same path, the longest first."""
    alike: dict[tuple[int, str], list[Run]] = {}
    for run, (first, standing) in ready.items():
        alike.setdefault((first, standing.path if standing else path_of[run.id]), []).append(run)
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


def _run_all(
    jobs: list[Job], workers: Workers, store: Store, outcome: Outcome, fail_fast: bool
) -> None:
    """Runs the jobs side by side, and then what somebody else was training meanwhile."""
    while jobs:
        again, elsewhere = list[Job](), list[Job]()
        with closing(workers.done(jobs)) as done:
            for job, future in done:
                lost = Unreachable("the executor gave up a job that had not ended")
                error = lost if future.cancelled() else future.exception()
                if error is not None and (fail_fast or isinstance(error, Unwritable | Unreachable)):
                    raise error
                if isinstance(error, ValueError | TypeError) and len(job.runs) > 1:
                    # One of them was refused, and the others need not suffer for it.
                    again += [replace(job, runs=(run,)) for run in job.runs]
                elif error is not None:
                    why = f"{type(error).__name__}: {error}"
                    outcome.failed.update(dict.fromkeys(job.runs, why))
                elif left := [run for run in job.runs if run.id in future.result()]:
                    elsewhere.append(replace(job, runs=tuple(left)))
        if elsewhere and not again:
            _await_one(store, [run for job in elsewhere for run in job.runs])
        jobs = again + elsewhere


def _await_one(store: Store, runs: Sequence[Run]) -> None:
    """Waits until somebody is done with one of these runs, for good or not."""
    while True:
        time.sleep(_WAIT)
        with store.locked(runs) as free:
            if free:
                return
