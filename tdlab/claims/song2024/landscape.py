"""Is the landscape of the Gaussian kernel smoother?"""

import numpy as np
import pandas as pd

from tdlab.claims.claim import Claim, Finding, below
from tdlab.claims.rows import by_seed, paired, select
from tdlab.claims.song2024.constants import SOURCE
from tdlab.statistics import Interval


def _landscape(curvature: pd.DataFrame, variation: pd.DataFrame) -> list[Finding]:
    found = []
    for stage_one, rows in select(curvature, quantity="eigenvalue", rank=0).groupby("stage_one"):
        segments = select(variation, quantity="variation", stage_one=stage_one)
        parts = {
            "top eigenvalue at the end": rows[rows.step == rows.step.max()],
            "top eigenvalue along the path": rows[rows.step > 0],
            "variation of the gradient": segments,
        }
        found += [
            below(
                f"{part}, log2 of Gaussian over softmax, after {stage_one}",
                _log_ratio(each),
                0.0,
                "< 0: the Gaussian landscape is smoother",
            )
            for part, each in parts.items()
        ]
    return found


def _log_ratio(rows: pd.DataFrame) -> Interval:
    """Paired by seed, with the mean of the logarithms along a path or a segment."""
    if (rows.value <= 0).any():
        raise ArithmeticError("a top eigenvalue is not positive, so it has no logarithm")
    logs = rows.assign(value=np.log2(rows.value.astype(np.float64)))
    return paired(by_seed(logs, kernel="gaussian"), by_seed(logs, kernel="softmax"))


landscape = Claim(
    id="kernels.landscape",
    statement="The Gaussian kernel has the smoother loss landscape.",
    equation=r"\lambda_{max}(\nabla^2 L_{Gauss}) < \lambda_{max}(\nabla^2 L_{softmax})",
    source=SOURCE,
    rule="two stages of training, the kernel of the second differs, after either kernel in the "
    "first: 95 % intervals over seeds of log2 ratios, Gaussian to softmax, of the top Hessian "
    "eigenvalue at the end and on the path, and of the variation of the gradient between start and "
    "end: below 0",
    regime="The paper shows landscapes of its own two-stage training, which we know from captions; "
    "here classifiers of width {s.land_width} on digits, {s.land_steps} steps a stage, "
    "{s.land_seeds} seeds.",
    page="kernels_landscape",
    needs=("curvature", "variation"),
    judge=_landscape,
)
