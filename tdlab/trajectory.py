"""What is kept of a run: its snapshots, its losses, how it ended, and how far it has come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tdlab.models import Params, stacked
from tdlab.run import Run

UNFINISHED = "unfinished"  # the reason of an ending that is none


class Ending(NamedTuple):
    """After how many updates a member stopped, and why."""

    step: int
    reason: str  # "finished", "diverged", "observed", or "unfinished" while it still trains

    @property
    def losses(self) -> int:
        """How many losses there are: the step at which a member diverges has one, but no update."""
        return self.step + (self.reason == "diverged")


class Diverged(ArithmeticError):
    """There is nothing to measure, because every run diverged."""


class Standing(NamedTuple):
    """How far a run has come."""

    taken: int  # steps
    reason: str  # of its ending, if that is one
    steps: tuple[int, ...]  # those of its snapshots
    path: str  # eager or compiled

    @property
    def over(self) -> bool:
        """Whether it takes no more steps, whatever is asked: it diverged, or was stopped."""
        return self.reason in {"diverged", "observed"}

    def lacks(self, run: Run) -> int | None:
        """From which step on ``run`` is to be trained.

        Returns:
            ``None`` if all it asks for is there; 0 where a snapshot is missing that was passed by.
        """
        passed = {step for step in asked(run) if step <= self.taken}
        if not passed <= set(self.steps):
            return 0
        return None if self.over or self.taken >= run.steps else self.taken

    def ending(self, run: Run) -> Ending:
        """How the part of it ends that ``run`` asks for."""
        if self.over and (self.taken < run.steps or self.reason == "observed"):
            return Ending(self.taken, self.reason)
        there = self.taken >= run.steps
        return Ending(run.steps, "finished") if there else Ending(self.taken, UNFINISHED)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trained:
    """What is kept of one run: snapshots, the last at its end, every loss, and how it ended."""

    run: Run
    steps: tuple[int, ...]
    params: Params  # each leaf with a leading axis over ``steps``
    loss: Float[Tensor, " step"]
    observed: dict[int, dict[str, Tensor]]
    ending: Ending
    # What its training goes on from, bit for bit: leaves of its parameters as it moves them, and of
    # the optimiser's state. Nothing where it ended before its time.
    moment: dict[str, Tensor] = field(default_factory=dict, repr=False)
    path: str = "eager"
    device: str = "cpu"

    def __repr__(self) -> str:
        how = f"{self.ending.reason} at step {self.ending.step}"
        return f"<{self.run!r}, {how}, {len(self.steps)} snapshots>"

    def _repr_html_(self) -> str:
        loss = self.loss[: self.ending.losses]
        went = f"; loss from {loss[0]:.4g} to {loss[-1]:.4g}" if len(loss) else ""
        kept = f"{len(self.steps)} snapshots of {', '.join(self.params)}"
        how = f"{self.ending.reason} at step {self.ending.step}"
        return f"<p>{how}{went}; {kept}</p>{self.run._repr_html_()}"

    @property
    def finished(self) -> bool:
        """Whether the run took all the steps asked for, or stopped because it had enough."""
        return self.ending.reason not in {"diverged", UNFINISHED}

    @property
    def standing(self) -> Standing:
        """How far it has come."""
        return Standing(self.ending.step, self.ending.reason, self.steps, self.path)

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

    def contains(self, steps: Sequence[int], params: Params, loss: Float[Tensor, " taken"]) -> bool:
        """Whether these snapshots, and the losses up to there, are its own, bit for bit."""
        if not {*steps} <= {*self.steps} or {*params} != {*self.params}:
            return False
        places = [self.steps.index(step) for step in steps]
        same = all(params[name].equal(leaf[places]) for name, leaf in self.params.items())
        return same and loss.equal(self.loss[: len(loss)])

    def as_asked(self, run: Run) -> "Trained":
        """The part of this trajectory that ``run`` asks for, which must not lack anything."""
        assert self.standing.lacks(run) is None, run.id
        end = self.standing.ending(run)
        kept = sorted({step for step in asked(run) if step <= end.step} | {end.step})
        places = [self.steps.index(step) for step in kept]
        whole = kept == list(self.steps)
        return replace(
            self,
            run=run,
            steps=tuple(kept),
            params=self.params if whole else {k: v[places] for k, v in self.params.items()},
            loss=_of_length(self.loss, run.steps),
            ending=end,
        )

    def after(self, earlier: "Trained") -> "Trained":
        """The whole trajectory, of which this one is the later part."""
        first = earlier.ending.step
        new = [place for place, step in enumerate(self.steps) if step not in earlier.steps]
        steps = (*earlier.steps, *(self.steps[place] for place in new))
        order = sorted(range(len(steps)), key=steps.__getitem__)
        params = {
            name: torch.cat([earlier.params[name], leaf[new]])[order]
            for name, leaf in self.params.items()
        }
        loss = torch.cat([earlier.loss[:first], self.loss[first:]])
        return replace(self, steps=tuple(sorted(steps)), params=params, loss=loss)


def _of_length(loss: Float[Tensor, " taken"], steps: int) -> Float[Tensor, " steps"]:
    """So many losses, NaN where the run took no step."""
    missing = loss.new_full((max(0, steps - len(loss)),), math.nan)
    return torch.cat([loss[:steps], missing])


def asked(run: Run) -> tuple[int, ...]:
    """The steps at which a run is to be seen: those of its schedule, and its end."""
    return tuple(sorted({*run.snapshots.steps(run.steps), run.steps}))


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
                "tdlab.trajectory.finished leaves such runs out"
            )
