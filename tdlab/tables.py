"""What a sweep has trained as one tidy table, the configuration of its runs in columns."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tdlab.records import configuration
from tdlab.results import COLUMNS
from tdlab.run import Run
from tdlab.store import Disk, Store


def losses(runs: Sequence[Run], store: Store | None = None) -> pd.DataFrame:
    """The losses of these runs, each as far as it was asked for and has come.

    A run of which there is nothing is left out. ``store`` is the user's on disk unless given.

    Returns:
        Columns ``run, seed, step, quantity, source, value``; ``ending``, which is ``"finished"``,
        ``"diverged"``, ``"observed"`` or ``"unfinished"``; then every field of a run by its dotted
        name, such as ``task.alpha``, for a value the name of its class.

    Raises:
        Damaged: for a run that is not as it was written.
    """
    store = Disk() if store is None else store
    about: list[dict[str, object]] = []
    values: list[np.ndarray] = []
    for run in runs:
        standing = store.standing(run)
        if standing is None:
            continue
        ending = standing.ending(run)
        values.append(store.losses(run)[: ending.losses].double().numpy())
        fields = configuration.columns(configuration.encoded(run))
        about.append({"run": run.id, "ending": ending.reason, **fields})
    lengths = [len(each) for each in values]
    # Text as categories: a column of millions of rows has few different ones.
    table = pd.DataFrame(about).convert_dtypes()
    text = table.select_dtypes("string").columns
    table = table.astype(dict.fromkeys(text, "category"))
    table = table.loc[np.repeat(np.arange(len(about)), lengths)].reset_index(drop=True)
    table["step"] = np.concatenate([np.arange(0), *map(np.arange, lengths)])
    table["value"] = np.concatenate([np.zeros(0), *values])
    table["quantity"], table["source"] = "loss", "measured"
    others = [name for name in table if name not in COLUMNS]
    return table.reindex(columns=[*COLUMNS, *others]).astype(COLUMNS)


def contents(table: pd.DataFrame) -> pd.DataFrame:
    """What a tidy table holds: a row for each quantity and source.

    Returns:
        Columns ``rows``, ``missing``, ``least``, ``median`` and ``most`` of the values, and for
        every axis of the table how many different places it has there.
    """
    axes = [name for name in table if name not in {"quantity", "source", "value"}]
    groups = table.groupby(["quantity", "source"], sort=False, observed=True)
    value = groups.value
    found = {"rows": groups.size(), "missing": groups.size() - value.count()}
    found |= {"least": value.min(), "median": value.median(), "most": value.max()}
    return pd.DataFrame(found).join(groups[axes].nunique())
