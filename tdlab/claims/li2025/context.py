"""How the errors of a chain of thought, and of in-context inference, fall with context."""

from itertools import pairwise

import numpy as np
import pandas as pd

from tdlab.claims.claim import (
    AGREES,
    DISAGREES,
    INCONCLUSIVE,
    Claim,
    Finding,
    above,
    at_least,
    at_most,
    reaches,
)
from tdlab.claims.laws import bounded, law_of
from tdlab.claims.li2025.constants import (
    CONSTANT,
    ENOUGH,
    ERROR,
    REGIME,
    SMALL,
    SOURCE,
    SUCCEEDS,
    TESTED,
)
from tdlab.claims.rows import by_seed, paired, select
from tdlab.statistics import Interval, error_interval
from tdlab.studies.cot import Setting
from tdlab.studies.cot.inference import CHAIN, FINAL, IN_CONTEXT, MEAN
from tdlab.studies.cot.lengths import NEEDED

_SYMBOLS = {
    "alpha": "alpha'",
    "tau": "tau",
    "rho": "rho",
    "tau_o": "tau_o",
    "rho_o": "rho_o",
}


def _inference(
    setting: Setting, chain_errors: pd.DataFrame, chain_lengths: pd.DataFrame
) -> list[Finding]:
    found = _with_context(setting, chain_errors, MEAN)
    return [*found, _exponent(chain_lengths, "(alpha' tau rho)^-2")]


inference = Claim(
    id="cot.inference",
    statement="The chain's error reaches 0 with context, sooner for larger alpha', tau and rho.",
    equation=r"l_{ts} \ge \Omega\big( (\alpha' \tau \rho)^{-2} \big) \Rightarrow L_{CoT} \to 0",
    source=SOURCE,
    rule=f"95 % intervals over seeds: at most {ERROR:g} (ours) with the longest context; at most "
    f"{SMALL:g} from {ENOUGH} (alpha' tau rho)^-2 examples on (ours); over all lengths the error "
    "falls with each of the three. A curve that still falls has not been followed far enough. 95 % "
    f"bootstrap interval over seeds of the log-log slope of the examples needed for {NEEDED:g} "
    "(ours) in (alpha' tau rho)^-2: at most 1, because needing less does not disagree",
    regime=REGIME + TESTED,
    page="cot_vs_icl",
    needs=("setting", "chain_errors", "chain_lengths"),
    judge=_inference,
)


def _in_context(
    setting: Setting, in_context_errors: pd.DataFrame, in_context_lengths: pd.DataFrame
) -> list[Finding]:
    found = _with_context(setting, in_context_errors, FINAL)
    return [*found, _exponent(in_context_lengths, "(alpha' tau_o rho_o)^-2")]


in_context = Claim(
    id="cot.icl",
    statement="Under Condition 1 in-context error falls to 0 too, with alpha', tau_o and rho_o.",
    equation=r"l_{ts} \ge \Omega\big( (\alpha' \tau_o \rho_o)^{-2} \big) \Rightarrow L_{ICL} \to 0",
    source=SOURCE,
    rule=f"95 % intervals over seeds: at most {ERROR:g} (ours) with the longest context; at most "
    f"{SMALL:g} from {ENOUGH} (alpha' tau_o rho_o)^-2 examples on (ours); over all lengths the "
    "error falls with each of the three. A curve that still falls has not been followed far "
    f"enough. 95 % bootstrap interval over seeds of the log-log slope of the examples needed for "
    f"{NEEDED:g} (ours) in (alpha' tau_o rho_o)^-2: at most 1, because needing less does not "
    "disagree",
    regime=REGIME + TESTED,
    page="cot_vs_icl",
    needs=("setting", "in_context_errors", "in_context_lengths"),
    judge=_in_context,
)


def _with_context(setting: Setting, table: pd.DataFrame, output: str) -> list[Finding]:
    """What both kinds of inference claim of their error over the number of examples."""
    error = select(table, quantity="error", source="measured", output=output)
    found = [_reaches_zero(error, setting.prompts)]
    found += [_least_gain(error, varied) for varied in error.varied.unique()]
    # Of each curve the lengths that are enough by the theorem, if it has any.
    needed = select(table, quantity="length_bound").set_index(["varied", "at"]).value * ENOUGH
    points = pd.MultiIndex.from_frame(error[["varied", "at"]])
    enough = error[error.length >= needed.loc[points].to_numpy()]
    return [*found, *([] if enough.empty else [_small(enough, setting.prompts)])]


