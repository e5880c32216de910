"""The presets of the chain-of-thought study, and the runs and test prompts that they ask for."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

from synthetic_tasks import NoisyReasoning, Reasoning, Transitions
from synthetic_tasks.transitions import common_shift, noiseless, wanted, wanted_outcome
from synthetic_tasks.value import require_between, require_count, value
from tdlab.models import OneHead
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.schedule import LogSpaced
from tdlab.studies.regimes import NEARER, OURS
from tdlab.studies.setting import changed, require_points, shown

ENOUGH = 8  # (ours) the constant in l >= Omega(1 / alpha), where alpha is varied
_GRIDS = ("lengths", "test_alphas", "taus", "rhos")
_LAWS = ("rate_alphas", "rate_chains", "rate_patterns", "rate_losses")


@value
class Setting:
    """What a study trains, and on which prompts it measures.

    Dimensions, alpha, tau and rho are those of Li et al. (ICLR 2025); what they leave open and we
    chose is marked (ours).

    Raises:
        ValueError: for numbers out of range, and for noise that no matrices have.
    """

    seeds: int = 16
    first_seed: int = 0
    steps: int = 2000  # (ours)
    lr: float = 1.0  # eta (ours)
    width: int = 30  # d_X
    patterns: int = 20  # M
    chain: int = 3  # K
    length: int = 20  # l (ours)
    alpha: float = 0.4
    xi: float = 1e-3  # (ours)
    delta: float = 0.2  # of W_Q and W_K where these are trained (ours)
    snapshots: int = 40  # (ours)
    prompts: int = 1500  # a point and a seed (ours)
    test_patterns: int = 10  # M'
    test_alpha: float = 0.8  # alpha'
    tau: float = 0.5
    rho: float = 0.8
    tau_o: float = 0.5
    rho_o: float = 0.6
    failing: float = 0.65  # p, correct at each step where Condition 1 is to fail (ours)
    noise: float = 0.2
    lengths: tuple[int, ...] = (5, 10, 15, 20, 30, 40, 50, 60, 80, 100)  # of test prompts
    # What the errors are measured against (ours); the preset's own tau and rho apply elsewhere.
    test_alphas: tuple[float, ...] = (0.4, 0.6, 0.8)
    taus: tuple[float, ...] = (0.4, 0.5, 0.7)
    rhos: tuple[float, ...] = (0.4, 0.6, 0.8)
    wide: int = 40  # d_X where test patterns leave the span: it takes M + K + M' (ours)
    shift_alpha: float = 0.2  # alpha' of the shifts: at 0.8 there is no error to be seen (ours)
    shift_length: int = 20  # (ours)
    rate_lr: float = 4.0  # eta where steps to a fixed loss are counted (ours)
    rate_steps: int = 400  # (ours)
    rate_seeds: int = 16  # (ours)
    # What steps are counted against (ours): alpha, K, M, and the loss; else the last is rate_loss.
    rate_alphas: tuple[float, ...] = (0.2, 0.28, 0.4, 0.56, 0.8)
    rate_chains: tuple[int, ...] = (2, 3, 4, 5, 6)
    rate_patterns: tuple[int, ...] = (9, 12, 15, 20, 26)
    rate_losses: tuple[float, ...] = (0.1, 0.05, 0.03, 0.02, 0.01)
    rate_loss: float = 0.02
    near_by: float = 2.0  # how many times smaller these losses are nearer the theorem (ours)

    def __post_init__(self) -> None:
        require_count("seeds", self.seeds, 2)  # one seed has no interval
        require_count("prompts", self.prompts, 1)
        require_count("rate_steps", self.rate_steps, 20)
        require_count("rate_seeds", self.rate_seeds, 2)
        require_between("near_by", self.near_by, 1, math.inf)
        require_between("lr", self.lr, 0, math.inf, above=True)
        require_between("delta", self.delta, 0, math.inf, above=True)
        require_between("rate_lr", self.rate_lr, 0, math.inf, above=True)
        for length in self.lengths:
            require_count("lengths", length, 1)
        for loss in (*self.rate_losses, self.rate_loss):
            require_between("rate_losses", loss, 0, math.inf, above=True)
        for name in _GRIDS:
            values = getattr(self, name)
            if len(set(values)) < max(2, len(values)):
                raise ValueError(f"{name} is {values}, but must be different values, at least two")
        for name in _LAWS:
            require_points(name, getattr(self, name))
        # Refuses what these refuse.
        _ = self.runs(), self.runs(self.wide_task), self.shifted(0.5, 0.0), self.rate_tasks
        _ = self.chain_grids, self.outcome_grids, self.failing_noise

    def _repr_html_(self) -> str:
        return shown(self)

    @property
    def task(self) -> Reasoning:
        """The training task."""
        return Reasoning(
            width=self.width,
            patterns=self.patterns,
            steps=self.chain,
            length=self.length,
            alpha=self.alpha,
        )

    @property
    def wide_task(self) -> Reasoning:
        """The training task with room for test patterns outside the span of the trained ones."""
        return replace(self.task, width=self.wide)

    @property
    def chain_noise(self) -> Transitions:
        """Wrong steps with the tau and rho of the chain."""
        return wanted(self.chain, self.test_patterns, tau=self.tau, rho=self.rho)

    @property
    def chain_grids(self) -> dict[str, dict[float, NoisyReasoning]]:
        """Test prompts of the chain by what is varied (alpha, tau, rho) and its value."""
        noise = partial(wanted, self.chain, self.test_patterns)
        return {
            "alpha": {x: self.test(self.chain_noise, alpha=x) for x in self.test_alphas},
            "tau": {x: self.test(noise(tau=x, rho=self.rho)) for x in self.taus},
            "rho": {x: self.test(noise(tau=self.tau, rho=x)) for x in self.rhos},
        }

    @property
    def outcome_grids(self) -> dict[str, dict[float, NoisyReasoning]]:
        """Test prompts in context by what is varied (alpha, tau_o, rho_o) and its value."""
        noise = partial(wanted_outcome, self.chain, self.test_patterns)
        base = noise(tau_o=self.tau_o, rho_o=self.rho_o)
        return {
            "alpha": {x: self.test(base, alpha=x) for x in self.test_alphas},
            "tau_o": {x: self.test(noise(tau_o=x, rho_o=self.rho_o)) for x in self.taus},
            "rho_o": {x: self.test(noise(tau_o=self.tau_o, rho_o=x)) for x in self.rhos},
        }

    @property
    def failing_noise(self) -> Transitions:
        """Wrong steps under which Condition 1 fails."""
        made = common_shift(self.chain, self.test_patterns, correct=self.failing)
        if made.condition_1:
            raise ValueError(
                f"failing is {self.failing}, but Condition 1 fails only below K / (K + 1) = "
                f"{self.chain / (self.chain + 1):.4g}, with K of at least 2 and below M'"
            )
        return made

    @property
    def rate_tasks(self) -> dict[tuple[str, float], Reasoning]:
        """Training tasks by what is varied (alpha, steps, patterns, loss) and its value."""
        longer = replace(self.task, length=math.ceil(ENOUGH / min(self.rate_alphas)))
        tasks: dict[tuple[str, float], Reasoning] = {}
        tasks |= {("alpha", x): replace(longer, alpha=x) for x in self.rate_alphas}
        tasks |= {("steps", x): replace(self.task, steps=x) for x in self.rate_chains}
        tasks |= {("patterns", x): replace(self.task, patterns=x) for x in self.rate_patterns}
        return {**tasks, ("loss", self.rate_loss): self.task}

    @property
    def regime_losses(self) -> dict[str, tuple[float, tuple[float, ...]]]:
        """By regime the loss that is to be reached, and those that are varied (smaller nearer)."""
        near = tuple(loss / self.near_by for loss in self.rate_losses)
        return {
            OURS: (self.rate_loss, self.rate_losses),
            NEARER: (self.rate_loss / self.near_by, near),
        }

    def test(self, transitions: Transitions, **changes: Any) -> NoisyReasoning:
        """Test prompts of the longest length, with these wrong steps; ``changes`` are fields."""
        task = NoisyReasoning(
            trained=self.task,
            transitions=transitions,
            length=max(self.lengths),
            alpha=self.test_alpha,
            noise=self.noise,
        )
        return replace(task, **changes)

    def shifted(self, component: float, noise: float) -> NoisyReasoning:
        """Test prompts without wrong steps whose patterns leave the span of the trained ones."""
        return self.test(
            noiseless(self.chain, self.test_patterns),
            trained=self.wide_task,
            component=component,
            noise=noise,
            alpha=self.shift_alpha,
            length=self.shift_length,
        )

    def runs(self, task: Reasoning | None = None, **changes: Any) -> list[Run]:
        """One run a seed, on the setting's task or on another; ``changes`` are fields of a run."""
        task = task or self.task
        run = Run(
            task=task,
            model=OneHead(width=task.width, xi=self.xi),
            loss="squared",
            optimiser=SGD(lr=self.lr),
            batch=task.balance,
            steps=self.steps,
            snapshots=LogSpaced(count=self.snapshots),
        )
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        return [replace(run, seed=seed, **changes) for seed in seeds]


PRESETS = {
    "paper": Setting(),
    # The same eta T in larger steps, fewer seeds and prompts: minutes become seconds.
    "quick": Setting(
        seeds=8,
        steps=500,
        lr=4.0,
        prompts=200,
        lengths=(5, 10, 20, 40, 70, 100),
        rate_lr=8.0,
        rate_steps=220,
        rate_seeds=8,
        rate_alphas=(0.4, 0.56, 0.8),
        rate_chains=(2, 3, 4),
        rate_patterns=(9, 15, 26),
        rate_losses=(0.1, 0.03, 0.01),
    ),
}


def setting(preset: str = "quick", **changes: Any) -> Setting:
    """The preset with those fields changed that are not ``None``, as ``changed`` does it."""
    return changed(PRESETS, preset, changes)
