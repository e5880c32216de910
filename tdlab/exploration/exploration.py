"""Walking through runs: a step, a member and a prompt are chosen, and what happens is seen."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from synthetic_tasks.value import require_count
from tdlab import sweep
from tdlab.exploration.seen import Seen
from tdlab.exploration.widgets import is_live, walker
from tdlab.figures.exploration import in_words, moment, moments
from tdlab.figures.style import Drawing, png
from tdlab.listed import named
from tdlab.run import Run
from tdlab.trajectory import Trained

_BESIDE = 5  # (ours) steps in one picture


def explore(
    runs: Run | Trained | Iterable[Any], *, member: int = 0, prompt: int = 0
) -> "Exploration":
    """What can be seen of these runs, in a notebook by moving a slider over their snapshots.

    Runs that are not trained yet are trained. Prompts are those of the run's own evaluation stream.
    Where nobody can move a slider, as in papermill and nbconvert, some steps are drawn beside each
    other, of the ``member`` and the ``prompt`` that are given here.

    Returns:
        The exploration, which shows itself as the last expression of a cell.

    Raises:
        TypeError: for what is neither a run nor trained.
        ValueError: for no runs, and a member or prompt that there is not.
    """
    given = [runs] if isinstance(runs, Run | Trained) else list(runs)
    for each in given:
        if not isinstance(each, Run | Trained):
            raise TypeError(f"explore takes runs, or what was trained of them, not {each!r}")
    wanted = [each for each in given if isinstance(each, Run)]
    made = dict(zip(wanted, sweep.trained(wanted), strict=True)) if wanted else {}
    results = [made[each] if isinstance(each, Run) else each for each in given]
    return Exploration(results, member=member, prompt=prompt)


class Exploration:
    """Trained runs to walk through; see :func:`explore`.

    Raises:
        ValueError: for no results, and a member or prompt that there is not.
    """

    def __init__(self, results: Sequence[Trained], *, member: int = 0, prompt: int = 0) -> None:
        if not results:
            raise ValueError("there is nothing to explore: give at least one run")
        self.results = list(results)
        self.member = _require_place("member", member, len(self.results))
        self._seen = [Seen(result) for result in self.results]
        self.prompt = _require_place("prompt", prompt, self.prompts(member))
        self._images: dict[tuple[int, int, int], bytes] = {}

    @property
    def members(self) -> list[str]:
        """What tells each run from the others."""
        return named([result.run for result in self.results])

    def prompts(self, member: int) -> int:
        """How many prompts of a member there are to choose from."""
        return len(self._seen[member].batch.target)

    def steps(self, member: int) -> tuple[int, ...]:
        """The snapshots of a member."""
        return self._seen[member].steps

    def tables(self, member: int, prompt: int) -> dict[str, pd.DataFrame]:
        """What is drawn, as tidy tables: loss, attention, and what else there is of the run."""
        seen = self._seen[_require_place("member", member, len(self.results))]
        _require_place("prompt", prompt, self.prompts(member))
        tables = {
            "loss": seen.loss,
            "attention": seen.attention(prompt),
            "concentration": seen.concentration,
            "neurons": seen.neurons,
        }
        return {name: table for name, table in tables.items() if table is not None}

    def at(self, step: int, *, member: int | None = None, prompt: int | None = None) -> Drawing:
        """The picture of one step, of the member and prompt that were chosen unless given.

        Returns:
            A figure that says the same in words, as its ``alt``.

        Raises:
            ValueError: for a step without a snapshot, and a member or prompt that there is not.
        """
        member, prompt = self._chosen(member, prompt)
        tables = self.tables(member, prompt)
        self.results[member].at(step)  # which says what there is instead
        return moment(tables, step)

    def steps_beside(self, *, member: int | None = None, prompt: int | None = None) -> Drawing:
        """Some of the steps beside each other, evenly spaced among the snapshots."""
        member, prompt = self._chosen(member, prompt)
        steps = self.steps(member)
        places = np.linspace(0, len(steps) - 1, _BESIDE).round().astype(int)
        shown = [steps[place] for place in dict.fromkeys(places.tolist())]
        return moments(self.tables(member, prompt), shown)

    def words(self, member: int, prompt: int, step: int) -> str:
        """What the picture of one step says, in words."""
        return in_words(self.tables(member, prompt), step)

    def image(self, member: int, prompt: int, step: int) -> bytes:
        """The picture of one step as PNG, drawn once."""
        if (chosen := (member, prompt, step)) not in self._images:
            self._images[chosen] = png(self.at(step, member=member, prompt=prompt))
        return self._images[chosen]

    def __repr__(self) -> str:
        count, steps = len(self.results), self.steps(self.member)
        return (
            f"<exploration of {count} run{'s' * (count != 1)}; shown: "
            f"{self.members[self.member]}, prompt {self.prompt}, at {len(steps)} snapshots "
            f"up to step {steps[-1]}>"
        )

    def _repr_mimebundle_(self, **_: object) -> Any:
        """A slider where somebody can move it, and in any case a picture."""
        data, about = self.steps_beside()._repr_mimebundle_()
        if is_live():
            data = walker(self)._repr_mimebundle_() | data
        return data | {"text/plain": repr(self)}, about

    def _chosen(self, member: int | None, prompt: int | None) -> tuple[int, int]:
        return (
            self.member if member is None else member,
            self.prompt if prompt is None else prompt,
        )


def _require_place(name: str, place: int, count: int) -> int:
    require_count(name, place, 0)
    if place >= count:
        raise ValueError(f"{name} is {place}, but must be below {count}: so many there are")
    return place
