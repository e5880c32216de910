"""Jobs of a Slurm cluster, submitted through submitit as arrays."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import torch

from tdlab.executors.fleet import Died, Fleet, Unreachable, interrupt

try:
    import submitit
    from submitit.core.utils import FailedJobError
    from submitit.helpers import DelayedSubmission
except ImportError as error:
    raise ValueError("the executor slurm needs submitit: pip install 'tdlab[slurm]'") from error

_LOOK = 1.0  # seconds between two looks at what is new, and at what has ended
_GRACE = 15.0  # seconds that a shared file system may take to show what a job has left
_ARRAY = 1000  # jobs in one array; Slurm takes no more unless it is told to
_REQUEUES = 1000  # times that a job may meet its limit, because it goes on with what it had put by
_MINUTES = 60  # (ours) of a job
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")


class Slurm(Fleet):
    """A cluster whose nodes see ``folder``, through which jobs reach them.

    ``workers`` jobs run at once. ``parameters`` are those of submitit, such as
    ``slurm_partition`` or ``timeout_min``; what ``sbatch`` reads from the environment,
    such as ``SBATCH_ACCOUNT``, comes on top. A job that meets its time limit is queued again, and
    goes on with what it had put by. With ``cluster="local"`` jobs are processes of this machine,
    all of them at once.

    Raises:
        ValueError: where there is no such cluster, or submitit knows no such parameter.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 64,
        cluster: str = "slurm",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(workers)
        self._folder = folder / self.id
        settings = {"name": "tdlab", "timeout_min": _MINUTES, "cpus_per_task": 1}
        settings["slurm_array_parallelism"] = workers
        try:
            self._cluster = submitit.AutoExecutor(
                self._folder, cluster, slurm_max_num_timeout=_REQUEUES
            )
            self._cluster.update_parameters(**settings | dict(parameters or {}))
        except (AssertionError, NameError, RuntimeError, ValueError) as error:
            raise ValueError(f"no Slurm cluster can be used from here: {error}") from error
        self._new: list[tuple[Future[Any], Work]] = []
        self._submitted: list[_Submitted] = []
        self._changed, self._over, self._died = Condition(), False, False
        self._tender = Thread(target=self._tend, daemon=True)
        self._tender.start()

    def submit(
        self, function: Callable[..., Any], /, *given: Any, **settings: Any
    ) -> "Future[Any]":
        """As :meth:`concurrent.futures.Executor.submit`; what comes together is one array."""
        future = Future[Any]()
        with self._changed:
            if self._over:
                raise RuntimeError("this executor was shut down")
            self._new.append((future, Work(self.id, function, given, settings)))
        return future

    def interrupt(self) -> None:
        """Cancels all jobs; Slurm gives them time to put by what they train."""
        with self._changed:
            for future, _ in self._new:
                future.cancel()
            for each in self._submitted:
                each.future.cancel()
        self.shutdown()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As :meth:`concurrent.futures.Executor.shutdown`; the logs stay where a job has died."""
        with self._changed:
            for future, _ in self._new if cancel_futures else ():
                future.cancel()
            self._over = True
            self._changed.notify_all()
        if wait:
            self._tender.join()
            if not self._died:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _tend(self) -> None:
        """Submits what is new and hands over what has ended, until nothing is to come any more."""
        with self._changed:
            while not self._over or self._new or self._submitted:
                new = [each for each in self._new if not each[0].cancelled()]
                self._new = []
                for first in range(0, len(new), _ARRAY):
                    self._submit_together(new[first : first + _ARRAY])
                alive = self._alive() if self._submitted else set()
                self._submitted = [
                    each for each in self._submitted if not self._settled(each, alive)
                ]
                if self._submitted or not self._over:
                    self._changed.wait(_LOOK)

    def _submit_together(self, new: "Sequence[tuple[Future[Any], Work]]") -> None:
        try:
            with self._cluster.batch():
                jobs = [self._cluster.submit(work) for _, work in new]
        except (FailedJobError, OSError) as error:
            first = str(error).splitlines()[0]
            for future, _ in new:
                future.set_exception(Unreachable(f"Slurm takes no jobs: {first}"))
        else:
            self._submitted += [
                _Submitted(future, job) for (future, _), job in zip(new, jobs, strict=True)
            ]

    def _alive(self) -> set[str]:
        """The jobs that wait or run; not from Slurm's accounting, which not every cluster has."""
        jobs = [each.job for each in self._submitted]
        if self._cluster.cluster != "slurm":
            return {job.job_id for job in jobs if not job.done()}
        command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        # A controller that does not answer tells nothing of the jobs.
        return {job.job_id for job in jobs} if listed.returncode else {*listed.stdout.split()}

    def _settled(self, each: "_Submitted", alive: set[str]) -> bool:
        """Whether a job has ended, of which what it came to is then handed over."""
        if each.future.cancelled() and not each.cancelled:
            each.job.cancel(check=False)
            each.cancelled = True
        if each.job.job_id in alive:
            each.seen = time.monotonic()
            return False
        if each.cancelled:
            return True
        if each.job.paths.result_pickle.exists():
            outcome = _outcome(each.job)
        elif time.monotonic() - each.seen < _GRACE:
            return False
        else:
            self._died = True
            outcome = Died(f"job {each.job.job_id} ended; its log: {each.job.paths.stderr}")
        if each.future.set_running_or_notify_cancel():
            if isinstance(outcome, Exception):
                each.future.set_exception(outcome)
            else:
                each.future.set_result(outcome)
        return True


@dataclass
class _Submitted:
    future: "Future[Any]"
    job: "submitit.Job[Any]"
    seen: float = field(default_factory=time.monotonic)  # last among those that wait or run
    cancelled: bool = False


def _outcome(job: "submitit.Job[Any]") -> Any:
    """What a call came to: what it returned, or an exception."""
    try:
        return job.result()
    except FailedJobError as error:  # of which the traceback is all that is left
        return RuntimeError(f"job {job.job_id} failed: {_cause(str(error))}")


class Work:
    """A call on its way to a node, from which what it raises comes back as what it returns."""

    def __init__(
        self,
        fleet: str,
        function: Callable[..., Any],
        given: Sequence[Any],
        settings: Mapping[str, Any],
    ) -> None:
        self._fleet, self._function = fleet, function
        self._given, self._settings = tuple(given), dict(settings)
        self._told = False

    def __call__(self) -> Any:
        """What the function returns, or the exception that it raised."""
        torch.set_num_threads(1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            outcome = self._function(*self._given, **self._settings)
        except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError) as error:
            outcome = error
        if self._told:  # cancelled, or to begin anew elsewhere: it has not come to its end
            os._exit(1)
        return outcome

    def checkpoint(self) -> DelayedSubmission:
        """The call once more, for when its time is over; the store knows how far it came."""
        return DelayedSubmission(self)

    def _end(self, *_: object) -> None:
        self._told = True
        interrupt(self._fleet)


def _cause(traceback: str) -> str:
    """The line that names the exception, which stands at the margin."""
    named = [line for line in traceback.splitlines() if _EXCEPTION.match(line)]
    return named[-1] if named else "its traceback names no exception"
