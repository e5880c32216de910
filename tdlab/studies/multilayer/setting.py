"""The presets of the study of several layers, and the runs that they ask for."""

import math
from dataclasses import replace
from typing import Any

from synthetic_tasks import InContextClassification, Reasoning
from synthetic_tasks.task_sets import Pair
from synthetic_tasks.value import require_between, require_count, value
from tdlab.models import Transformer
from tdlab.optimisers import SGD, Adam
from tdlab.run import Run
from tdlab.schedule import LogSpaced
from tdlab.studies.setting import changed, shown

IN_CONTEXT, CHAIN = KINDS = ("in context", "chain of thought")
# (ours) Task (a, b) belongs to its shift, b - a; each shift shows every pattern with both labels
# once, and the pairs of the middle one are in none of these sets, in either order.
TRAINED = (6, 12, 24)  # of the 30 tasks of six patterns
_SHIFTS = {6: (1,), 12: (1, 2), 24: (1, 2, 4, 5)}
_MIDDLE = 3
_PATTERNS = 6  # M1


@value
class Setting:
    """What is trained, and how many seeds and prompts are measured on.

    Tasks, layers and heads are those of the papers; what these leave open and we chose is marked
    (ours). Numbers of the tasks that are not named here are their defaults.

    Raises:
        ValueError: for numbers out of range.
    """

    seeds: int = 4
    first_seed: int = 0
    steps: int = 400  # (ours)
    lr: float = 1e-3  # eta of Adam (ours)
    sgd_lr: float = 0.1  # eta of gradient descent, where that is compared (ours)
    batch: int = 100  # in context (ours)
    chain_batch: int = 60  # of chains of thought (ours)
    layers: int = 3
    heads: int = 2
    width: int = 64  # of the residual stream (ours)
    hidden: int = 256  # neurons of a layer (ours)
    xi: float = 0.02  # as in GPT-2
    longer: int = 1  # how many times the steps, where longer training is compared (ours)
    snapshots: int = 20  # (ours)
    prompts: int = 1000  # a point and a seed (ours)

    def __post_init__(self) -> None:
        require_count("seeds", self.seeds, 1)  # one seed has no interval
        require_count("longer", self.longer, 1)
        require_count("prompts", self.prompts, 1)
        for name in ("lr", "sgd_lr"):
            require_between(name, getattr(self, name), 0, math.inf, above=True)
        _ = self.runs(IN_CONTEXT), self.runs(CHAIN)  # refuses what they refuse

    def _repr_html_(self) -> str:
        return shown(self)

    def in_context(self, count: int = TRAINED[0]) -> InContextClassification:
        """The in-context task with so many training tasks (6, 12 or 24)."""
        return InContextClassification(tasks=_tasks(*_SHIFTS[count]))

    @property
    def unseen_by_all(self) -> InContextClassification:
        """The in-context tasks that are in none of the training sets."""
        return InContextClassification(tasks=_tasks(_MIDDLE))

    @property
    def chain(self) -> Reasoning:
        """The task of chains of thought."""
        return Reasoning()

    def model(self, kind: str) -> Transformer:
        """The transformer for prompts of that kind."""
        task = self.in_context() if kind == IN_CONTEXT else self.chain
        return Transformer(
            token_width=task.token_width,
            outputs=None if kind == IN_CONTEXT else self.chain.width,
            columns=task.columns,
            layers=self.layers,
            heads=self.heads,
            width=self.width,
            hidden=self.hidden,
            xi=self.xi,
        )

    def runs(self, kind: str, **changes: Any) -> list[Run]:
        """One run a seed on prompts of that kind; ``changes`` are fields of a run."""
        run = Run(
            task=self.in_context() if kind == IN_CONTEXT else self.chain,
            model=self.model(kind),
            loss="hinge" if kind == IN_CONTEXT else "squared",
            optimiser=Adam(lr=self.lr),
            batch=self.batch if kind == IN_CONTEXT else self.chain_batch,
            steps=self.steps,
            snapshots=LogSpaced(count=self.snapshots),
        )
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        return [replace(run, seed=seed, **changes) for seed in seeds]

    def by_tasks(self) -> dict[int, list[Run]]:
        """The runs in context by the number of training tasks."""
        return {count: self.runs(IN_CONTEXT, task=self.in_context(count)) for count in TRAINED}

    def by_variant(self) -> dict[str, list[Run]]:
        """The runs by what is changed of the ones in context, one thing at a time.

        Returns:
            By names for figures. A chain of thought is another task, with the loss and the batch
            that go with it.
        """
        model = self.model(IN_CONTEXT)
        made = {
            "unchanged": self.runs(IN_CONTEXT),
            "no normalization": self.runs(IN_CONTEXT, model=replace(model, normalization="none")),
            "normalization after": self.runs(
                IN_CONTEXT, model=replace(model, normalization="after")
            ),
            "gradient descent": self.runs(IN_CONTEXT, optimiser=SGD(lr=self.sgd_lr)),
            "24 tasks": self.runs(IN_CONTEXT, task=self.in_context(24)),
            "chain of thought": self.runs(CHAIN),
        }
        if self.longer > 1:
            longer = self.runs(IN_CONTEXT, steps=self.longer * self.steps)
            made[f"{self.longer} times the steps"] = longer
        return made


def _tasks(*shifts: int) -> tuple[Pair, ...]:
    return tuple((a, (a + shift) % _PATTERNS) for shift in shifts for a in range(_PATTERNS))


PRESETS = {
    "paper": Setting(longer=4),
    # A narrower model, trained for less long, with one seed: what it finds has no interval.
    "quick": Setting(seeds=1, steps=250, width=32, hidden=128, snapshots=12, prompts=240),
}


def setting(preset: str = "quick", **changes: Any) -> Setting:
    """The preset with those fields changed that are not ``None``, as ``changed`` does it."""
    return changed(PRESETS, preset, changes)
