"""How long training takes, how long prompts must be, and how large batches."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from tdlab.claims.claim import AGREES, Claim, Finding, at_most, fitted, near
from tdlab.claims.laws import bounded, exponent_of, law_of
from tdlab.claims.li2024.constants import EXPONENT, HINGE, REGIME, SOURCE
from tdlab.claims.rows import by_seed, over_seeds, select
from tdlab.statistics import Interval, mean_interval
from tdlab.studies.icl import Setting
from tdlab.studies.icl.lengths import ERROR
from tdlab.studies.icl.rates import ALPHA, RISK, predicted
from tdlab.studies.regimes import REGIMES

_NEARER = (
    " Nearer the theorem: delta = {s.nearer.delta:g}, M1 = {s.nearer.relevant}, "
    "{s.nearer.steps} steps."
)
_SYMBOLS = {"lr": "eta", "alpha": "alpha", "beta": "beta", "relevant": "M1"}
_RISKS = {"hinge": f"hinge risk {RISK:g}", "zero_one": f"zero-one error {ERROR:g}"}


def _iterations(setting: Setting, rates: pd.DataFrame) -> list[Finding]:
    return [
        _exponent_of_time(points, rates, regime, varied)
        for regime, points in setting.regime_points.items()
        for varied in _SYMBOLS
    ]


def _exponent_of_time(
    points: Mapping[tuple[str, float], Setting], rates: pd.DataFrame, regime: str, varied: str
) -> Finding:
    law = law_of(rates, quantity="time", regime=regime, varied=varied)
    steps = {at: predicted(its) for (name, at), its in points.items() if name == varied}
    expected = exponent_of(np.array([*steps.values()]), np.array([*steps]))
    part = f"exponent of T in {_SYMBOLS[varied]}"
    words = f"{expected:.3g}, here within {EXPONENT:g}"
    found = near(part, law.exponent, expected, EXPONENT, words)
    return fitted(found, law)._replace(regime=regime)


iterations = Claim(
    id="icl.iterations",
    statement="Training takes T = Theta(eta^-1 M1 alpha^-2/3 beta^-2/3 sqrt(log M1)) steps.",
    equation=r"T = \Theta\big( \eta^{-1} M_1 \alpha^{-2/3} \beta^{-2/3} \sqrt{\log M_1} \big)",
    source=SOURCE,
    rule=f"steps to hinge risk {RISK:g} (ours) on unseen tasks at alpha' = {ALPHA:g}, along each "
    "number alone: 95 % bootstrap interval over seeds of the log-log slope, within "
    f"{EXPONENT:g} (ours) of the slope of the theorem's law at the same points; inconclusive where "
    "a point is off the fitted law by more than 10 % (ours)",
    regime=REGIME + _NEARER,
    page="icl_scaling",
    needs=("setting", "rates"),
    judge=_iterations,
)


def _prompt_length(test_lengths: pd.DataFrame, training_lengths: pd.DataFrame) -> list[Finding]:
    found = []
    for regime in REGIMES:
        for risk, words in _RISKS.items():
            part = f"exponent of the test length for {words}, in 1/alpha'"
            rule = partial(_in_ratio, part)
            where = {"quantity": "length", "regime": regime, "risk": risk}
            finding = bounded(rule, partial(law_of, test_lengths, **where))
            found.append(finding._replace(regime=regime))
    hinge = select(training_lengths, quantity="hinge", source="measured")
    worst = float(hinge.groupby("alpha").value.mean().idxmax())
    found.append(
        at_most(
            f"hinge risk after training with l in ratio to 1/alpha, worst at alpha = {worst:g}",
            over_seeds(hinge, alpha=worst),
            HINGE,
            f"small, here <= {HINGE:g}",
        )
    )
    return found


def _in_ratio(part: str, exponent: Interval) -> Finding:
    return at_most(part, exponent, 1.0, "<= 1: l' in ratio to 1/alpha' is enough")


prompt_length = Claim(
    id="icl.prompt_length",
    statement="Prompts of Omega(1/alpha) examples in training and 1/alpha' in testing are enough.",
    equation=r"l_{tr} \ge \Omega(1 / \alpha), \qquad l_{ts} \ge 1 / \alpha'",
    source=SOURCE,
    rule="a sufficient condition, so that needing less does not disagree: 95 % bootstrap interval "
    f"over seeds of the log-log slope of the test length for hinge risk {RISK:g} (ours), and for "
    f"zero-one error {ERROR:g} (ours), in 1/alpha': at most 1; trained with l in ratio to 1/alpha "
    f"for the theorem's number of steps, hinge risk on unseen tasks at most {HINGE:g} (ours) for "
    "every alpha",
    regime=REGIME + _NEARER,
    page="icl_scaling",
    needs=("test_lengths", "training_lengths"),
    judge=_prompt_length,
)


def _batch(batches: pd.DataFrame) -> list[Finding]:
    return [each for regime in REGIMES for each in _batch_in(batches, regime)]


def _batch_in(batches: pd.DataFrame, regime: str) -> list[Finding]:
    hinge = select(batches, quantity="hinge", regime=regime)
    smallest, largest = float(hinge["at"].min()), float(hinge["at"].max())
    enough = at_most(
        f"hinge risk with batches of {largest:g}",
        over_seeds(hinge, at=largest),
        HINGE,
        f"O(eps), here <= {HINGE:g}",
    )
    falls = bounded(_falls, partial(law_of, hinge))
    already = mean_interval(by_seed(hinge, at=smallest).to_numpy(dtype=np.float64))
    if falls.verdict != AGREES and already.high <= HINGE:
        note = f"batches of {smallest:g} are enough for {HINGE:g} already; {falls.note}"
        falls = falls._replace(verdict=AGREES, note=note)
    return [each._replace(regime=regime) for each in (enough, falls)]


def _falls(exponent: Interval) -> Finding:
    return at_most("exponent of the risk in the batch", exponent, -0.5, "<= -1/2: B ~ eps^-2")


batch = Claim(
    id="icl.batch",
    statement="Batches of Omega(max(eps^-2, M1)) prompts are enough for a risk of O(eps).",
    equation=r"B \ge \Omega\big( \max(\epsilon^{-2}, M_1) \big)",
    source=SOURCE,
    rule="a sufficient condition, so that needing less does not disagree; after a fixed number of "
    f"steps, 95 % intervals over seeds: hinge risk with the largest batch at most {HINGE:g} "
    "(ours); log-log slope of the risk in the batch at most -1/2, unless the smallest batch is "
    f"enough for {HINGE:g} already",
    regime=REGIME + _NEARER,
    page="icl_scaling",
    needs=("batches",),
    judge=_batch,
)
