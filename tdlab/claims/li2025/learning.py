"""How long training takes, what attention learns first, and what it ends at."""

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_least, fitted, within
from tdlab.claims.laws import law_of
from tdlab.claims.li2025.constants import FOCUS, REGIME, SHARED, SOURCE, TESTED
from tdlab.claims.rows import over_seeds, select
from tdlab.statistics import mean_interval
from tdlab.studies.cot import Setting
from tdlab.studies.cot.attention import MIXED
from tdlab.studies.cot.dynamics import GONE
from tdlab.studies.regimes import REGIMES
from tdlab.theory import li2025

_SYMBOLS = {"alpha": "alpha", "steps": "K", "patterns": "M", "loss": "eps"}


def _training(rates: pd.DataFrame) -> list[Finding]:
    return [
        _exponent(rates, regime, varied, *band)
        for regime in REGIMES
        for varied, band in li2025.rate_exponents().items()
    ]


def _exponent(rates: pd.DataFrame, regime: str, varied: str, low: float, high: float) -> Finding:
    law = law_of(rates, regime=regime, varied=varied)
    part = f"exponent of T in {_SYMBOLS[varied]}"
    words = f"between {low:g} and {high:g}, those of the two terms"
    # A sum of two powers is not straight on log-log axes.
    return fitted(within(part, law.exponent, low, high, words), law, straight=False)._replace(
        regime=regime
    )


training = Claim(
    id="cot.training",
    statement="Loss <= eps after T = Theta((alpha^-2 K^3 + M K (alpha^-1 + eps^-1)) / eta) steps.",
    equation=r"T = \Theta\big( \eta^{-1} \alpha^{-2} K^3 "
    r"+ \eta^{-1} M K (\alpha^{-1} + \epsilon^{-1}) \big)",
    source=SOURCE,
    rule="95 % bootstrap interval over seeds of the log-log slope of T in each number: within the "
    "band between the exponents of the two terms, which holds that of their sum",
    regime=REGIME
    + " Steps are counted at eta = {s.rate_lr:g}, to loss {s.rate_loss:g}; nearer the theorem to "
    "losses {s.near_by:g} times smaller.",
    page="cot_dynamics",
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
    equation=r"T_{position} < T_{pattern}",
    source=SOURCE,
    rule=f"95 % intervals over seeds; learned where the mass elsewhere is at most {GONE:g} (ours): "
    f"ratio of the two times above 1; mass on other patterns in between at least {SHARED:g} (ours)",
    regime=REGIME,
    page="cot_dynamics",
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
    equation=r"\sum_{i \in S_k} \mathrm{attn}_i \to 1 \text{ at every step } k",
    source=SOURCE,
    rule=f"95 % interval over seeds of the mass, by kind of prompt: at least {FOCUS:g} (ours); "
    f"out of domain {MIXED:g} of a pattern's norm lies in the trained span (ours)",
    regime=REGIME + TESTED,
    page="cot_dynamics",
    needs=("setting", "dynamics", "attention"),
    judge=_attention,
)
