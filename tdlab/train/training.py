"""Training an ensemble: snapshots where they are due, every loss, numbers observed on the way."""

import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from threading import Event
from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_tasks.value import require_choice
from tdlab.machine import keep_memory, one_thread
from tdlab.models import Params
from tdlab.optimisers import State
from tdlab.progress import Progress, bar
from tdlab.run import Run
from tdlab.schedule import At, Schedule
from tdlab.train.engine import Engine
from tdlab.train.ensemble import MOVING, Members, require_one_program
from tdlab.trajectory import UNFINISHED, Ending

# Numbers measured on the members after some step, each with a leading member axis. The entry
# "stop", if there is one, says which members have been trained enough.
Observe = Callable[[int, Params], Mapping[str, Tensor]]

# (ours) Compiling takes 25 s, and saves 1 ns for every number of the prompts of a run: it pays from
# 200,000 steps of the in-context preset on.
_COMPILE_PAYS = 2.5e10
_STOP = "stop"
_AT_ONCE = 8  # steps for which the line of progress moves at once
_SAVING = 50  # (ours) Saving takes no more than one part in so many of the time.


class Snapshot(NamedTuple):
    """The ensemble after ``step`` updates; every leaf has a leading member axis."""

    step: int
    params: Params
    state: State


class Moment(NamedTuple):
    """Where an ensemble is: what its training goes on from, bit for bit.

    The parameters are in the coordinates in which the members train.
    """

    step: int
    members: Members


class Saving(NamedTuple):
    """A call that puts a training's ``moment`` by, and after how many seconds it comes again."""

    save: Callable[[], None]
    every: float


