"""The presets of the in-context-learning study, and the runs that they ask for."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from synthetic_tasks import InContextClassification
from synthetic_tasks.value import require_between, require_count, value
from tdlab.models import OneLayer
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.schedule import LogSpaced
from tdlab.studies.regimes import NEARER, OURS
from tdlab.studies.setting import changed, require_points, shown
from tdlab.theory import li2024

# Of each number whose law is fitted: its values, and a power by which steps are given.
_VARIED = {
    "lr": ("law_lrs", -1.0),
    "alpha": ("law_alphas", -1.0),
    "beta": ("law_betas", -2.0),
    "relevant": ("law_patterns", 0.5),
}
# The field that each grid is of.
_LAWS = {grid: field for field, (grid, _) in _VARIED.items()}
_LAWS |= {"law_batches": "batch", "law_test_alphas": "alpha"}


@value
class Setting:
    """What a study trains, and how many seeds and prompts it measures on.

    The task and model are those of Li et al. (ICML 2024); what they leave open and we chose is
    marked (ours).

    Raises:
        ValueError: for numbers out of range.
    """

    seeds: int = 32
    first_seed: int = 0
    steps: int = 400  # (ours)
    lr: float = 0.1  # eta (ours)
    batch: int = 100  # (ours)
    relevant: int = 6  # M1
    irrelevant: int = 24  # M2
    alpha: float = 0.8
    length: int = 20  # l
    kappa: float = 0.5  # kappa_max
    beta: float = 3.0  # (ours)
    delta: float = 0.2  # (ours)
    xi: float = 0.02  # (ours)
    neurons: int = 64  # m (ours)
    snapshots: int = 40  # (ours)
    prompts: int = 2000  # a point and a seed
    classical_prompts: int = 2000  # a point, over all seeds
    lengths: tuple[int, ...] = (5, 10, 15, 20, 30, 40)  # of the classical comparison (ours)
    lr_factors: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the step sizes compared (ours)
    # Of scaling laws (ours): how many seeds and prompts, and what is varied.
    law_seeds: int = 16
    law_prompts: int = 500
    law_lrs: tuple[float, ...] = (0.05, 0.07, 0.1, 0.14, 0.2)
    law_alphas: tuple[float, ...] = (0.4, 0.5, 0.63, 0.8, 1.0)
    law_betas: tuple[float, ...] = (2.0, 2.45, 3.0, 3.67, 4.5)
    law_patterns: tuple[int, ...] = (4, 6, 8, 11, 16)  # M1
    law_batches: tuple[int, ...] = (6, 12, 24, 48, 96)
    law_test_alphas: tuple[float, ...] = (0.2, 0.3, 0.45, 0.67, 1.0)  # alpha'
    law_lengths: tuple[int, ...] = (2, 3, 4, 6, 9, 13, 20, 30, 45, 67, 100, 150)  # l'
    law_steps: int = 250  # within which a risk is to be reached, at the setting's own point
    # The regime nearer the theorem (ours): smaller delta and more patterns, which take more steps.
    near_delta: float = 0.12
    near_relevant: int = 12
    near_steps: int = 1200
    near_law_steps: int = 600

    def __post_init__(self) -> None:
        require_count("seeds", self.seeds, 2)  # one seed has no interval
        require_count("prompts", self.prompts, 1)
        require_count("classical_prompts", self.classical_prompts, self.seeds)
        require_between("lr", self.lr, 0, math.inf, above=True)
        for length in (*self.lengths, *self.law_lengths):
            require_count("lengths", length, 1)
        require_count("law_seeds", self.law_seeds, 2)
        require_count("law_prompts", self.law_prompts, 1)
        require_between("near_delta", self.near_delta, 0, math.inf, above=True)
        for name in ("law_steps", "near_law_steps", "near_steps"):
            require_count(name, getattr(self, name), 1)
        for name, field in _LAWS.items():
            require_points(name, getattr(self, name))
            for at in getattr(self, name):
                self._refuse(field, at)
        self._refuse("relevant", self.near_relevant)
        if self.near_relevant >= self.relevant:  # else it is a point beyond that regime
            for count in self._near_patterns:
                self._refuse("relevant", count)
        _ = self.task, self.model, self.runs()  # refuses what they refuse

    def _refuse(self, field: str, at: Any) -> None:
        """Raises what a setting with that value of a field would."""
        match field:
            case "lr":
                require_between("law_lrs", at, 0, math.inf, above=True)
            case "batch":
                require_count("law_batches", at, 1)
            case _:
                change: dict[str, Any] = {field: at}
                _ = replace(self.task, **change)

    def _repr_html_(self) -> str:
        return shown(self)

    @property
    def task(self) -> InContextClassification:
        """The training task: the M1 cyclic pairs."""
        return InContextClassification(
            relevant=self.relevant,
            irrelevant=self.irrelevant,
            label_width=self.relevant + self.irrelevant,
            length=self.length,
            alpha=self.alpha,
            kappa=self.kappa,
            beta=self.beta,
        )

    @property
    def model(self) -> OneLayer:
        """The one-layer model of the task's width."""
        task = self.task
        return OneLayer(
            width=task.width,
            label_width=task.label_width,
            neurons=self.neurons,
            delta=self.delta,
            xi=self.xi,
        )

    @property
    def nearer(self) -> "Setting":
        """Nearer what the theorem assumes: a smaller initial scale, and more patterns."""
        return replace(
            self,
            delta=min(self.delta, self.near_delta),
            relevant=self.near_relevant,
            steps=self.near_steps,
            law_steps=self.near_law_steps,
            law_patterns=self._near_patterns,
        )

    @property
    def _near_patterns(self) -> tuple[int, ...]:
        more = self.near_relevant / self.relevant
        return tuple(round(more * count) for count in self.law_patterns)

    @property
    def regimes(self) -> dict[str, "Setting"]:
        """The setting in each regime of scaling laws, with as many seeds as these have."""
        regimes = {OURS: self, NEARER: self.nearer}
        prompts = max(self.classical_prompts, self.law_seeds)  # which laws make no use of
        return {
            name: replace(each, seeds=self.law_seeds, classical_prompts=prompts)
            for name, each in regimes.items()
        }

    @property
    def regime_points(self) -> dict[str, dict[tuple[str, float], "Setting"]]:
        """In each regime, settings that differ in one number, by its field and value, and in steps.

        They get more steps the longer training takes, by more than the theorem says (ours).
        """
        return {name: dict(_points(each)) for name, each in self.regimes.items()}

    @property
    def by_batch(self) -> dict[int, "Setting"]:
        """Settings that differ in the batch."""
        return {batch: replace(self, batch=batch) for batch in self.law_batches}

    @property
    def by_alpha(self) -> dict[float, "Setting"]:
        """Settings that differ in alpha, with a length and steps that grow as the theorem says."""
        points = {}
        for alpha in self.law_alphas:
            length = math.ceil(self.length * self.alpha / alpha)
            rate = partial(li2024.rate_iterations, self.lr, self.relevant, beta=self.beta)
            steps = math.ceil(self.steps * rate(alpha=alpha) / rate(alpha=self.alpha))
            points[alpha] = replace(self, alpha=alpha, length=length, steps=steps)
        return points

    def runs(self, task: InContextClassification | None = None, **changes: Any) -> list[Run]:
        """One run a seed, on the setting's task or on another; ``changes`` are fields of a run."""
        run = Run(
            task=task or self.task,
            model=self.model,
            optimiser=SGD(lr=self.lr),
            batch=self.batch,
            steps=self.steps,
            snapshots=LogSpaced(count=self.snapshots),
        )
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        return [replace(run, seed=seed, **changes) for seed in seeds]


