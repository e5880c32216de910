"""Suboptimal local solutions: one scalar query, and generated problems with W_Q alone."""

import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_least, reaches
from tdlab.claims.rows import by_seed, select
from tdlab.claims.song2024.constants import REACHED, REGIME, SOURCE, STARTS
from tdlab.statistics import Interval, proportion_interval
from tdlab.studies.kernels.basins import SOLVED
from tdlab.studies.kernels.setting import SCALAR
from tdlab.theory import song2024


def _bad_basin(scalar: pd.DataFrame, query_only: pd.DataFrame) -> list[Finding]:
    return [*_scalar(scalar), *_generated(query_only)]


def _scalar(scalar: pd.DataFrame) -> list[Finding]:
    problem, task = next(iter(SCALAR.items()))
    barrier = song2024.barrier(task.keys, task.values)
    rows = select(scalar, source="measured", problem=problem)
    wide = rows.pivot(index=["kernel", "q"], columns="quantity", values="value").reset_index()
    softmax, gaussian = (wide[wide.kernel == kernel] for kernel in ("softmax", "gaussian"))
    low, high = STARTS
    beyond, before = softmax[softmax.q > barrier], softmax[softmax.q < barrier]
    return [
        _comes_down(before, f"largest loss of softmax started left of the barrier, {barrier:.3f}"),
        above(
            "where softmax started right of it ends, less where it starts",
            _range(beyond["end"] - beyond.q),
            0.0,
            "> 0: away from every solution",
        ),
        _comes_down(
            gaussian[gaussian.q.between(low, high)],
            f"largest loss of the Gaussian kernel started in [{low:g}, {high:g}]",
        ),
    ]


def _comes_down(rows: pd.DataFrame, part: str) -> Finding:
    worst = rows[rows["loss"] == rows["loss"].max()]
    prediction = f"0, here <= {REACHED:g}"
    return reaches(part, _largest(rows["loss"]), REACHED, _largest(worst["fall"]), prediction)


def _generated(query_only: pd.DataFrame) -> list[Finding]:
    """Of the problems that one of the two kernels solves alone, how many are the Gaussian one's."""
    found = []
    solved = select(query_only, quantity="solved", source="measured")
    for (targets, key_scale, scale), rows in solved.groupby(["targets", "key_scale", "scale"]):
        both = pd.DataFrame({k: by_seed(rows, kernel=k) for k in ("gaussian", "softmax")}).dropna()
        alone = both[both.gaussian != both.softmax]
        where = f"{targets} targets, W_Q at {scale:g}, W_K at {key_scale:g}"
        part = f"Gaussian's share of what one kernel alone solved: {where}"
        prediction = ">= 1/2: Gaussian solves no fewer"
        if alone.empty:
            part += f" ({both.softmax.sum():g} of {len(both)} solved by both)"
            found.append(at_least(part, Interval(0.5, 0.0, 1.0), 0.5, prediction))
        else:
            share = proportion_interval(float(alone.gaussian.sum()), len(alone))
            found.append(at_least(part, share, 0.5, prediction))
    return found


def _largest(values: pd.Series) -> Interval:
    """The largest over starts: there is no chance in it."""
    worst = _some(values).max()
    return Interval(worst, worst, worst)


def _range(values: pd.Series) -> Interval:
    """Mean, least and largest over starts."""
    return Interval(_some(values).mean(), values.min(), values.max())


def _some(values: pd.Series) -> pd.Series:
    if values.empty:
        raise ArithmeticError("no start lies where the rule looks; starts must lie on either side")
    return values


bad_basin = Claim(
    id="kernels.bad_basin",
    statement="Softmax has suboptimal local solutions where the Gaussian kernel has none.",
    equation=r"\exists\, W_Q: \; \nabla L_{softmax} = 0, \; L_{softmax} > \min L, \quad "
    r"\text{but not for } S_{kj} = e^{-\lVert q_k - k_j \rVert^2 / 2 \sqrt d}",
    source=SOURCE,
    rule=f"scalar example, all starts: softmax left of the barrier within {REACHED:g} of 0 (ours), "
    "right of it always further right; Gaussian within it from all starts in "
    f"[{STARTS[0]:g}, {STARTS[1]:g}]; inconclusive while that loss falls; W_Q alone, by initial "
    "scales: of the problems that one kernel solves alone (relative loss below "
    f"{SOLVED:g}, ours) the share of the Gaussian, Wilson's 95 % interval, not below 1/2; "
    "inconclusive without such problems",
    regime=REGIME,
    page="kernels_convergence",
    needs=("scalar", "query_only"),
    judge=_bad_basin,
)
