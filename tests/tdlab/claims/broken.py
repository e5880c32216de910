"""What broken worlds are made of: trainings that go wrong, tables changed in one thing, other laws.

A measurement takes a training for the one that it asks for, so that a study measures a broken world
as it would any other, with its own prompts and probes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from synthetic_tasks import Batch, InContextClassification
from synthetic_tasks.threefry import stream
from synthetic_tasks.value import value
from tdlab.models import stacked
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.store import Memory
from tdlab.studies import cot, icl
from tdlab.studies.icl.rates import predicted
from tdlab.studies.regimes import REGIMES
from tdlab.sweep import trained
from tdlab.theory import li2025
from tdlab.trajectory import Ending, Trained, asked

# Settings that are quick to train, and large enough for the claims to agree where nothing is wrong.
ICL = icl.setting(
    "paper",
    seeds=8,
    irrelevant=10,
    neurons=48,
    length=16,
    batch=60,
    beta=4.0,
    lr=0.25,
    steps=50,
    snapshots=2,
    prompts=300,
    classical_prompts=320,
    lengths=(6,),
    law_seeds=2,  # laws are planted, and the grids of many runs take long to check
)
COT = cot.setting(
    "paper",
    seeds=8,
    width=16,
    wide=20,
    patterns=8,
    test_patterns=4,
    steps=100,
    lr=48.0,
    snapshots=20,
    prompts=100,
    lengths=(5, 120),
    noise=0.05,
    tau=0.6,
    tau_o=0.6,
    taus=(0.6, 0.7),
    rho=0.7,
    rho_o=0.7,
    rhos=(0.5, 0.7),
    test_alphas=(0.5, 0.8),
    shift_alpha=0.3,
    shift_length=40,
    rate_patterns=(4, 5, 6, 8, 10),
)


# Trainings.


@value
class ShuffledLabels(InContextClassification):
    """The same prompts, each with the context labels of another one."""

    def draw(self, world, uniforms) -> Batch:
        batch = InContextClassification.draw(self, world, uniforms)
        x, y = batch.prompt[..., : self.width], batch.prompt[..., self.width :]
        return batch._replace(prompt=torch.cat([x, y.roll(1, dims=0)], dim=-1))


def on(task: type[Any], runs: Sequence[Run]) -> list[Run]:
    """The same runs on a task with the same numbers."""
    return [replace(run, task=task(**vars(run.task))) for run in runs]


def taken_for(wanted: Sequence[Run], runs: Sequence[Run]) -> list[Trained]:
    """What comes of ``runs``, as if of the wanted ones."""
    results = trained(runs, store=Memory())
    return [replace(result, run=run) for result, run in zip(results, wanted, strict=True)]


def untrained(run: Run) -> Trained:
    """A run that is at its start whenever it is asked."""
    start = run.model.init(stream(run.seed, "init"))
    return Trained(
        run=run,
        steps=asked(run),
        params=stacked({k: v.to(run.torch_dtype) for k, v in start.items()} for _ in asked(run)),
        loss=torch.ones(run.steps),
        observed={},
        ending=Ending(run.steps, "finished"),
    )


# Tables.


class But:
    """The same measurements with other tables of these names."""

    def __init__(self, measurements: Any, **tables: pd.DataFrame) -> None:
        self._measurements = measurements
        vars(self).update(tables)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._measurements, name)  # measured there, once for all


def named(table: pd.DataFrame, column: str, names: Mapping[Any, Any]) -> pd.DataFrame:
    """The table with other names in a column: what was measured of one is given out for another."""
    return table.assign(**{column: table[column].replace(dict(names))})


def given_out(table: pd.DataFrame, column: str, one: Any, other: Any) -> pd.DataFrame:
    """The table in which what was measured of ``one`` is given out for ``other`` as well."""
    kept = table[table[column] != other]
    return pd.concat([kept, named(table[table[column] == one], column, {one: other})])


# Laws.

LAW_SEEDS = 16
FAR = 0.3  # by how much an exponent is planted beyond what is predicted, or beyond a limit of it


def law(
    quantity: str,
    x: Sequence[float] | np.ndarray,
    mean: Sequence[float] | np.ndarray,
    chance: np.random.Generator,
    seen: float = 0.8,
    **where: Any,
) -> pd.DataFrame:
    """Values about the mean at each x, of which the largest fifth is beyond what could be seen.

    Seeds differ by a twentieth, and the values of one by some percent more.
    """
    own, each = chance.normal(size=(LAW_SEEDS, 1)), chance.normal(size=(LAW_SEEDS, len(x)))
    values = np.asarray(mean) * np.exp(0.05 * own + 0.02 * each)
    limit = float(np.quantile(values, seen))
    values[values > limit] = np.nan
    seeds = range(LAW_SEEDS)
    whose: dict[str, Any] = {"seed": seeds, "run": ("seed", [f"run {seed}" for seed in seeds])}
    where |= {"at": np.array(x, dtype=float), "limit": limit, **whose}
    return tidy(quantity, values, "seed at", source="measured", **where)


def laws_in_context(other: bool) -> dict[str, pd.DataFrame]:
    """The laws of training in context, each with the predicted exponent or with another one.

    Where no more than a limit is predicted, that is one within it or one beyond it.
    """
    chance, off, beyond = np.random.default_rng(0), FAR * other, FAR * (1 if other else -1)
    times, lengths, risks = [], [], []
    for (regime, varied), steps in predicted_steps().items():
        mean = np.array([*steps.values()]) * np.array([*steps]) ** off
        times.append(law("time", [*steps], mean, chance, regime=regime, varied=varied))
    for regime in REGIMES:
        inverse = 1 / np.array(ICL.law_test_alphas)
        for risk in ("hinge", "zero_one"):
            mean = 4 * inverse ** (1 + beyond)
            lengths.append(law("length", inverse, mean, chance, regime=regime, risk=risk))
        # Every risk can be seen: that of the largest batch is small, that of the smallest is not.
        batch = np.array(ICL.law_batches)
        mean = 0.04 * (batch / batch.max()) ** (beyond - 0.5)
        risks.append(law("hinge", batch, mean, chance, seen=1.0, regime=regime))
    tables = {"rates": times, "test_lengths": lengths, "batches": risks}
    return {name: pd.concat(parts) for name, parts in tables.items()}


@cache
def predicted_steps() -> dict[tuple[str, str], dict[float, float]]:
    """The theorem's number of steps at each point, by regime and what is varied."""
    steps: dict[tuple[str, str], dict[float, float]] = {}
    for regime, points in ICL.regime_points.items():
        for (varied, at), its in points.items():
            steps.setdefault((regime, varied), {})[at] = predicted(its)
    return steps


