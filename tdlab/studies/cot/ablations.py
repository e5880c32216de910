"""What changes when other matrices are trained: W_V too, or W_Q and W_K in place of W."""

from collections.abc import Mapping, Sequence

import pandas as pd

from tdlab.models import FactoredOneHead
from tdlab.run import Run
from tdlab.studies.cot.dynamics import over_training
from tdlab.studies.cot.setting import Setting
from tdlab.trajectory import Trained


def ablation_runs(setting: Setting) -> dict[str, list[Run]]:
    """The runs to compare, by what is trained; the first are the setting's own."""
    apart = FactoredOneHead(width=setting.width, delta=setting.delta)
    return {
        "W": setting.runs(),
        "W and W_V": setting.runs(trained=("W", "W_V")),
        "W_Q and W_K": setting.runs(model=apart),
    }


def ablations(setting: Setting, results: Mapping[str, Sequence[Trained]]) -> pd.DataFrame:
    """Squared loss and attention mass at every snapshot, on prompts like those of training.

    Returns:
        A tidy table as of ``over_training``, with column ``trained`` (a key of ``ablation_runs``).
    """
    tables = [
        over_training(setting, each, [setting.alpha]).assign(trained=trained)
        for trained, each in results.items()
    ]
    return pd.concat(tables, ignore_index=True)
