"""Planted rows, one a seed, and the worlds that they make: where a claim holds, and where not.

Noise over seeds has mean 0 and standard deviation 1, so that the interval of a planted number x
with spread s is x +- t_7 s / sqrt(8) = x +- 0.836 s, and no verdict is left to chance.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE, Claim
from tdlab.results import COLUMNS

SEEDS = range(3, 11)
A, D, U = AGREES, DISAGREES, INCONCLUSIVE

Rows = list[dict[str, Any]]


@cache
def standard(key: int) -> np.ndarray:
    """One number a seed, of mean 0 and standard deviation 1; different for each key."""
    noise = np.random.default_rng(key).normal(size=len(SEEDS))
    return (noise - noise.mean()) / noise.std(ddof=1)


NOISE, OTHER, COMMON = standard(0), standard(1), standard(2)


# Tables.


def rows(
    quantity: str, values: Any, source: str = "measured", member: bool = True, **where: Any
) -> Rows:
    """One row a seed; each value is one for all of them, or an array with one for each."""
    each = np.broadcast_to(np.asarray(values, dtype=np.float64), len(SEEDS))
    shared = {"quantity": quantity, "source": source, **where}
    arrays = {name: at for name, at in shared.items() if isinstance(at, np.ndarray)}
    found = []
    for place, (seed, value) in enumerate(zip(SEEDS, each, strict=True)):
        row = {"run": f"run {seed}", "seed": seed, "value": float(value), **shared}
        row |= {name: at[place] for name, at in arrays.items()}
        found.append({"member": place, **row} if member else row)
    return found


def theory(quantity: str, value: float, **where: Any) -> Rows:
    return [{"quantity": quantity, "source": "theory", "value": value, **where}]


def frame(*parts: Rows) -> pd.DataFrame:
    table = pd.DataFrame([row for part in parts for row in part])
    others = [name for name in table.columns if name not in COLUMNS]
    return table.reindex(columns=[*COLUMNS, *others]).astype(COLUMNS)


def without(table: pd.DataFrame, **lacking: Any) -> pd.DataFrame:
    """The rows that have none of these values."""
    for name, gone in lacking.items():
        table = table[(table[name] != gone).fillna(True)]
    return table


# Worlds.


class Worlds(NamedTuple):
    """What builds the tables of one paper's claims, and the setting that they are about."""

    tables: Mapping[str, Callable[..., pd.DataFrame]]
    setting: Any = None

    def measured(self, claim: Claim, **world: Any) -> SimpleNamespace:
        """The tables that a claim needs, in a world that differs from the claim's as said."""
        tables = {name: self.tables[name](**world) for name in claim.needs if name != "setting"}
        return SimpleNamespace(setting=self.setting, **tables)

    def verdicts(self, claim: Claim, **world: Any) -> list[str]:
        return [finding.verdict for finding in claim.findings(self.measured(claim, **world))]


def each_of(claims: Sequence[Claim]) -> pytest.MarkDecorator:
    """Runs a test on every one of these claims."""
    return pytest.mark.parametrize("claim", claims, ids=lambda claim: claim.id)
