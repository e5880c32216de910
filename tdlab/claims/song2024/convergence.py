"""Zero loss where everything is trained and H D is large, and how fast it is reached."""

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, at_least, at_most, near, reaches
from tdlab.claims.rows import by_seed, over_seeds, select
from tdlab.claims.song2024.constants import ENOUGH, EXACT, KERNELS, REGIME, SOURCE, STRAIGHT, ZERO
from tdlab.statistics import Interval, mean_interval

_LEAST = 1e-300  # a loss of exactly zero has no logarithm


def _global(phase: pd.DataFrame, rates: pd.DataFrame) -> list[Finding]:
    largest = float(phase.ratio.max())
    if largest < ENOUGH:
        raise ArithmeticError(
            f"the largest H D / N n is {largest:g}, but must be {ENOUGH:g} or more"
        )
    found = []
    for kernel in KERNELS:
        point = {"kernel": kernel, "trained": "all", "ratio": largest}
        found.append(
            reaches(
                f"log10 of the relative loss at H D / N n = {largest:g}, {kernel}",
                _log10(select(phase, quantity="relative loss", **point)),
                float(np.log10(ZERO)),
                over_seeds(phase, quantity="fall", **point),
                f"zero loss, here log10 <= {np.log10(ZERO):g}",
            )
        )
    for kernel in KERNELS:
        where = {"kernel": kernel, "trained": "all"}
        found += [
            near(
                f"late over earlier rate, {kernel}",
                _straight(select(rates, quantity="straight", **where)),
                1.0,
                STRAIGHT,
                f"1 where the rate is linear, here within {STRAIGHT:g}",
            ),
            at_least(
                f"log10 of the rate over that with frozen scores, {kernel}",
                _excess(select(rates, quantity="rate", **where)),
                0.0,
                ">= 0: no slower",
            ),
        ]
    return [*found, _solved(rates)]


def _log10(rows: pd.DataFrame) -> Interval:
    """Counted as a tenth of zero where it is less: how far below it lies tells nothing."""
    values = rows.groupby("seed").value.mean().to_numpy(dtype=np.float64)
    return mean_interval(np.log10(np.maximum(values, ZERO / 10)))


def _straight(rows: pd.DataFrame) -> Interval:
    if rows.value.isna().any():
        raise ArithmeticError(
            "a loss came down to rounding within a few steps; it has no late rate"
        )
    return over_seeds(rows)


def _excess(rows: pd.DataFrame) -> Interval:
    """How much faster than predicted, by seed; a loss that does not fall has no such number."""
    fitted = by_seed(rows)
    predicted = select(rows, source="theory").groupby("seed").value.mean()
    if not (fitted > 0).all():
        raise ArithmeticError("a loss did not fall at all in the last third of training")
    if not (predicted > 0).all():
        raise ArithmeticError("with frozen scores some targets are out of reach: there is no rate")
    return mean_interval(np.log10((fitted / predicted).to_numpy(dtype=np.float64)))


def _solved(rates: pd.DataFrame) -> Finding:
    rows = select(rates, quantity="relative loss", trained="W_V")
    logs = rows.assign(log=np.log10(rows.value.clip(lower=_LEAST).astype(np.float64)))
    both = logs.pivot(index=["kernel", "seed", "step"], columns="source", values="log")
    gap = (both["measured"] - both["theory"]).abs().groupby("seed").max()
    return at_most(
        "largest gap of log10 loss to the solved curve, W_V alone",
        mean_interval(gap.to_numpy(dtype=np.float64)),
        EXACT,
        f"0: a convex quadratic, here <= {EXACT:g}",
    )


convergence = Claim(
    id="kernels.global",
    statement="With all matrices trained and H D large, either kernel reaches zero loss, at a "
    "linear rate.",
    equation=r"H D \ge N n: \quad L_t \le (1 - c\, \sigma_{min}(B)^2)^t L_0",
    source=SOURCE,
    rule=f"95 % intervals over seeds: loss relative to predicting 0 at most {ZERO:g} (ours) at the "
    f"largest H D / N n, which is at least {ENOUGH:g} (ours); inconclusive above while it still "
    "falls; rate of the last third over that of the middle third within "
    f"{STRAIGHT:g} of 1 (ours); rate at least that of the smallest singular value of the Jacobian "
    f"in W_V at the start; with W_V alone within {EXACT:g} of the solved curve, as logarithms to "
    "base 10 (ours)",
    regime=REGIME,
    page="kernels_convergence",
    needs=("phase", "rates"),
    judge=_global,
)
