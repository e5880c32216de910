"""How far a chain of thought reaches beyond the trained patterns."""

import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_most
from tdlab.claims.li2025.constants import ADDED, CLOSE, REGIME, SOURCE
from tdlab.claims.rows import by_seed, paired, select
from tdlab.studies.cot.attention import MIXED


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
    equation=r"\mu' = \textstyle\sum_i k_i \mu_i + \ldots, \; k \ne 0: \quad L \to 0",
    source=SOURCE,
    rule="95 % intervals over seeds of paired differences: error falls and attention rises with a "
    f"component; error added at component {MIXED:g} at most {ADDED:g} (ours), at noise just below "
    f"sqrt(1/2) at most {CLOSE:g} (ours)",
    regime=REGIME
    + " Here d_X = {s.wide}, alpha' = {s.shift_alpha:g}, {s.shift_length} examples, so that there "
    "is an error to be seen.",
    page="cot_dynamics",
    needs=("shift",),
    judge=_shift,
)
