r"""The claims of Li, Lu, Chen, Cui, Wang (ICLR 2025, arXiv 2410.02167) about chain of thought.

A theorem leaves its constants open; a number that a rule needs and the paper does not give is
marked (ours), and is stated in the claim's rule.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_least, at_most, near, reaches
from tdlab.claims.rows import by_seed, over_seeds, paired, select
from tdlab.statistics import error_interval, mean_interval, power_law
from tdlab.studies.cot import Setting
from tdlab.studies.cot.attention import MIXED
from tdlab.studies.cot.inference import CHAIN, FINAL, IN_CONTEXT, MEAN
from tdlab.theory import li2025

SOURCE = "Li et al., ICLR 2025 (arXiv 2410.02167)"
FOCUS = 0.9  # (ours) what counts as attention concentrated on a set of columns
SHARED = 0.2  # (ours) a mass that is still there
ERROR = 0.01  # (ours) what counts as an error of 0
ENOUGH = 2  # (ours) the constant in l >= Omega((alpha' tau rho)^-2) ...
SMALL = 0.05  # (ours) ... and the error from there on
CONSTANT = 0.5  # (ours) what counts as an error of Omega(1)
SUCCEEDS = 0.1  # (ours) error of a chain that succeeds where in-context inference does not
ADDED = 0.1  # (ours) error that patterns outside the span may add: theirs is a matter of examples
CLOSE = 0.02  # (ours) error that bounded noise may add


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
    times = select(phases, quantity="time").pivot(index="seed", columns="phase", values="value")
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
    rule="95 % intervals over seeds; learned where the mass elsewhere is at most 0.1 (ours): ratio "
    f"of the two times above 1; mass on other patterns in between at least {SHARED:g} (ours)",
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


def _inference(setting: Setting, chain_errors: pd.DataFrame) -> list[Finding]:
    return _with_context(setting, chain_errors, MEAN)


inference = Claim(
    id="cot.inference",
    statement="The chain's error reaches 0 with context, sooner for larger alpha', tau and rho.",
    source=SOURCE,
    rule=f"95 % intervals over seeds: at most {ERROR:g} (ours) with the longest context; at most "
    f"{SMALL:g} from {ENOUGH} (alpha' tau rho)^-2 examples on (ours); over all lengths the error "
    "falls with each of the three. A curve that still falls has not been followed far enough",
    needs=("setting", "chain_errors"),
    judge=_inference,
)


def _in_context(setting: Setting, in_context_errors: pd.DataFrame) -> list[Finding]:
    return _with_context(setting, in_context_errors, FINAL)


in_context = Claim(
    id="cot.icl",
    statement="Under Condition 1 so does in-context error, with alpha', tau_o and rho_o.",
    source=SOURCE,
    rule=f"95 % intervals over seeds: at most {ERROR:g} (ours) with the longest context; at most "
    f"{SMALL:g} from {ENOUGH} (alpha' tau_o rho_o)^-2 examples on (ours); over all lengths the "
    "error falls with each of the three",
    needs=("setting", "in_context_errors"),
    judge=_in_context,
)


def _with_context(setting: Setting, table: pd.DataFrame, output: str) -> list[Finding]:
    """What both kinds of inference claim of their error over the number of examples."""
    error = select(table, quantity="error", source="measured", output=output)
    found = [_reaches_zero(error, setting.prompts)]
    found += [_least_gain(error, varied) for varied in error.varied.unique()]
    # Of each curve the first length that has enough examples by the theorem, if it has one.
    needed = select(table, quantity="length_bound").set_index(["varied", "at"]).value * ENOUGH
    points = pd.MultiIndex.from_frame(error[["varied", "at"]])
    past = error[error.length >= needed.loc[points].to_numpy()]
    first = past[past.length == past.groupby(["varied", "at"]).length.transform("min")]
    return [*found, *([] if first.empty else [_small(first, setting.prompts)])]


def _reaches_zero(error: pd.DataFrame, prompts: int) -> Finding:
    """With the longest context, where it is largest; a curve that still falls is not at its end."""
    *_, before, longest = sorted(error.length.unique())
    varied, at = _worst(select(error, length=int(longest)))
    curve = select(error, varied=varied, at=at)
    end = by_seed(curve, length=int(longest))
    return reaches(
        f"error with {longest:g} examples, worst at {_SYMBOLS[varied]} = {at:g}",
        error_interval(end.to_numpy(dtype=np.float64), prompts),
        ERROR,
        paired(by_seed(curve, length=int(before)), end),
        f"towards 0, here <= {ERROR:g}",
    )


def _small(error: pd.DataFrame, prompts: int) -> Finding:
    """At the first length of each curve that is enough by the theorem, where it is largest."""
    varied, at = _worst(error)
    worst = select(error, varied=varied, at=at)
    return at_most(
        f"error with {worst.length.iloc[0]:g} examples, {ENOUGH} times the theorem's number, "
        f"worst at {_SYMBOLS[varied]} = {at:g}",
        error_interval(by_seed(worst).to_numpy(dtype=np.float64), prompts),
        SMALL,
        f"small, here <= {SMALL:g}",
    )


def _worst(error: pd.DataFrame) -> tuple[str, float]:
    """The point of the grids where the error is largest."""
    varied, at = error.groupby(["varied", "at"]).value.mean().idxmax()
    return varied, float(at)


def _least_gain(error: pd.DataFrame, varied: str) -> Finding:
    """By how much the error, averaged over lengths, falls from one value to the next, at least."""
    rows = select(error, varied=varied)
    values = sorted(rows["at"].unique())
    gains = {
        (low, high): paired(by_seed(rows, at=float(low)), by_seed(rows, at=float(high)))
        for low, high in pairwise(values)
    }
    low, high = min(gains, key=lambda pair: float(gains[pair].estimate))
    part = f"error at {_SYMBOLS[varied]} = {low:g} less that at {high:g}, mean over lengths"
    return above(part, gains[low, high], 0.0, "> 0")


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
    source=SOURCE,
    rule="95 % intervals over seeds with the longest context, same prompts and model: in-context "
    f"error at least {CONSTANT:g} (ours) and no less than with the shortest, chain at most "
    f"{SUCCEEDS:g} (ours); where Condition 1 holds in-context error at most {ERROR:g} (ours)",
    needs=("setting", "conditions"),
    judge=_needs_condition_1,
)


def _shift(shift: pd.DataFrame) -> list[Finding]:
    error = select(shift, quantity="error", source="measured")
    component, noise = select(error, varied="component"), select(error, varied="noise")
    none = by_seed(component, at=0.0)
    least = float(component["at"][component["at"] > 0].min())
    focus = select(
        shift,
        quantity="mass",
        source="measured",
        varied="component",
        place="same step, same pattern",
    )
    loudest = float(noise["at"].max())
    return [
        above(
            f"error with no component in the span less that with {least:g}",
            paired(none, by_seed(component, at=least)),
            0.0,
            "> 0",
        ),
        above(
            f"mass on the right columns at component {MIXED:g} less that with none",
            paired(by_seed(focus, at=MIXED), by_seed(focus, at=0.0)),
            0.0,
            "> 0",
        ),
        at_most(
            f"added error at component {MIXED:g}",
            paired(by_seed(component, at=MIXED), by_seed(component, at=1.0)),
            ADDED,
            f"generalizes, here <= {ADDED:g}",
        ),
        at_most(
            f"added error at noise {loudest:g}",
            paired(by_seed(noise, at=loudest), by_seed(noise, at=0.0)),
            CLOSE,
            f"generalizes, here <= {CLOSE:g}",
        ),
    ]


shift = Claim(
    id="cot.shift",
    statement="A chain generalizes to patterns with a component in the span, and to bounded noise.",
    source=SOURCE,
    rule="95 % intervals over seeds of paired differences: error falls and attention rises with a "
    f"component; error added at component {MIXED:g} at most {ADDED:g} (ours), at noise just below "
    f"sqrt(1/2) at most {CLOSE:g} (ours)",
    needs=("shift",),
    judge=_shift,
)

CLAIMS = (training, two_phases, attention, inference, icl_needs_condition_1, in_context, shift)

_SYMBOLS = {
    "alpha": "alpha'",
    "tau": "tau",
    "rho": "rho",
    "tau_o": "tau_o",
    "rho_o": "rho_o",
}
