"""How a rule reads a scaling law: the values of each seed at each point, and where they end."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from tdlab.claims.claim import Finding, fitted
from tdlab.claims.rows import select
from tdlab.statistics import Interval, PowerLaw, power_law


def law_of(
    table: pd.DataFrame, x: str = "at", points: Sequence[str] = (), **where: object
) -> PowerLaw:
    """The power law of the selected measured rows along the column ``x``.

    ``points`` are the columns that tell the points apart, where these are not one for each x. A
    value that is missing is beyond the ``limit`` of its row. Seeds that lack a point altogether,
    because a run diverged, are left out.

    Returns:
        The law, with its exponent's interval over seeds.

    Raises:
        ArithmeticError: where too few points were reached for there to be a law, or one at once.
    """
    rows = select(table, source="measured", **where)
    rows = rows.assign(there=True, limit=rows.limit if "limit" in rows else math.inf)
    wide = rows.pivot(index="seed", columns=[*points, x], values=["value", "there", "limit"])
    whole = wide[wide["there"].notna().all(axis=1)]
    values, limit = whole["value"], wide["limit"].astype(np.float64).max().to_numpy()
    if (values <= 0).any(axis=None):
        raise ArithmeticError("a value was reached at once, which has no place in a law")
    at = values.columns.get_level_values(x).to_numpy(np.float64)
    return power_law(at, values.to_numpy(np.float64), limit)


def bounded(rule: Callable[[Interval], Finding], law: Callable[[], PowerLaw]) -> Finding:
    """What a one-sided rule says of a law's exponent; nothing where too few points were reached.

    Returns:
        The finding, with a note about the law, or why there is none.
    """
    try:
        found = law()
    except ArithmeticError as error:
        return rule(Interval(math.nan, -math.inf, math.inf))._replace(note=str(error))
    return fitted(rule(found.exponent), found, straight=False)


def exponent_of(values: np.ndarray, x: np.ndarray) -> float:
    """The exponent that a fit finds of a law without noise, which need not be a pure power."""
    v = np.log(x) - np.log(x).mean()
    return float(np.log(values) @ v / (v @ v))
