"""Many runs: grouped into ensembles, trained, and handed back run by run in the order asked for."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from synthetic_tasks.threefry import stream
from tdlab.engine import COMPILED
from tdlab.memory import budget, members_within
from tdlab.models import Params, stacked
from tdlab.progress import bar
from tdlab.run import Run
from tdlab.schedule import Schedule
from tdlab.train import Ending, Observe, Snapshot, Training, faster_path

# (ours) Members trained at once where nothing is compiled: enough to make up for the calls of
# operations, few enough to stay in the machine's caches.
MEMBERS = 16
_FEW = 2  # (ours) Fewer are not worth a thread of their own.
# (ours) Multiplications in a step of one member below which it is nothing but calls of operations:
# many members then take no longer than few.
_SMALL = 1 << 20
_MANY = 256  # (ours) of such members


class Diverged(ArithmeticError):
    """There is nothing to measure, because every run diverged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What is kept of one run: snapshots, the last at its end, every loss, and how it ended."""

    run: Run
    steps: tuple[int, ...]
    params: Params  # each leaf with a leading axis over ``steps``
    loss: Float[Tensor, " step"]
    observed: dict[int, dict[str, Tensor]]
    ending: Ending

    @property
    def finished(self) -> bool:
        """Whether the run took all the steps asked for, or stopped because it had enough."""
        return self.ending.reason != "diverged"

    def at(self, step: int) -> Params:
        """The parameters after ``step`` updates; ``ValueError`` where no snapshot was taken."""
        if step not in self.steps:
            raise ValueError(
                f"no snapshot at step {step} of run {self.run.id}; it has {self.steps}"
            )
        return {name: leaf[self.steps.index(step)] for name, leaf in self.params.items()}

    @property
    def final(self) -> Params:
        """The parameters as the run left them."""
        return self.at(self.steps[-1])


def trained(
    runs: Sequence[Run],
    *,
    observe: Observe | None = None,
    observe_at: Schedule | None = None,
    earlier: Sequence[Trained] = (),
    device: str = "cpu",
    path: str = "auto",
    memory: int | None = None,
) -> list[Trained]:
    """Trains these runs in this process.

    Runs of one program become ensembles that stay in the caches, or of many more members where
    these are small, and in any case within ``memory`` bytes, all of them that train at once taken
    together (by default a quarter of the machine's); a member's result does not depend on how they
    are split. ``observe``, ``observe_at``, ``device`` and ``path`` are those of
    :class:`tdlab.train.Training`; with ``observe``, which sees its members together, the runs of
    one program stay one ensemble. Runs that start ``after`` others find these in ``earlier``, or
    else they are trained first.

    Returns:
        The results, in the order of the runs.
    """
    threads = torch.get_num_threads() if device == "cpu" else 1
    limit = (budget() if memory is None else memory) // threads
    before = _befores(runs, earlier, device, path)
    groups: list[tuple[list[int], str]] = []
    for group in _by_program(runs):
        its_path = _faster_path([runs[place] for place in group]) if path == "auto" else path
        size = len(group) if observe else _size(group, runs[group[0]], its_path, threads, limit)
        groups += [(group[at : at + size], its_path) for at in range(0, len(group), size)]
    # The longest first, so that no thread is left alone with it in the end.
    groups.sort(key=lambda each: -sum(runs[place].numbers for place in each[0]))
    with bar(sum(run.steps for run in runs), f"training {len(runs)} runs", unit="step") as progress:
        trainings = [
            Training(
                [runs[place] for place in places],
                observe=observe,
                observe_at=observe_at,
                start=_start([runs[place] for place in places], before),
                device=device,
                path=its_path,
                progress=progress,
            )
            for places, its_path in groups
        ]
        results = _side_by_side(trainings, threads)
    places = chain.from_iterable(places for places, _ in groups)
    done = dict(zip(places, chain(*results), strict=True))
    return [done[place] for place in range(len(runs))]


def finished(results: Sequence[Trained]) -> list[Trained]:
    """Those that did not diverge. Raises ``Diverged`` if none is left."""
    kept = [result for result in results if result.finished]
    if not kept:
        raise Diverged(f"all {len(results)} runs diverged; a smaller learning rate may help")
    return kept


def at_each_step(results: Sequence[Trained]) -> tuple[tuple[int, ...], Params]:
    """The parameters of all results at each of their snapshots.

    Returns:
        The steps, and the parameters with leading axes member, step.

    Raises:
        ValueError: for a run that diverged, or snapshots at different steps.
    """
    _require_finished(results)
    if len({result.steps for result in results}) != 1:
        raise ValueError("the results have snapshots at different steps and cannot be stacked")
    return results[0].steps, stacked(result.params for result in results)


def final(results: Sequence[Trained]) -> Params:
    """The last parameters of all results, leading axis member; raises for a run that diverged."""
    _require_finished(results)
    return stacked(result.final for result in results)


def _require_finished(results: Sequence[Trained]) -> None:
    for result in results:
        if not result.finished:
            raise ValueError(
                f"run {result.run.id} diverged at step {result.ending.step}; "
                "tdlab.sweep.finished leaves such runs out"
            )


def _befores(
    runs: Sequence[Run], earlier: Sequence[Trained], device: str, path: str
) -> dict[tuple[str, int], Trained]:
    """The results that some of the runs start from, by id and number of steps."""
    known = {(result.run.id, result.run.steps): result for result in earlier}
    needed = {(run.after.id, run.after.steps): run.after for run in runs if run.after is not None}
    missing = [run for key, run in needed.items() if key not in known]
    if missing:
        results = trained(missing, earlier=earlier, device=device, path=path)
        known |= {(result.run.id, result.run.steps): result for result in results}
    return known


def _start(runs: Sequence[Run], known: dict[tuple[str, int], Trained]) -> Params | None:
    befores = [known[run.after.id, run.after.steps] for run in runs if run.after is not None]
    for before in befores:
        if before.finished and before.ending.step < before.run.steps:  # of which no id knows
            raise ValueError(
                f"run {before.run.id} was stopped at step {before.ending.step}, but the runs after "
                f"it start where its {before.run.steps} steps end"
            )
    return final(befores) if befores else None


def _by_program(runs: Sequence[Run]) -> list[list[int]]:
    """Places in the list, grouped by program; what moves may differ where members are small."""
    programs: dict[object, list[int]] = {}
    for place, run in enumerate(runs):
        programs.setdefault(run.program, []).append(place)
    groups: dict[object, list[int]] = {}
    for program, places in programs.items():
        small = _is_small(runs[places[0]])
        for place in places:
            moving = None if small else frozenset(runs[place].moving)
            groups.setdefault((program, moving), []).append(place)
    return list(groups.values())


def _size(group: Sequence[int], run: Run, path: str, threads: int, limit: int) -> int:
    """Of how many members to make ensembles, so that they occupy every thread."""
    if _is_small(run):
        size = min(_MANY, len(group))
    elif path == "compiled":
        size = COMPILED
    else:
        size = min(MEMBERS, max(_FEW, math.ceil(len(group) / threads)))
    return members_within(limit, run, size)


def _faster_path(group: Sequence[Run]) -> str:
    """Small members gain together what one of them gains."""
    return faster_path(group[:1] if _is_small(group[0]) else group)


def _is_small(run: Run) -> bool:
    """Whether a step of one member is nothing but calls of operations."""
    params = run.model.init(stream(run.seed, "init"))
    weights = sum(leaf.numel() for leaf in params.values())
    return run.batch * run.task.columns * weights < _SMALL


def _side_by_side(trainings: Sequence[Training], threads: int) -> list[list[Trained]]:
    """Ensembles compute on one thread each, so as many as there are threads run at once."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads) as pool:
            try:
                return list(pool.map(_collect, trainings))
            except BaseException:  # an interrupt above all: the threads must not go on without us
                for training in trainings:
                    training.interrupt()
                raise
    finally:
        # torch hands the count that any thread sets to the threads that start later.
        torch.set_num_threads(before)


def _collect(training: Training) -> list[Trained]:
    snapshots = list(training)
    return [_member(training, snapshots, member) for member in range(len(training.runs))]


def _member(training: Training, snapshots: list[Snapshot], member: int) -> Trained:
    """What belongs to one member: nothing from after its end, but its end itself."""
    ending = training.endings[member]
    kept = {each.step: each.params for each in snapshots if each.step <= ending.step}
    kept.setdefault(ending.step, training.params)
    return Trained(
        run=training.runs[member],
        steps=tuple(kept),
        params=stacked({k: v[member].cpu() for k, v in params.items()} for params in kept.values()),
        loss=training.loss[member],
        observed={
            step: {name: numbers[member] for name, numbers in observed.items()}
            for step, observed in training.observed.items()
            if step <= ending.step
        },
        ending=ending,
    )
