r"""The claims of Li, Wang, Lu, Cui, Chen (ICML 2024, arXiv 2402.15607) about in-context learning.

A theorem leaves its constants open; a number that a rule needs and the paper does not give is
marked (ours). It was fixed before measuring, and is stated in the claim's rule.
"""

import math

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_least, at_most, below, near
from tdlab.claims.rows import by_seed, over_seeds, paired, select
from tdlab.statistics import Interval, error_interval, mean_interval, slope_interval
from tdlab.studies.icl import Setting
from tdlab.studies.icl.pruning import LARGE
from tdlab.studies.icl.shift import MIXED
from tdlab.theory import li2024

SOURCE = "Li et al., ICML 2024 (arXiv 2402.15607)"
ERROR = 0.005  # (ours) what counts as O(eps) for zero-one error
HINGE = 0.05  # (ours) what counts as O(eps) for hinge risk
FOCUS = 0.85  # (ours) what counts as 1 - eta^C for the concentration
ALIGNED = 30.0  # (ours) degrees: three quarters of the squared norm lie along the direction
CLOSE = 0.02  # (ours) concentrations that differ by less are the same
SOME = (0.05, 0.5)  # (ours) what counts as a constant fraction of neurons
COST = 0.25  # (ours) hinge risk a pruned fraction of the large neurons: the constant in Omega(R)
PAR = 0.02  # (ours) errors that differ by less are on a par


def _generalization(setting: Setting, dynamics: pd.DataFrame) -> list[Finding]:
    last = select(dynamics, tasks="unseen", step=setting.steps)
    return [
        at_most(
            "zero-one error on unseen tasks",
            error_interval(by_seed(last, quantity="zero_one").to_numpy(), setting.prompts),
            ERROR,
            f"O(eps), here <= {ERROR:g}",
        ),
        at_most(
            "hinge risk on unseen tasks",
            over_seeds(last, quantity="hinge"),
            HINGE,
            f"O(eps), here <= {HINGE:g}",
        ),
    ]


generalization = Claim(
    id="icl.generalization",
    statement="Trained on M1 of the M1 (M1 - 1) tasks, the risk on the others is O(eps).",
    source=SOURCE,
    rule=f"95 % interval over seeds at the last step: zero-one error at most {ERROR:g}, "
    f"hinge risk at most {HINGE:g} (ours)",
    needs=("setting", "dynamics"),
    judge=_generalization,
)


def _coverage(coverage: pd.DataFrame) -> list[Finding]:
    error = select(coverage, quantity="zero_one")
    covered = by_seed(error, left_out="nothing")
    return [
        above(
            f"added zero-one error when the set leaves out {left_out}",
            paired(by_seed(error, left_out=left_out), covered),
            0.0,
            "> 0",
        )
        for left_out in ("a pattern", "a label")
    ]


coverage = Claim(
    id="icl.coverage",
    statement="Coverage of every pattern with both labels matters, not the number of tasks.",
    source=SOURCE,
    rule="95 % interval of the paired difference over seeds, equal numbers of tasks: above 0",
    needs=("coverage",),
    judge=_coverage,
)


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
    source=SOURCE,
    rule=f"95 % intervals over seeds: before training within {CLOSE:g} of the closed form (ours); "
    f"after it, at least {FOCUS:g} (ours) in and out of domain; exponent of the gap in eta above 0",
    needs=("setting", "dynamics", "shift", "step_sizes"),
    judge=_attention,
)


