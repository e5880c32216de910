"""How many examples inference needs, against what the theorem says of their number."""

import numpy as np
import pandas as pd

from tdlab.probes import first_below
from tdlab.results import tidy

NEEDED = 0.05  # (ours) the error that examples are to bring about
_CURVE = ["varied", "at"]


def needed_lengths(errors: pd.DataFrame) -> pd.DataFrame:
    """The smallest number of examples at which the error is at most ``NEEDED``.

    ``errors`` is the table of ``chain_errors`` or ``in_context_errors``; their first output counts
    (the mean over steps of a chain, the final answer in context). Between two lengths the error is
    taken to be straight. Theory rows: the theorem's number, with one for its constant.

    Returns:
        A tidy table of ``length`` with columns ``varied``, ``of`` (the value of that), ``at``: the
        theorem's number, and ``limit``, the most examples there were. NaN where more are needed.
    """
    error = errors[(errors.quantity == "error") & (errors.source == "measured")]
    error = error[error.output == error.output.iloc[0]]
    bounds = errors[errors.quantity == "length_bound"].set_index(_CURVE).value
    tables = []
    for (varied, of), curve in error.groupby(_CURVE, sort=False):
        by_seed = curve.pivot(index=["run", "seed"], columns="length", values="value")
        lengths, values = [int(x) for x in by_seed.columns], by_seed.to_numpy(np.float64)
        where = {"varied": varied, "of": of, "at": bounds[varied, of]}
        needed = first_below(lengths, values, NEEDED)
        run, seed = zip(*by_seed.index, strict=True)
        tables.append(
            tidy(
                "length",
                needed,
                "member",
                source="measured",
                step=int(curve.step.iloc[0]),
                limit=float(lengths[-1]),
                member=range(len(seed)),
                run=("member", run),
                seed=("member", seed),
                **where,
            )
        )
        tables.append(tidy("length", float(where["at"]), "", source="theory", **where))
    return pd.concat(tables, ignore_index=True)
