"""How long training takes, what attention learns first, and what it ends at."""

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_least, near
from tdlab.claims.li2025.constants import FOCUS, SHARED, SOURCE
from tdlab.claims.rows import over_seeds, select
from tdlab.statistics import mean_interval, power_law
from tdlab.studies.cot import Setting
from tdlab.studies.cot.attention import MIXED
from tdlab.studies.cot.dynamics import GONE
from tdlab.theory import li2025


def _training(rates: pd.DataFrame) -> list[Finding]:
    symbols = {"alpha": "alpha", "steps": "K", "patterns": "M", "loss": "eps"}
    found = []
    for varied, (low, high) in li2025.rate_exponents().items():
        rows = select(rates, varied=varied, source="measured")
        times = rows.pivot(index="seed", columns="at", values="value")
        if times.isna().to_numpy().any():
            at = ", ".join(f"{x:g}" for x in times.columns[times.isna().any()])
            raise ArithmeticError(
                f"the loss was not reached within rate_steps at {symbols[varied]} = {at}"
            )
        x = times.columns.to_numpy(dtype=np.float64)
        exponent = power_law(x, times.to_numpy(dtype=np.float64))
        part = f"exponent of T in {symbols[varied]}"
        words = f"between {low:g} and {high:g}, those of the two terms"
        found.append(near(part, exponent, (low + high) / 2, (high - low) / 2, words))
    return found


training = Claim(
    id="cot.training",
    statement="Loss <= eps after T = Theta((alpha^-2 K^3 + M K (alpha^-1 + eps^-1)) / eta) steps.",
    source=SOURCE,
    rule="95 % interval over seeds of the log-log slope of T in each number: within the band "
    "between the exponents of the two terms",
    needs=("rates",),
    judge=_training,
)


def _two_phases(phases: pd.DataFrame) -> list[Finding]:
    times = select(phases, quantity="time", source="measured").pivot(
        index="seed", columns="phase", values="value"
    )
    if times.isna().to_numpy().any():
        never = ", ".join(times.columns[times.isna().any()])
        raise ArithmeticError(f"training ended before these phases did: {never}")
    ratio = (times["pattern"] / times["position"]).to_numpy(dtype=np.float64)
    return [
        above(
            "steps until the pattern is learned, over steps until the position is",
            mean_interval(ratio),
            1.0,
            "> 1: position first",
        ),
        at_least(
            "mass on other patterns of the query's step when position is learned",
            over_seeds(phases, quantity="shared"),
            SHARED,
            f"both patterns still share the step, here >= {SHARED:g}",
        ),
    ]


two_phases = Claim(
    id="cot.two_phases",
    statement="Attention learns the position first, and then the pattern.",
    source=SOURCE,
    rule=f"95 % intervals over seeds; learned where the mass elsewhere is at most {GONE:g} (ours): "
    f"ratio of the two times above 1; mass on other patterns in between at least {SHARED:g} (ours)",
    needs=("phases",),
    judge=_two_phases,
)


def _attention(setting: Setting, dynamics: pd.DataFrame, attention: pd.DataFrame) -> list[Finding]:
    right = {"quantity": "mass", "place": "same step, same pattern"}
    words = f"towards 1, here >= {FOCUS:g}"
    trained = over_seeds(dynamics, step=setting.steps, alpha=setting.alpha, **right)
    found = [at_least(f"training prompts (alpha = {setting.alpha:g})", trained, FOCUS, words)]
    for kind in ("clean", "noisy", "out of domain"):
        rows = select(attention, prompts=kind, source="measured", **right)
        worst = int(rows.groupby("output").value.mean().idxmin())
        part = f"{kind} test prompts, the worst step of the chain ({worst})"
        found.append(at_least(part, over_seeds(rows, output=worst), FOCUS, words))
    return found


attention = Claim(
    id="cot.attention",
    statement="At every step attention concentrates on columns with the query's step and pattern.",
    source=SOURCE,
    rule=f"95 % interval over seeds of the mass, by kind of prompt: at least {FOCUS:g} (ours); "
    f"out of domain {MIXED:g} of a pattern's norm lies in the trained span (ours)",
    needs=("setting", "dynamics", "attention"),
    judge=_attention,
)