def _reaches_zero(error: pd.DataFrame, prompts: int) -> Finding:
    """The curve that speaks most against it with the longest context."""
    *_, before, longest = sorted(error.length.unique())
    found = []
    for (varied, at), curve in error.groupby(["varied", "at"]):
        end = by_seed(curve, length=int(longest))
        found.append(
            reaches(
                f"error with {longest:g} examples, worst at {_SYMBOLS[str(varied)]} = {at:g}",
                error_interval(end.to_numpy(dtype=np.float64), prompts),
                ERROR,
                paired(by_seed(curve, length=int(before)), end),
                f"towards 0, here <= {ERROR:g}",
            )
        )
    against = (AGREES, INCONCLUSIVE, DISAGREES)
    return max(found, key=lambda each: (against.index(each.verdict), each.measured.estimate))


def _small(enough: pd.DataFrame, prompts: int) -> Finding:
    """Where the error is largest, of all lengths that are enough."""
    varied, at, length = enough.groupby(["varied", "at", "length"]).value.mean().idxmax()
    worst = select(enough, varied=varied, at=float(at), length=int(length))
    return at_most(
        f"error with {ENOUGH} times the theorem's number of examples or more, worst at "
        f"{_SYMBOLS[varied]} = {at:g} ({length:g} examples)",
        error_interval(by_seed(worst).to_numpy(dtype=np.float64), prompts),
        SMALL,
        f"small, here <= {SMALL:g}",
    )


def _exponent(lengths: pd.DataFrame, number: str) -> Finding:
    def rule(exponent: Interval) -> Finding:
        part = f"exponent of the examples needed in {number}"
        return at_most(part, exponent, 1.0, "<= 1: in ratio to it is enough")

    return bounded(rule, lambda: law_of(lengths, points=("varied", "of"), quantity="length"))


def _least_gain(error: pd.DataFrame, varied: str) -> Finding:
    """By how much the error, averaged over lengths, surely falls from one value to the next."""
    rows = select(error, varied=varied)
    values = sorted(rows["at"].unique())
    gains = {
        (low, high): _gain(by_seed(rows, at=float(low)), by_seed(rows, at=float(high)))
        for low, high in pairwise(values)
    }
    low, high = min(gains, key=lambda pair: float(gains[pair].low))
    part = f"error at {_SYMBOLS[varied]} = {low:g} less that at {high:g}, mean over lengths"
    return above(part, gains[low, high], 0.0, "> 0")


def _gain(one: pd.Series, other: pd.Series) -> Interval:
    """The paired difference; of errors that never happened there is none to be measured."""
    if not one.any() and not other.any():
        return Interval(0.0, -np.inf, np.inf)
    return paired(one, other)


def _needs_condition_1(setting: Setting, conditions: pd.DataFrame) -> list[Finding]:
    fails = select(conditions, condition_1="fails", source="measured")
    longest, shortest = int(fails.length.max()), int(fails.length.min())
    in_context = select(fails, inference=IN_CONTEXT, output=FINAL)
    chain = by_seed(fails, inference=CHAIN, output=MEAN, length=longest)
    holds = by_seed(
        conditions, condition_1="holds", inference=IN_CONTEXT, output=FINAL, length=longest
    )
    at_longest = by_seed(in_context, length=longest)
    return [
        at_least(
            f"in-context error with {longest} examples, Condition 1 fails",
            error_interval(at_longest.to_numpy(dtype=np.float64), setting.prompts),
            CONSTANT,
            f"Omega(1), here >= {CONSTANT:g}",
        ),
        at_least(
            f"that error less the one with {shortest} examples",
            paired(at_longest, by_seed(in_context, length=shortest)),
            0.0,
            ">= 0: more context does not help",
        ),
        at_most(
            f"error of the chain with {longest} examples on the same prompts",
            error_interval(chain.to_numpy(dtype=np.float64), setting.prompts),
            SUCCEEDS,
            f"succeeds, here <= {SUCCEEDS:g}",
        ),
        at_most(
            f"in-context error with {longest} examples, Condition 1 holds",
            error_interval(holds.to_numpy(dtype=np.float64), setting.prompts),
            ERROR,
            f"towards 0, here <= {ERROR:g}",
        ),
    ]


icl_needs_condition_1 = Claim(
    id="cot.icl_needs_condition_1",
    statement="Where Condition 1 fails in-context error stays Omega(1), though the chain succeeds.",
    equation=r"L_{ICL} \ge \Omega(1) \text{ where Condition 1 fails}",
    source=SOURCE,
    rule="95 % intervals over seeds with the longest context, same prompts and model: in-context "
    f"error at least {CONSTANT:g} (ours) and no less than with the shortest, chain at most "
    f"{SUCCEEDS:g} (ours); where Condition 1 holds in-context error at most {ERROR:g} (ours)",
    regime=REGIME
    + TESTED
    + " Condition 1 fails by our own noise: at each step the correct pattern with probability "
    "{s.failing:g}, else one common shift.",
    page="cot_vs_icl",
    needs=("setting", "conditions"),
    judge=_needs_condition_1,
)
