"""How a rule reads a tidy table: which rows, what of each seed, with which interval."""

import numpy as np
import pandas as pd

from tdlab.statistics import Interval, mean_interval


def select(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows where every named column has the given value; ``ValueError`` if there are none."""
    for name, wanted in where.items():
        match = (
            np.isclose(table[name], wanted) if isinstance(wanted, float) else table[name] == wanted
        )
        table = table[match]
    if table.empty:
        raise ValueError(f"the table has no rows with {where}")
    return table


def by_seed(table: pd.DataFrame, **where: object) -> pd.Series:
    """The mean of the selected measured rows for each seed."""
    return select(table, source="measured", **where).groupby("seed").value.mean()


def over_seeds(table: pd.DataFrame, **where: object) -> Interval:
    """The mean over seeds of the selected measured rows, with its interval."""
    return mean_interval(by_seed(table, **where).to_numpy(dtype=np.float64))


def paired(one: pd.Series, other: pd.Series) -> Interval:
    """The interval of the difference over the seeds that have both."""
    difference = (one - other).dropna()
    return mean_interval(difference.to_numpy(dtype=np.float64))
