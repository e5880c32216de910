"""Power laws beside each other: how a number grows along each of several others, as ratios."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from tdlab.figures.small.panel import DASHED, banded, quantiles
from tdlab.figures.style import COLOURS, plain, select

REGIMES = {"ours": "our setting", "nearer the theorem": "nearer the theorem"}
_GAP = 1.7  # between two laws, a factor on the logarithmic axis that they share


def laws(ax: Axes, table: pd.DataFrame, along: str, names: Mapping[str, str]) -> None:
    """For each value of ``along`` the law in ``at``, over what it is where it starts.

    Solid: the median over seeds, by regime; dashed: the theory's laws in the first regime. A ratio
    is as long on one stretch of the x axis as on another, so that slopes compare.
    """
    left, middles = 1.0, {}
    for value, name in names.items():
        rows = table[table[along] == value].sort_values("at")
        for regime in REGIMES:
            _measured(ax, select(rows, regime=regime), left, regime)
        _predicted(ax, select(rows, "theory", regime="ours"), left)
        ratio = float(rows.groupby("regime")["at"].agg(lambda at: at.max() / at.min()).max())
        middles[left * ratio**0.5] = rf"{name} $\times$ {ratio:.2g}"
        left *= ratio * _GAP
    ax.set(xscale="log", yscale="log")
    ax.set_xticks([*middles], [*middles.values()])
    ax.tick_params(axis="x", length=0)
    ax.xaxis.set_minor_locator(NullLocator())
    plain(ax.yaxis)


def _measured(ax: Axes, rows: pd.DataFrame, left: float, regime: str) -> None:
    its = quantiles(rows, "at")
    x = left * np.asarray(its.index) / rows["at"].min()
    shown = ax.get_legend_handles_labels()[1]
    label = "" if REGIMES[regime] in shown else REGIMES[regime]
    for start in its["median"].dropna().head(1):  # none, if none was reached
        banded(ax, x, its / start, COLOURS[regime], label)


def _predicted(ax: Axes, rows: pd.DataFrame, left: float) -> None:
    rows = rows.assign(exponent=rows.exponent if "exponent" in rows else 0.0)
    for _, law in rows.groupby("exponent"):
        x, y = law["at"].to_numpy(), law.value.to_numpy()
        ax.plot(left * x / x[0], y / y[0], **DASHED)
