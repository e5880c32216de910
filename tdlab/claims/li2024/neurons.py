"""What neurons learn, and what pruning them costs."""

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, at_least, at_most, within
from tdlab.claims.laws import bounded, law_of
from tdlab.claims.li2024.constants import ALIGNED, COST, HINGE, REGIME, SEEN, SOME, SOURCE
from tdlab.claims.rows import by_seed, paired, select
from tdlab.statistics import Interval, mean_interval
from tdlab.studies.icl import Setting
from tdlab.studies.icl.pruning import LARGE
from tdlab.theory import li2024


def _neurons(setting: Setting, neurons: pd.DataFrame) -> list[Finding]:
    last = select(neurons, step=setting.steps, source="measured")
    label_norm = select(last, quantity="norm", part="label").set_index(["seed", "neuron"]).value
    large = label_norm > LARGE
    _require_large(large.groupby("seed").any())
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
    words = f"a constant fraction, here {SOME[0]:g} to {SOME[1]:g}"
    found.append(within("fraction of neurons that stay small", small, *SOME, words))
    return found


neurons = Claim(
    id="icl.neurons",
    statement="Neurons align with the mean pattern and with q by the sign of a; some stay small.",
    equation=r"(r_i)_{1..d_X} \to \bar\mu, \qquad (r_i)_{d_X+1..} \to \mathrm{sign}(a_i)\, q",
    source=SOURCE,
    rule=f"95 % intervals over seeds: median angles of large neurons at most {ALIGNED:g} degrees "
    f"(ours), small fraction {SOME[0]:g} to {SOME[1]:g} (ours); large: label part above {LARGE:g}",
    regime=REGIME,
    page="icl_dynamics",
    needs=("setting", "neurons"),
    judge=_neurons,
)


def _require_large(some: pd.Series) -> None:
    """Raises ``ArithmeticError`` for seeds that have no large neuron: there is nothing to judge."""
    if not some.all():
        seeds = ", ".join(str(seed) for seed in some.index[~some])
        raise ArithmeticError(f"no neuron is large (label part above {LARGE:g}) in seeds {seeds}")


def _pruning(setting: Setting, pruning: pd.DataFrame) -> list[Finding]:
    hinge = select(pruning, quantity="hinge", source="measured", alpha=0.8)
    _require_large(hinge.groupby("seed").large.max() > 0)
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
        _exponent_of_cost(hinge, whole),
    ]


def _least_cost(hinge: pd.DataFrame, whole: pd.Series) -> Interval:
    """The smallest ratio of cost to R over the grid, for each seed; R from a tenth to all."""
    largest = select(hinge, order="largest")
    share = largest.fraction / largest.large
    largest = largest.assign(share=share)[(share >= 0.1) & (share <= 1)]
    cost = largest.value - largest.seed.map(whole)
    least = (cost / largest.share).groupby(largest.seed).min()
    return mean_interval(least.to_numpy(dtype=np.float64))


def _exponent_of_cost(hinge: pd.DataFrame, whole: pd.Series) -> Finding:
    """How the cost grows with R; what is too small to be seen is known to be below ``SEEN``."""
    largest = select(hinge, order="largest")
    inside = largest[(largest.fraction >= 0.1) & (largest.fraction <= largest.large.min())]
    cost = (inside.value - inside.seed.map(whole)).astype(np.float64)
    inverse = (1 / cost).where(cost >= SEEN)  # a limit bounds from above
    inside = inside.assign(value=inverse, limit=1 / SEEN)

    def rule(inverse: Interval) -> Finding:
        exponent = Interval(-inverse.estimate, -inverse.high, -inverse.low)
        part = "exponent of the added hinge risk in R, largest first"
        return at_most(part, exponent, 1.0, "<= 1: no slower than R")

    return bounded(rule, lambda: law_of(inside, "fraction"))


pruning = Claim(
    id="icl.pruning",
    statement="Pruning all small neurons is free; pruning a fraction R of large ones costs R.",
    equation=r"L_{small} \le O(\epsilon + M^{-1/2}), \qquad L_{R} \ge \Omega(R)",
    source=SOURCE,
    rule=f"95 % intervals over seeds: added risk at most {HINGE:g} + M^-1/2 (ours); cost of the "
    f"largest at least {COST:g} R (ours) for every R from 0.1 to 1, and 95 % bootstrap interval "
    f"over seeds of its log-log slope at most 1, where less than {SEEN:g} (ours) is not seen",
    regime=REGIME + " M = {s.neurons} neurons; the theorem wants many.",
    page="icl_pruning",
    needs=("setting", "pruning"),
    judge=_pruning,
)