def _points(own: Setting) -> Iterator[tuple[tuple[str, float], Setting]]:
    for field, (grid, power) in _VARIED.items():
        for at in getattr(own, grid):
            steps = max(1, round(own.law_steps * (at / getattr(own, field)) ** power))
            point = {field: at, "steps": steps}
            yield (field, float(at)), replace(own, **point)


PRESETS = {
    "paper": Setting(),
    # The same training with fewer seeds and prompts: minutes become seconds, intervals wider.
    "quick": Setting(
        seeds=8,
        prompts=500,
        classical_prompts=160,
        lengths=(5, 10, 20, 40),
        lr_factors=(0.5, 1.0, 2.0),
        law_seeds=8,
        law_prompts=200,
        law_lrs=(0.1, 0.2, 0.4),
        law_alphas=(0.5, 0.71, 1.0),
        law_betas=(2.45, 3.0, 4.5),
        law_patterns=(4, 6, 12),
        law_batches=(6, 24, 96),
        law_test_alphas=(0.2, 0.45, 1.0),
        law_steps=250,
        near_delta=0.16,
        near_relevant=8,
        near_steps=600,
        near_law_steps=400,
    ),
}


def setting(preset: str = "quick", **changes: Any) -> Setting:
    """The preset with those fields changed that are not ``None``, as ``changed`` does it."""
    return changed(PRESETS, preset, changes)
