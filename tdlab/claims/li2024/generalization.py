"""The risk on tasks that were not trained on, and what training must cover."""

import pandas as pd

from tdlab.claims.claim import Claim, Finding, above, at_most
from tdlab.claims.li2024.constants import ERROR, HINGE, REGIME, SOURCE
from tdlab.claims.rows import by_seed, over_seeds, paired, select
from tdlab.statistics import error_interval
from tdlab.studies.icl import Setting


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
    equation=r"L_{T \setminus T_{tr}} \le O(\epsilon), \qquad |T_{tr}| = M_1",
    source=SOURCE,
    rule=f"95 % interval over seeds at the last step: zero-one error at most {ERROR:g}, "
    f"hinge risk at most {HINGE:g} (ours)",
    regime=REGIME,
    page="icl_dynamics",
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
    equation=r"L_{T \setminus T_{tr}} \le O(\epsilon) "
    r"\text{ if } T_{tr} \text{ covers every pattern with both labels}",
    source=SOURCE,
    rule="95 % interval of the paired difference over seeds, equal numbers of tasks: above 0",
    regime=REGIME,
    page="icl_dynamics",
    needs=("coverage",),
    judge=_coverage,
)
