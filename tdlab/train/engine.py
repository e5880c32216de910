"""What takes an ensemble from step to step: it draws ahead, learns, and knows where members are.

Eagerly, operations run one after the other: those of the maps and derivatives themselves or, where
steps are many, of a trace of them, which has the same bits. Compiled, an ensemble of fewer than
``COMPILED`` members is filled up to as many, so that all ensembles of a program share its code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils._pytree import (
    keystr,
    tree_flatten,
    tree_flatten_with_path,
    tree_leaves,
    tree_map,
    tree_unflatten,
)

from tdlab.machine import one_thread
from tdlab.models import Params
from tdlab.run import Run
from tdlab.train.basis import change_of_basis
from tdlab.train.ensemble import (
    MOVING,
    Data,
    Members,
    chance,
    data,
    draw,
    first_of,
    learn,
    moving,
    start,
)
from tdlab.train.fitting import require_fit
from tdlab.train.program import Program, Traced, direct

COMPILED = 8  # (ours) members that a core holds in its cache
_AHEAD = 1 << 22  # (ours) bytes of batches to draw at once
# (ours) Steps, and members times steps, that make up for the time which a trace of them takes.
_TRACE_LEARNING, _TRACE_DRAWING = 150, 4000
_KEPT = 256  # programs
# Operations from which on compiled code keeps a number instead of computing it again. Of random
# words each depends twice on those before it: without an early stop they would compile for minutes.
_ONCE, _AGAIN = 8, 30

_programs: dict[Any, Program] = {}


class Engine:
    """An ensemble on its way; ``params`` are those that it sets out from, if not from its init.

    ``resume`` are its members as they moved in an earlier engine (``moving``).
    """

    def __init__(
        self,
        runs: Sequence[Run],
        device: torch.device,
        path: str,
        params: Params | None = None,
        resume: Members | None = None,
    ) -> None:
        self._count, missing = len(runs), COMPILED - len(runs)
        if path == "compiled" and missing > 0:
            runs = [*runs, *[runs[-1]] * missing]
            params = params and {k: _filled(leaf, missing) for k, leaf in params.items()}
            resume = resume and tree_map(lambda leaf: _filled(leaf, missing), resume)
        self._run, self._path, self._size = runs[0], path, len(runs)
        its_data, axes = data(runs, device)
        began = start(runs, device, params)
        require_fit(runs[0], first_of(its_data, axes), {k: v[0] for k, v in began.params.items()})
        with one_thread():
            world = its_data.world
            there, self._back = change_of_basis(runs[0], world, axes.world, began.params)
            members = began._replace(params=there(began.params))
        if resume is not None:
            members = _like(members, resume)
        self._now, self._members = tree_flatten(members)
        self._data = tree_leaves(its_data)
        self._first, self._drawn = 0, list[Tensor]()
        self._set_up(members, its_data, axes, moving(runs))

    def _set_up(self, members: Members, its_data: Data, axes: Data, names: Sequence[str]) -> None:
        """Makes the programs, from examples of what they are going to be called with."""
        run, device = self._run, members.ended.device
        shared = tuple(axis is None for axis in axes.world)
        key = (run.arithmetic, shared, names, tuple(axes.frozen), self._size, str(device))
        drawing, uniform = draw(run, axes), chance(run)
        example: Any = ()
        self._ahead = 0
        if run.task.uniforms:
            block = uniform(its_data, torch.arange(1, device=device))
            example = tree_map(lambda leaf: leaf[0], drawing(its_data, block))
            size = sum(leaf.nbytes for leaf in tree_leaves(example))
            self._ahead = max(1, min(_AHEAD // size, run.steps if self._path == "eager" else 64))
            many = run.steps * self._size >= _TRACE_DRAWING
            numbers = torch.arange(self._ahead, device=device)
            blocks = block.expand(self._ahead, *block.shape[1:]).contiguous()
            its_key = (*key, self._ahead)
            self._chance = self._program("chance", its_key, many, uniform, its_data, numbers)
            self._draw = self._program("draw", its_key, many, drawing, its_data, blocks)
        zero = torch.zeros((), dtype=torch.int64, device=device)
        examples = (members, its_data, example, zero)
        many = run.steps >= _TRACE_LEARNING
        self._learn = self._program("learn", key, many, learn(run, axes, names), *examples)

    def _program(
        self, name: str, key: Any, many: bool, function: Callable[..., Any], *examples: Any
    ) -> Program:
        """The function on this path; ``key`` says what it is made of, ``many`` if a trace pays."""
        if self._path == "eager" and not many:
            return direct(function, *examples)
        key = (self._path, name, *key)
        if key not in _programs:
            traced = Traced(function, *examples)
            once = _ONCE if name == "chance" else _AGAIN
            _programs[key] = traced.compiled(once) if self._path == "compiled" else traced
            for oldest in list(_programs)[:-_KEPT]:
                _programs.pop(oldest, None)
        return _programs[key]

    def step(self, number: int) -> Float[Tensor, " member"]:
        """Takes all members that still move one step further, and returns the loss of each."""
        at = torch.tensor(number).to(self._now[-1].device)
        *self._now, loss = self._learn([*self._now, *self._data, *self._batch(number), at])
        return loss[: self._count]

    def parts(self) -> dict[str, tuple[Callable[[], Any], int]]:
        """What a step consists of, to be timed part by part: work, and for how many steps it is."""
        batch, at = self._batch(0), torch.tensor(0).to(self._now[-1].device)
        leaves = [*self._now, *self._data, *batch, at]
        found: dict[str, tuple[Callable[[], Any], int]] = {}
        if self._ahead:
            numbers = torch.arange(self._ahead, device=at.device)
            chance = [*self._data, numbers]
            blocks = [*self._data, *self._chance(chance)]
            found["uniforms"] = (lambda: self._chance(chance), self._ahead)
            found["prompts"] = (lambda: self._draw(blocks), self._ahead)
        return {**found, "learning": (lambda: self._learn(leaves), 1)}

    def _batch(self, number: int) -> list[Tensor]:
        """What there is to learn from at this step."""
        if self._ahead and not (self._drawn and 0 <= number - self._first < self._ahead):
            device = self._now[-1].device
            numbers = torch.arange(self._ahead, device=device) + (number + self._run.earlier_steps)
            blocks = self._chance([*self._data, numbers])
            self._first, self._drawn = number, self._draw([*self._data, *blocks])
        return [leaf[number - self._first] for leaf in self._drawn]

    @property
    def members(self) -> Members:
        """The members as they are now, in tokens."""
        members: Members = tree_unflatten(self._now, self._members)
        with one_thread():
            members = members._replace(params=self._back(members.params))
        return tree_map(lambda leaf: leaf[: self._count], members)

    @property
    def moving(self) -> Members:
        """The members as they are now, in the coordinates in which they move."""
        members: Members = tree_unflatten(self._now, self._members)
        return tree_map(lambda leaf: leaf[: self._count], members)

    @property
    def ended(self) -> Int[Tensor, " member"]:
        """After how many steps each member stopped, or ``MOVING``."""
        return self._now[-1][: self._count]

    def stop(self, members: Bool[Tensor, " member"], number: int) -> None:
        """These members move no more."""
        ended = self._now[-1].clone()
        ended[: self._count][members & (self.ended == MOVING)] = number
        self._now[-1] = ended


def forget() -> None:
    """Drops all programs, as a new process would have none; compiled ones stay on disk."""
    _programs.clear()


def _like(members: Members, others: Members) -> Members:
    """The others, where the members are; ``ValueError`` if they are not of the same shapes."""
    leaves, structure = tree_flatten_with_path(members)
    given = {keystr(path): leaf for path, leaf in tree_flatten_with_path(others)[0]}
    wanted = {keystr(path): leaf for path, leaf in leaves}
    if {k: v.shape for k, v in given.items()} != {k: v.shape for k, v in wanted.items()}:
        raise ValueError("the moment to resume from is that of other runs")
    moved = [given[k].to(leaf.device, leaf.dtype).contiguous() for k, leaf in wanted.items()]
    return tree_unflatten(moved, structure)


def _filled(leaf: Tensor, missing: int) -> Tensor:
    return torch.cat([leaf, leaf[-1:].expand(missing, *leaf.shape[1:])])
