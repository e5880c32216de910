"""A run: one training with one seed, as a frozen value with an id."""

import json
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch

from synthetic_tasks import Task
from synthetic_tasks.task import require_balance
from synthetic_tasks.value import as_html, canonical, program, require_choice, require_count, value
from tdlab.losses import LOSSES
from tdlab.models import Model
from tdlab.optimisers import SGD, Optimiser
from tdlab.schedule import LogSpaced, Schedule

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_KINDS = {"task": Task, "model": Model, "optimiser": Optimiser, "snapshots": Schedule}


@value
class Run:
    """One training: all that fixes its trajectory, and how much of that is wanted.

    ``task``, ``model``, ``loss``, ``optimiser``, ``batch``, ``seed``, ``trained``, ``frozen`` and
    ``dtype`` fix the trajectory. ``trained`` names the parameters that move, the model's own choice
    unless given; ``frozen`` has pairs of one of them and the number of updates after which it stays
    as it is. A run ``after`` another starts from the parameters that the other ends with, with a
    new state of the optimiser, and goes on in its stream of data. ``steps`` and ``snapshots`` say
    how much of it is wanted, and when it is looked at; they are requests and no part of the ``id``.

    Raises:
        ValueError: for a number or a name out of range.
        TypeError: for a part that is no task, model, optimiser or schedule.
    """

    task: Task
    model: Model
    loss: str = "hinge"
    optimiser: Optimiser = SGD()
    batch: int = 100
    seed: int = 0
    trained: tuple[str, ...] | None = None
    frozen: tuple[tuple[str, int], ...] = ()
    dtype: str = "float32"
    after: "Run | None" = None
    steps: int = 400
    snapshots: Schedule = LogSpaced()

    def __post_init__(self) -> None:
        require_choice("loss", self.loss, tuple(LOSSES))
        require_choice("dtype", self.dtype, tuple(_DTYPES))
        require_count("batch", self.batch, 1)
        require_count("seed", self.seed, 0)
        require_count("steps", self.steps, 0)
        for name, kind in _KINDS.items():  # a class has the methods of its values
            its = getattr(self, name)
            if isinstance(its, type) or not isinstance(its, kind):
                raise TypeError(
                    f"{name} is {its!r}, but must be {_article(kind.__name__)}{_lacking(its, kind)}"
                )
        if self.after is not None and not isinstance(self.after, Run):
            raise TypeError(f"after is {self.after!r}, but must be a Run or None")
        self._require_freezing()
        require_balance("batch", self.batch, self.task)
        if self.task.token_width != self.model.token_width:
            raise ValueError(
                f"the task's tokens have {self.task.token_width} entries, but the model takes "
                f"{self.model.token_width}"
            )

    @property
    def moving(self) -> tuple[str, ...]:
        """The parameters that training moves, be it for a while."""
        still = {name for name, step in self.frozen if not step}
        return tuple(name for name in self._trained if name not in still)

    @property
    def _trained(self) -> tuple[str, ...]:
        return self.model.moving if self.trained is None else self.trained

    def frozen_from(self, step: int, *names: str) -> "Run":
        """This run, but for parameters that stay as they are after ``step`` updates.

        Up to there the two are the same, and the others go on as if nothing had happened, with what
        the optimiser remembers of them.

        Returns:
            A run with these names and that step among its ``frozen``.

        Raises:
            ValueError: for a name that does not move, for all that do, and a step out of range.
        """
        require_count("step", step, 0)
        if step >= self.steps:
            raise ValueError(f"step is {step}, but must be below {self.steps}")
        if not names:
            raise ValueError(f"nothing is frozen: name some of {', '.join(self.moving)}")
        if {*names, *dict(self.frozen)} >= set(self._trained):
            raise ValueError(f"{list(names)} are frozen of {list(self.moving)}: some must, not all")
        return replace(self, frozen=(*self.frozen, *((name, step) for name in names)))

    def _repr_html_(self) -> str:
        return f"<p>run <code>{self.id}</code></p>{as_html(self)}"

    @property
    def torch_dtype(self) -> torch.dtype:
        """``dtype`` as torch names it."""
        return _DTYPES[self.dtype]

    @property
    def earlier_steps(self) -> int:
        """How many steps the runs before this one have taken."""
        return 0 if self.after is None else self.after.earlier_steps + self.after.steps

    @property
    def numbers(self) -> int:
        """How many numbers there are in the prompts of all steps."""
        return self.steps * self.batch * self.task.columns * self.task.token_width

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits of a hash of all that fixes the trajectory."""
        return id_of(self.identity)

    @property
    def identity(self) -> dict[str, Any]:
        """All that fixes the trajectory, as plain JSON."""
        fixed: dict[str, Any] = canonical(self)
        requests = ("steps", "snapshots", "revision", "type")
        kept = {name: part for name, part in fixed.items() if name not in requests}
        if self.after is not None:  # how far it went is what this run starts from
            kept["after"] = {**self.after.identity, "steps": self.after.steps}
        kept.pop("frozen", None)  # what is frozen from the start is not trained
        if later := sorted([name, step] for name, step in self.frozen if step):
            kept["frozen"] = later
        return {**kept, "trained": sorted(set(self.moving))}

    @property
    def arithmetic(self) -> Any:
        """Runs that share this key take a step by the same operations on tensors."""
        others = ("seed", "trained", "frozen", "after", "steps", "snapshots")
        return tuple(part for part in program(self)[1] if part[0] not in others)

    @property
    def program(self) -> Any:
        """Runs that share this key can be members of one ensemble."""
        # What a member starts from is its own, and what of it moves; that it starts from another
        # run's end, and how many steps of its stream are behind it, is not.
        wanted = (self.steps, program(self.snapshots))
        return (self.arithmetic, wanted, self.after is None, self.earlier_steps)

    def _require_freezing(self) -> None:
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.frozen):
            raise ValueError(f"frozen is {self.frozen}, but must be pairs, such as (('W_Q', 100),)")
        for name, step in self.frozen:
            if name not in self._trained:
                raise ValueError(f"{name} does not move; what does: {', '.join(self._trained)}")
            require_count(f"the step from which {name} is frozen", step, 0)
        if len(dict(self.frozen)) < len(self.frozen):
            raise ValueError(f"frozen is {self.frozen}, but must name a parameter once")


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def _lacking(item: Any, protocol: Any) -> str:
    """What of a protocol is missing, for who is writing such a value and has some of it."""
    asked = [name for name in {**protocol.__annotations__, **vars(protocol)} if name[0] != "_"]
    missing = [name for name in asked if not hasattr(item, name)]
    named = 0 < len(missing) < len(asked) and not isinstance(item, type)
    return f"; it lacks {', '.join(missing)}" if named else ""


def id_of(identity: dict[str, Any]) -> str:
    """The id of the run with that identity: twelve hexadecimal digits of a hash of it."""
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