def _neurons(setting: Setting, neurons: pd.DataFrame) -> list[Finding]:
    last = select(neurons, step=setting.steps, source="measured")
    label_norm = select(last, quantity="norm", part="label").set_index(["seed", "neuron"]).value
    large = label_norm > LARGE
    some = large.groupby("seed").any()
    if not some.all():
        seeds = ", ".join(str(seed) for seed in some.index[~some])
        raise ArithmeticError(f"no neuron is large (label part above {LARGE:g}) in seeds {seeds}")
    found = []
    for part, direction in (("feature", "the mean pattern"), ("label", "q, signed by a")):
        angle = select(last, quantity="angle", part=part).set_index(["seed", "neuron"]).value
        median = angle[large].groupby("seed").median().to_numpy()
        found.append(
            at_most(
                f"angle of large neurons' {part} part to {direction} (degrees, median)",
                mean_interval(median),
                ALIGNED,
                f"aligned, here <= {ALIGNED:g}",
            )
        )
    small = mean_interval((1 - large.groupby("seed").mean()).to_numpy(dtype=np.float64))
    middle, half = sum(SOME) / 2, (SOME[1] - SOME[0]) / 2
    words = f"a constant fraction, here {SOME[0]:g} to {SOME[1]:g}"
    found.append(near("fraction of neurons that stay small", small, middle, half, words))
    return found


neurons = Claim(
    id="icl.neurons",
    statement="Neurons align with the mean pattern and with q by the sign of a; some stay small.",
    source=SOURCE,
    rule=f"95 % intervals over seeds: median angles of large neurons at most {ALIGNED:g} degrees "
    f"(ours), small fraction {SOME[0]:g} to {SOME[1]:g} (ours); large: label part above {LARGE:g}",
    needs=("setting", "neurons"),
    judge=_neurons,
)


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
    source=SOURCE,
    rule="95 % intervals over seeds: hinge risk falls from S_1 = 0.5 to 0.9 for every pairing, and "
    f"is at most {HINGE:g} (ours) at every S_1 >= 1, by whether the pair was a training task",
    needs=("shift",),
    judge=_shift,
)


def _pruning(setting: Setting, pruning: pd.DataFrame) -> list[Finding]:
    hinge = select(pruning, quantity="hinge", source="measured", alpha=0.8)
    whole = by_seed(hinge, order="smallest", fraction=0.0)
    small = by_seed(hinge, order="all small")
    bound = li2024.bound_pruning_small(setting.neurons, HINGE)
    return [
        at_most(
            "added hinge risk, all small neurons pruned",
            paired(small, whole),
            bound,
            f"O(eps + M^-1/2), here <= {HINGE:g} + {setting.neurons}^-1/2 = {bound:.3f}",
        ),
        at_least(
            "least added hinge risk a fraction R of the large neurons, largest first",
            _least_cost(hinge, whole),
            COST,
            f"Omega(R), here >= {COST:g} R",
        ),
    ]


def _least_cost(hinge: pd.DataFrame, whole: pd.Series) -> Interval:
    """The smallest ratio of cost to R over the grid, for each seed; R from a tenth to all."""
    largest = select(hinge, order="largest")
    share = largest.fraction / largest.large
    largest = largest.assign(share=share)[(share >= 0.1) & (share <= 1)]
    cost = largest.value - largest.seed.map(whole)
    least = (cost / largest.share).groupby(largest.seed).min()
    return mean_interval(least.to_numpy(dtype=np.float64))


pruning = Claim(
    id="icl.pruning",
    statement="Pruning all small neurons is free; pruning a fraction R of large ones costs R.",
    source=SOURCE,
    rule=f"95 % intervals over seeds: added risk at most {HINGE:g} + M^-1/2 (ours); cost of the "
    f"largest at least {COST:g} R (ours) for every R from 0.1 to 1",
    needs=("setting", "pruning"),
    judge=_pruning,
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
    source=SOURCE,
    rule="95 % interval over seeds of the zero-one error, averaged over prompt lengths, less that "
    f"of the best learner: at most {PAR:g} (ours) at 0.8, below 0 at 0.6, for each kappa'",
    needs=("learners",),
    judge=_classical,
)

CLAIMS = (generalization, coverage, attention, neurons, shift, pruning, classical)


def _exponent(step_sizes: pd.DataFrame) -> Interval:
    step_sizes = select(step_sizes, quantity="concentration_gap")
    gap = step_sizes.pivot(index="seed", columns="lr", values="value").dropna()
    x = np.log(gap.columns.to_numpy(dtype=np.float64))
    return slope_interval(x, np.log(gap.to_numpy(dtype=np.float64)))
