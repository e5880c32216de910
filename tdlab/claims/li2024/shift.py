"""Out-of-domain patterns, and classical learners on the same prompts."""

import math

import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_most, below
from tdlab.claims.li2024.constants import (
    HINGE,
    PAR,
    REGIME,
    SOURCE,
)
from tdlab.claims.rows import by_seed, over_seeds, paired, select
from tdlab.statistics import Interval
from tdlab.theory import li2024


def _shift(shift: pd.DataFrame) -> list[Finding]:
    hinge = select(shift, shift="coefficient_sum", quantity="hinge", source="measured")
    found = []
    for pairing in ("drawn", "neighbours", "opposite"):
        curve = select(hinge, pairing=pairing, pair="any")
        found.append(
            above(
                f"hinge risk at S_1 = 0.5 less that at 0.9, {pairing} pairs",
                paired(by_seed(curve, coefficient_sum=0.5), by_seed(curve, coefficient_sum=0.9)),
                0.0,
                "> 0: the risk falls towards the threshold",
            )
        )
    for pair, kind in (("other", "no training tasks"), ("trained", "training tasks")):
        curve = hinge[(hinge.pairing == "drawn") & (hinge.pair == pair)]
        found.append(_beyond(curve, f"pairs that were {kind}"))
    return found


def _beyond(curve: pd.DataFrame, kind: str) -> Finding:
    """The worst coefficient sum from the threshold on; a kind that no seed drew says nothing."""
    words = f"O(eps), here <= {HINGE:g}"
    beyond = curve[curve.coefficient_sum >= li2024.bound_shift_threshold()]
    if beyond.empty:
        nothing = Interval(math.nan, -math.inf, math.inf)
        return at_most(f"hinge risk at S_1 >= 1, {kind}", nothing, HINGE, words)
    worst = beyond.groupby("coefficient_sum").value.mean().idxmax()
    part = f"hinge risk at the worst S_1 >= 1 (at {worst:g}), {kind}"
    return at_most(part, over_seeds(beyond, coefficient_sum=worst), HINGE, words)


shift = Claim(
    id="icl.shift",
    statement="Out of domain the risk stays O(eps) where the coefficient sum S_1 is at least 1.",
    equation=r"L' \le O(\epsilon) \text{ if } S_1 = \textstyle\sum_i k_{j,i} \ge 1",
    source=SOURCE,
    rule="95 % intervals over seeds: hinge risk falls from S_1 = 0.5 to 0.9 for every pairing, and "
    f"is at most {HINGE:g} (ours) at every S_1 >= 1, by whether the pair was a training task",
    regime=REGIME + " Patterns are mixed of two each, as the theorem does not ask.",
    page="icl_shift",
    needs=("shift",),
    judge=_shift,
)


def _classical(learners: pd.DataFrame) -> list[Finding]:
    found = []
    learners = select(learners, quantity="zero_one")
    select(learners, learner="transformer")
    for alpha in sorted(learners.alpha.unique(), reverse=True):
        for kappa in sorted(learners.kappa.unique()):
            point = select(learners, alpha=alpha, kappa=kappa, source="measured")
            errors = point.groupby(["learner", "seed"]).value.mean()  # over prompt lengths
            rival = errors.groupby("learner").mean().drop("transformer").idxmin()
            lead = paired(errors["transformer"], errors[rival])
            part = f"error less that of {rival}, alpha' = {alpha:g}, kappa' = {kappa:g}"
            found.append(
                at_most(part, lead, PAR, f"on a par, here <= {PAR:g}")
                if alpha >= 0.8
                else below(part, lead, 0.0, "ahead: < 0")
            )
    return found


classical = Claim(
    id="icl.classical",
    statement="At alpha' = 0.8 on a par with the best classical learner; at 0.6 ahead of it.",
    equation=r"L_{transformer} \le L_{learner} \text{ at } \alpha' = 0.8, "
    r"\qquad L_{transformer} < L_{learner} \text{ at } \alpha' = 0.6",
    source=SOURCE,
    rule="95 % interval over seeds of the zero-one error, averaged over prompt lengths, less that "
    f"of the best learner: at most {PAR:g} (ours) at 0.8, below 0 at 0.6, for each kappa'",
    regime=REGIME
    + " An observation of the paper, without a theorem; prompts of {s.lengths} examples.",
    page="icl_shift",
    needs=("learners",),
    judge=_classical,
)
