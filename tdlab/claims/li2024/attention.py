"""Where attention goes."""

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_least, near
from tdlab.claims.li2024.constants import CLOSE, FOCUS, REGIME, SOURCE
from tdlab.claims.rows import over_seeds, select
from tdlab.statistics import Interval, slope_interval
from tdlab.studies.icl import Setting
from tdlab.studies.icl.shift import MIXED
from tdlab.theory import li2024


def _attention(
    setting: Setting, dynamics: pd.DataFrame, shift: pd.DataFrame, step_sizes: pd.DataFrame
) -> list[Finding]:
    unseen = select(dynamics, tasks="unseen", quantity="concentration")
    beyond = select(
        shift, quantity="concentration", pairing="drawn", pair="any", coefficient_sum=MIXED
    )
    start = li2024.initial_concentration(setting.alpha, setting.delta, setting.beta, setting.length)
    return [
        near(
            "concentration before training",
            over_seeds(unseen, step=0),
            start,
            CLOSE,
            f"{start:.4f}, the binomial expectation",
        ),
        at_least(
            "final concentration, unseen tasks in domain",
            over_seeds(unseen, step=setting.steps),
            FOCUS,
            f"1 - eta^C, here >= {FOCUS:g}",
        ),
        at_least(
            f"final concentration, out of domain (S_1 = {MIXED:g})",
            over_seeds(beyond),
            FOCUS,
            f"1 - eta^C, here >= {FOCUS:g}",
        ),
        above(
            "exponent C of the gap 1 - concentration against eta, at fixed eta T",
            _exponent(step_sizes),
            0.0,
            "> 0",
        ),
    ]


attention = Claim(
    id="icl.attention",
    statement="Attention concentrates on examples that share the query's pattern: 1 - eta^C.",
    equation=r"\sum_{i:\, \mu_i = \mu_{query}} \mathrm{attn}_i \ge 1 - \eta^C",
    source=SOURCE,
    rule=f"95 % intervals over seeds: before training within {CLOSE:g} of the closed form (ours); "
    f"after it, at least {FOCUS:g} (ours) in and out of domain; exponent of the gap in eta above 0",
    regime=REGIME,
    page="icl_dynamics",
    needs=("setting", "dynamics", "shift", "step_sizes"),
    judge=_attention,
)


def _exponent(step_sizes: pd.DataFrame) -> Interval:
    step_sizes = select(step_sizes, quantity="concentration_gap")
    gap = step_sizes.pivot(index="seed", columns="lr", values="value").dropna()
    x = np.log(gap.columns.to_numpy(dtype=np.float64))
    return slope_interval(x, np.log(gap.to_numpy(dtype=np.float64)))
