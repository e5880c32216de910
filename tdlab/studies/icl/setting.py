"""The presets of the in-context-learning study, and the runs that they ask for."""

import math
from dataclasses import replace
from typing import Any

from synthetic_tasks import InContextClassification
from synthetic_tasks.value import require_between, require_count, value
from tdlab.models import OneLayer
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.schedule import LogSpaced
from tdlab.studies.setting import changed, shown


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

    def __post_init__(self) -> None:
        require_count("seeds", self.seeds, 2)  # one seed has no interval
        require_count("prompts", self.prompts, 1)
        require_count("classical_prompts", self.classical_prompts, self.seeds)
        require_between("lr", self.lr, 0, math.inf, above=True)
        for length in self.lengths:
            require_count("lengths", length, 1)
        _ = self.task, self.model, self.runs()  # refuses what they refuse

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

    def runs(self, task: InContextClassification | None = None) -> list[Run]:
        """One run a seed, on the setting's task or on another of the same shape."""
        run = Run(
            task=task or self.task,
            model=self.model,
            optimiser=SGD(lr=self.lr),
            batch=self.batch,
            steps=self.steps,
            snapshots=LogSpaced(count=self.snapshots),
        )
        return [
            replace(run, seed=seed) for seed in range(self.first_seed, self.first_seed + self.seeds)
        ]


PRESETS = {
    "paper": Setting(),
    # The same training with fewer seeds and prompts: minutes become seconds, intervals wider.
    "quick": Setting(
        seeds=8,
        prompts=500,
        classical_prompts=160,
        lengths=(5, 10, 20, 40),
        lr_factors=(0.5, 1.0, 2.0),
    ),
}


def setting(preset: str = "quick", **changes: Any) -> Setting:
    """The preset with those fields changed that are not ``None``, as ``changed`` does it."""
    return changed(PRESETS, preset, changes)
