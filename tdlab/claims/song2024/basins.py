"""Suboptimal local solutions: one scalar query, and generated problems with W_Q alone."""

import pandas as pd

from tdlab.claims.claim import INCONCLUSIVE, Claim, Finding, at_least, at_most
from tdlab.claims.rows import by_seed, paired, select
from tdlab.claims.song2024.constants import REACHED, SOURCE
from tdlab.statistics import Interval
from tdlab.studies.kernels.basins import SOLVED
from tdlab.studies.kernels.setting import SCALAR
from tdlab.theory import song2024

FAR = 5.0  # (ours) Gaussian starts beyond are dead: there is nothing near to attend to


def _bad_basin(scalar: pd.DataFrame, query_only: pd.DataFrame) -> list[Finding]:
    problem, task = next(iter(SCALAR.items()))
    barrier = song2024.barrier(task.keys, task.values)
    plateau = song2024.plateau_loss(task.keys, task.values, task.wanted)
    ends = select(scalar, quantity="loss", source="measured", problem=problem)
    beyond = ends[(ends.kernel == "softmax") & (ends.q > barrier)]
    alive = ends[(ends.kernel == "gaussian") & (ends.q.abs() <= FAR)]
    found = [
        at_least(
            f"loss of softmax started beyond the barrier, q = {barrier:.3f}",
            _range(beyond),
            plateau,
            f">= {plateau:g}: it drifts off on a plateau",
        ),
        at_most(
            f"loss of the Gaussian kernel from every start with |q| <= {FAR:g}",
            _range(alive),
            REACHED,
            f"0, here <= {REACHED:g}",
        ),
    ]
    for (targets, key_scale, scale), rows in query_only[query_only.quantity == "solved"].groupby(
        ["targets", "key_scale", "scale"], sort=True
    ):
        gaussian, softmax = (by_seed(rows, kernel=kernel) for kernel in ("gaussian", "softmax"))
        scales = f"W_Q at {scale:g}, W_K at {key_scale:g}"
        part = f"solved by Gaussian less by softmax: {targets} targets, {scales}"
        finding = at_least(part, paired(gaussian, softmax), 0.0, ">= 0: it solves no fewer")
        if not gaussian.any() and not softmax.any():
            part = f"{finding.part} (neither solves any)"
            finding = finding._replace(part=part, verdict=INCONCLUSIVE)
        found.append(finding)
    return found


def _range(rows: pd.DataFrame) -> Interval:
    """Mean, least and largest over starts: there is no chance in it."""
    if rows.empty:
        raise ArithmeticError("no start lies where the rule looks; starts must lie on either side")
    return Interval(rows.value.mean(), rows.value.min(), rows.value.max())


bad_basin = Claim(
    id="kernels.bad_basin",
    statement="Softmax has suboptimal local solutions where the Gaussian kernel has none.",
    source=SOURCE,
    rule="scalar example (range over starts): softmax beyond the barrier ends no lower than its "
    f"plateau, Gaussian from |q| <= {FAR:g} within {REACHED:g} of 0 (ours); W_Q alone, by initial "
    "scales of W_Q and W_K: 95 % interval over problems of the difference in those solved "
    f"(relative loss below {SOLVED:g}, ours) not below 0; inconclusive where neither solves any",
    needs=("scalar", "query_only"),
    judge=_bad_basin,
)
