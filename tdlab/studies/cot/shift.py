"""Error and attention of a chain of thought on patterns outside the span, and under noise."""

from collections.abc import Sequence

import pandas as pd

from tdlab.results import tidy
from tdlab.studies.cot.attention import along_chains
from tdlab.studies.cot.setting import Setting
from tdlab.theory import li2025
from tdlab.trajectory import Trained

# Grids (ours): from no part in the span of the trained patterns to all; up to the bound on noise.
COMPONENTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
NOISES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.7)


def shift(setting: Setting, wide: Sequence[Trained]) -> pd.DataFrame:
    """Mistakes and attention mass against the part of the patterns in the span, and against noise.

    Noise is varied on patterns in the span. Examples are few (``shift_alpha``, ``shift_length``):
    with many the error is 0 even on patterns that share nothing with the trained ones.

    Returns:
        A tidy table as of ``along_chain``, with columns ``varied`` (component, noise) and ``at``.
    """
    tasks = {("component", x): setting.shifted(x, 0.0) for x in COMPONENTS}
    tasks |= {("noise", x): setting.shifted(1.0, x) for x in NOISES}
    found = along_chains(setting, wide, list(tasks.values()))
    tables = [
        table.assign(varied=varied, at=at) for (varied, at), table in zip(tasks, found, strict=True)
    ]
    limit = [
        tidy("error", li2025.limit_error(), "", source="theory", varied=varied, at=at)
        for varied, at in tasks
        if varied == "noise" or at > 0
    ]
    return pd.concat([*tables, *limit], ignore_index=True)