class Training:
    """The training of one ensemble: iterating over it trains, and yields snapshots where due.

    ``runs`` differ in seed, in varying scalars and in what is trained. ``observe`` is called at the
    steps of ``observe_at`` (by default those of the snapshots). ``start`` holds the parameters of
    runs that start ``after`` others, leading axis member; ``resume`` is the ``moment`` of a former
    training of the same runs, which this one goes on from. ``path`` is ``"eager"``, ``"compiled"``,
    or ``"auto"`` for whichever is done first. ``saving`` is called now and then on the way, and the
    training ends early once ``stop`` is set. Once iterated over, and whenever something is yielded
    or saved,

    - ``loss`` (member, step) holds every training loss, NaN from where a member no longer moved;
    - ``endings`` says of each member when it stopped, and why: one whose loss or parameters stop
      being finite keeps its last finite parameters, raises a ``RuntimeWarning`` and leaves the
      others alone;
    - ``observed`` maps each observed step to its numbers;
    - ``moment`` is where the ensemble is;
    - ``params`` holds each member's parameters, as they were when it stopped if it did.

    Raises:
        ValueError: for runs of different programs, and for a device that is not there.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        observe: Observe | None = None,
        observe_at: Schedule | None = None,
        device: str = "cpu",
        path: str = "auto",
        start: Params | None = None,
        resume: Moment | None = None,
        saving: Saving | None = None,
        stop: Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        require_choice("path", path, ("auto", "eager", "compiled"))
        require_one_program(runs)
        if (start is None) != (runs[0].after is None):
            raise ValueError(
                f"run {runs[0].id} starts {'after another' if start is None else 'by itself'}, so "
                f"start must {'hold the parameters it starts from' if start is None else 'be None'}"
            )
        keep_memory()
        self.runs = list(runs)
        self.device = available(device)
        self.path = faster_path(runs) if path == "auto" else path
        self.loss = torch.full((len(runs), runs[0].steps), math.nan, dtype=runs[0].torch_dtype)
        self.endings = [Ending(runs[0].steps, "finished") for _ in runs]
        self.observed: dict[int, dict[str, Tensor]] = {}
        self.params: Params = {}
        self.moment = resume or Moment(0, Members({}, {}, torch.empty(0)))
        self._start = start
        self._resume = resume
        self._observe = observe
        self._progress = progress
        self._saving = saving
        self._saved, self._pause = time.monotonic(), saving.every if saving else math.inf
        self._stop = stop or Event()
        watched = (observe_at or runs[0].snapshots) if observe else At(at=())
        self._observe_at = frozenset(watched.steps(runs[0].steps))
        self._snapshot_at = frozenset(runs[0].snapshots.steps(runs[0].steps))
        self._looks = self._observe_at | self._snapshot_at

    def __iter__(self) -> Iterator[Snapshot]:
        """Trains, and yields the snapshots in order."""
        total, first = self.runs[0].steps, self._resume.step if self._resume else 0
        before = self._resume.members if self._resume else None
        engine = Engine(self.runs, self.device, self.path, self._start, before)
        losses = torch.full((total, len(self.runs)), math.nan, dtype=self.loss.dtype).to(
            self.device
        )
        looks = sorted({first, total, *(step for step in self._looks if step >= first)})
        with _progress_of(self, self._progress) as progress:
            for begin, then in pairwise([*looks, total]):
                now = begin
                if now in self._observe_at:
                    self._look(now, engine)
                if now in self._snapshot_at:
                    self._settle(now, engine, losses)
                    yield Snapshot(now, self.params, self.moment.members.state)
                while now < then and not self._ended(engine):
                    taken = self._steps(engine, now, then, progress)
                    if taken:
                        losses[now : now + len(taken)] = torch.stack(taken)
                    now += len(taken)
                    self._save_if_due(now, engine, losses)
                if self._ended(engine):
                    break
        self._settle(now, engine, losses)

    def _ended(self, engine: Engine) -> bool:
        return self._stop.is_set() or not bool((engine.ended == MOVING).any())

    def _steps(self, engine: Engine, now: int, then: int, progress: Progress) -> list[Tensor]:
        """Takes steps from ``now`` to ``then``, or until saving is due; returns the losses."""
        losses: list[Tensor] = []
        with one_thread():
            while now + len(losses) < then and not self._stop.is_set():
                losses.append(engine.step(now + len(losses)))
                # Threads take turns in Python: what is not needed at every step waits for some.
                if len(losses) % _AT_ONCE == 0:
                    progress.update(len(self.runs) * _AT_ONCE)
                if time.monotonic() - self._saved > self._pause:
                    break
        progress.update(len(self.runs) * (len(losses) % _AT_ONCE))
        return losses

    def _save_if_due(self, now: int, engine: Engine, losses: Tensor) -> None:
        began = time.monotonic()
        if self._saving is None or began - self._saved <= self._pause:
            return
        self._settle(now, engine, losses)
        self._saving.save()
        self._saved = time.monotonic()
        self._pause = max(self._saving.every, _SAVING * (self._saved - began))

    def _look(self, now: int, engine: Engine) -> None:
        """Observes the members, and stops those that have been trained enough."""
        assert self._observe is not None
        numbers = dict(self._observe(now, engine.members.params))
        enough = numbers.pop(_STOP, torch.zeros(len(self.runs), dtype=torch.bool))
        self.observed[now] = numbers
        stopping = enough.to(self.device) & (engine.ended == MOVING)
        for member in stopping.nonzero()[:, 0].tolist():
            self.endings[member] = Ending(now, "observed")
        engine.stop(stopping, now)

    def _settle(self, now: int, engine: Engine, losses: Tensor) -> None:
        """Brings losses, endings and the moment up to date on the host."""
        self.loss.copy_(losses.T)
        self.moment, self.params = Moment(now, engine.moving), engine.members.params
        total = self.runs[0].steps
        for member, ended in enumerate(engine.ended.tolist()):
            if ended == MOVING:
                self.endings[member] = Ending(now, "finished" if now == total else UNFINISHED)
                continue
            if self.endings[member].reason in {"finished", UNFINISHED}:
                self.endings[member] = Ending(ended, "diverged")
                run = self.runs[member]
                warnings.warn(
                    f"run {run.id} (seed {run.seed}) diverged at step {ended}: "
                    f"training loss {self.loss[member, ended].item():.3g}",
                    RuntimeWarning,
                    stacklevel=3,
                )
            self.loss[member, self.endings[member].losses :] = math.nan


def _progress_of(training: Training, shared: Progress | None) -> AbstractContextManager[Progress]:
    """The line that all ensembles of a sweep share, or else one for this training."""
    if shared is not None:
        return nullcontext(shared)
    members, steps = len(training.runs), training.runs[0].steps
    return bar(members * steps, f"training {members} members", unit="step")


def available(device: str) -> torch.device:
    """The device of that name. Raises ``ValueError`` for one that is unknown or not there."""
    require_choice("device", device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch sees no CUDA device here; use 'cpu'")
    return torch.device(device)


def faster_path(runs: Sequence[Run]) -> str:
    """Compiled where the work is long enough to pay for the compiler, and there is one."""
    long_enough = sum(run.numbers for run in runs) >= _COMPILE_PAYS
    return "compiled" if long_enough and shutil.which("g++") else "eager"
