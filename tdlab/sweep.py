"""Many runs: grouped into ensembles, trained, and handed back run by run in the order asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tdlab.models import Params, stacked
from tdlab.run import Run
from tdlab.schedule import Schedule
from tdlab.train import Ending, Observe, Snapshot, Training

# (ours) Members trained at once: enough to fill the machine, few enough to stay in its caches.
MEMBERS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What is kept of one run: its snapshots, every training loss, and how it ended."""

    run: Run
    steps: tuple[int, ...]
    params: Params  # each leaf with a leading axis over ``steps``
    loss: Float[Tensor, " step"]
    observed: dict[int, dict[str, Tensor]]
    ending: Ending

    @property
    def finished(self) -> bool:
        """Whether the run took all the steps that were asked for, or stopped because it had enough."""
        return self.ending.reason != "diverged"

    def at(self, step: int) -> Params:
        """The parameters after ``step`` updates. Raises ``ValueError`` where no snapshot was taken."""
        if step not in self.steps:
            raise ValueError(f"no snapshot at step {step} of run {self.run.id}; it has {self.steps}")
        return {name: leaf[self.steps.index(step)] for name, leaf in self.params.items()}

    @property
    def final(self) -> Params:
        """The parameters of the last snapshot."""
        return self.at(self.steps[-1])


def trained(
    runs: Sequence[Run],
    *,
    observe: Observe | None = None,
    observe_at: Schedule | None = None,
    device: str = "cpu",
    path: str = "auto",
) -> list[Trained]:
    """The results of these runs, in their order, trained in this process.

    Runs of one program become ensembles of at most ``MEMBERS``; a member's result does not depend on how
    they are split.
    """
    done: dict[int, Trained] = {}
    for places in _ensembles(runs):
        training = Training(
            [runs[place] for place in places],
            observe=observe,
            observe_at=observe_at,
            device=device,
            path=path,
        )
        done.update(zip(places, _collect(training), strict=True))
    return [done[place] for place in range(len(runs))]


def at_each_step(results: Sequence[Trained]) -> tuple[tuple[int, ...], Params]:
    """Steps, and the parameters of all results with leading axes member, step.

    Raises ``ValueError`` unless all have the same snapshots, as results of one program have that finished.
    """
    if len({result.steps for result in results}) != 1:
        raise ValueError("results have different snapshots; select those that are .finished")
    return results[0].steps, stacked(result.params for result in results)


def final(results: Sequence[Trained]) -> Params:
    """The last parameters of all results, with a leading member axis."""
    return stacked(result.final for result in results)


def _ensembles(runs: Sequence[Run]) -> list[list[int]]:
    """Places in the list, grouped by program and cut to size."""
    groups: dict[object, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(run.program, []).append(place)
    return [
        group[first : first + MEMBERS]
        for group in groups.values()
        for first in range(0, len(group), MEMBERS)
    ]


def _collect(training: Training) -> list[Trained]:
    snapshots = list(training)
    return [_member(training, snapshots, member) for member in range(len(training.runs))]


def _member(training: Training, snapshots: list[Snapshot], member: int) -> Trained:
    """What belongs to one member: nothing from after its end."""
    ending = training.endings[member]
    kept = [snapshot for snapshot in snapshots if snapshot.step <= ending.step]
    return Trained(
        run=training.runs[member],
        steps=tuple(snapshot.step for snapshot in kept),
        params=stacked({k: v[member].cpu() for k, v in snapshot.params.items()} for snapshot in kept),
        loss=training.loss[member],
        observed={
            step: {name: numbers[member] for name, numbers in observed.items()}
            for step, observed in training.observed.items()
            if step <= ending.step
        },
        ending=ending,
    )