def laws_of_chains(other: bool) -> dict[str, pd.DataFrame]:
    """The laws of chains of thought, each exponent amid its range, or beyond the upper end."""
    chance, beyond = np.random.default_rng(1), FAR * (1 if other else -1)
    grids: dict[str, Sequence[float]] = {"alpha": COT.rate_alphas, "steps": COT.rate_chains}
    grids |= {"patterns": COT.rate_patterns, "loss": COT.rate_losses}
    times = []
    for regime, (varied, (low, high)) in product(REGIMES, li2025.rate_exponents().items()):
        x = np.array(grids[varied])
        mean = 60 * x ** (high + FAR if other else (low + high) / 2)
        times.append(law("time", x, mean, chance, regime=regime, varied=varied))
    values = (0.4, 0.5, 0.6, 0.7, 0.8)  # of one of the three numbers, where the others stay
    needed = [li2025.bound_test_length(0.8, x, 0.8) for x in values]
    mean = 3 * np.array(needed) ** (1 + beyond)
    lengths = [
        law("length", needed, mean, chance, varied=varied, of=("at", values))
        for varied in ("alpha", "tau", "rho")
    ]
    of_lengths = pd.concat(lengths)
    return {
        "rates": pd.concat(times),
        "chain_lengths": of_lengths,
        "in_context_lengths": of_lengths,
    }
