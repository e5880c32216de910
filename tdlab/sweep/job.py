"""One ensemble on its way into a store: locked, gone on with where it stood, and kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from tdlab.executors.fleet import interruption
from tdlab.models import Params, stacked
from tdlab.progress import Progress
from tdlab.run import Run
from tdlab.schedule import Schedule
from tdlab.store import Disk, Store
from tdlab.train import Moment, Observe, Saving, Training
from tdlab.train.ensemble import MOVING, Members
from tdlab.trajectory import UNFINISHED, Trained, asked, final

SAVE_EVERY = 60.0  # (ours) seconds after which an ensemble on its way is put by


@dataclass(frozen=True, kw_only=True)
class Job:
    """Runs of one program that are trained together, and how."""

    runs: tuple[Run, ...]
    path: str
    device: str = "cpu"
    save_every: float = SAVE_EVERY
    observe: Observe | None = None
    observe_at: Schedule | None = None


def do(
    job: Job, store: Store, *, stop: Event | None = None, progress: Progress | None = None
) -> tuple[str, ...]:
    """Trains what the store lacks of these runs, each from where it stands, and keeps it there.

    Once ``stop`` is set the ensemble is put by as it is.

    Returns:
        The ids of those that somebody else is training.
    """
    with store.locked(job.runs) as mine:
        standing = {run: store.standing(run) for run in mine}  # as it is now that we hold it
        lacks = {run: now.lacks(run) if now else 0 for run, now in standing.items()}
        for first in sorted({step for step in lacks.values() if step is not None}):
            together = [run for run, step in lacks.items() if step == first]
            _train(job, together, first, store, stop or Event(), progress)
    return tuple(run.id for run in job.runs if run not in standing)


def do_at(job: Job, folder: Path, fleet: str) -> tuple[str, ...]:
    """:func:`do` in a process that shares nothing with others but the store.

    Returns:
        The ids of those that somebody else is training.
    """
    return do(job, Disk(folder), stop=interruption(fleet))


def _train(
    job: Job,
    runs: Sequence[Run],
    first: int,
    store: Store,
    stop: Event,
    progress: Progress | None,
) -> None:
    earlier = [store.load(run) for run in runs] if first else []
    resume = Moment(first, _members(earlier)) if first else None
    seen: dict[int, Params] = {}

    def keep() -> None:
        its = [_member(training, seen, member) for member in range(len(runs))]
        whole = [its[at].after(earlier[at]) for at in range(len(its))] if first else its
        store.save(whole)

    training = Training(
        runs,
        observe=job.observe,
        observe_at=job.observe_at,
        start=_start(runs, store),
        resume=resume,
        saving=Saving(keep, job.save_every),
        stop=stop,
        device=job.device,
        path=job.path,
        progress=progress,
    )
    for snapshot in training:
        seen[snapshot.step] = snapshot.params
    keep()


def _start(runs: Sequence[Run], store: Store) -> Params | None:
    befores = [store.load(run.after).as_asked(run.after) for run in runs if run.after is not None]
    for before in befores:
        if before.finished and before.ending.step < before.run.steps:  # of which no id knows
            raise ValueError(
                f"run {before.run.id} was stopped at step {before.ending.step}, but the runs after "
                f"it start where its {before.run.steps} steps end"
            )
    return final(befores) if befores else None


def _members(earlier: Sequence[Trained]) -> Members:
    """The members of an ensemble as they were when they were put by."""
    leaves = stacked(each.moment for each in earlier)
    params, state = dict[str, Tensor](), dict[str, dict[str, Tensor]]()
    for name, leaf in leaves.items():
        kind, _, rest = name.partition("/")
        part, _, its_leaf = rest.partition("/")
        if kind == "params":
            params[rest] = leaf
        else:
            state.setdefault(part, {})[its_leaf] = leaf
    return Members(params, state, torch.full((len(earlier),), MOVING))


def _member(training: Training, seen: Mapping[int, Params], member: int) -> Trained:
    """What belongs to one member: nothing from after its end, but its end itself."""
    ending = training.endings[member]
    kept = {step: params for step, params in seen.items() if step <= ending.step}
    # Put by at a step at which a snapshot is due, it has that snapshot.
    if ending.reason != UNFINISHED or ending.step in asked(training.runs[member]):
        kept.setdefault(ending.step, training.params)
    return Trained(
        run=training.runs[member],
        steps=tuple(kept),
        params={
            name: torch.stack([params[name][member].cpu() for params in kept.values()])
            if kept
            else leaf[:0].cpu()
            for name, leaf in training.params.items()
        },
        loss=training.loss[member],
        observed={
            step: {name: numbers[member] for name, numbers in observed.items()}
            for step, observed in training.observed.items()
            if step <= ending.step
        },
        ending=ending,
        moment=_moment(training, member) if ending.reason in {"finished", UNFINISHED} else {},
        path=training.path,
        device=training.device.type,
    )


def _moment(training: Training, member: int) -> dict[str, Tensor]:
    members = training.moment.members
    leaves = {f"params/{name}": leaf for name, leaf in members.params.items()}
    for part, its in members.state.items():
        leaves |= {f"state/{part}/{name}": leaf for name, leaf in its.items()}
    return {name: leaf[member].cpu() for name, leaf in leaves.items()}
