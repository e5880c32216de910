"""How long prompts must be: in training against 1 / alpha, in testing against 1 / alpha'."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from tdlab.probes import first_below
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.studies.evaluation import evaluate, members, risks
from tdlab.studies.icl.rates import ALPHA, RISK
from tdlab.studies.icl.setting import Setting
from tdlab.studies.regimes import OURS
from tdlab.theory import li2024
from tdlab.trajectory import Trained, final

ERROR = 0.05  # (ours) the zero-one error that a test prompt must be long enough for; hinge: RISK


def length_runs(setting: Setting) -> dict[str, list[Run]]:
    """The runs whose test prompts are made longer and longer, by regime."""
    return {regime: its.runs(snapshots=At(at=())) for regime, its in setting.regimes.items()}


def test_lengths(setting: Setting, results: Mapping[str, Sequence[Trained]]) -> pd.DataFrame:
    """The smallest length l' of test prompts that reaches a fixed risk, against 1 / alpha'.

    The risk is the hinge risk on unseen tasks, and then the zero-one error. Between the lengths of
    the setting it is taken to be straight. Theory rows: the bound 1 / alpha'.

    Returns:
        A tidy table of ``length`` with columns ``regime``, ``risk`` (hinge, zero_one), ``at``:
        1 / alpha', and ``limit``, the longest prompts there were. NaN where these are too short.
    """
    lengths, alphas = sorted(setting.law_lengths), setting.law_test_alphas
    tables = []
    for regime, each in results.items():
        runs = [result.run for result in each]
        unseen = setting.regimes[regime].task.on_unseen()
        where = {"regime": regime, "limit": float(lengths[-1]), **members(runs)}
        for alpha in alphas:
            tasks = [replace(unseen, alpha=alpha, length=length) for length in lengths]
            found = evaluate(runs, [final(each)], tasks, setting.law_prompts, risks)
            for risk, level in (("hinge", RISK), ("zero_one", ERROR)):
                needed = first_below(lengths, found[risk][0].double().mean(-1).T.numpy(), level)
                at = {"risk": risk, "at": 1 / alpha, **where}
                tables.append(tidy("length", needed, "member", source="measured", **at))
                at = {"risk": risk, "at": 1 / alpha, "regime": regime}
                bound = li2024.bound_test_length(alpha)
                tables.append(tidy("length", bound, "", source="theory", **at))
    return pd.concat(tables, ignore_index=True)


def training_runs(setting: Setting) -> dict[float, list[Run]]:
    """Runs by alpha, whose length and number of steps grow as the theorem says."""
    return {
        alpha: its.runs(snapshots=At(at=()))
        for alpha, its in setting.regimes[OURS].by_alpha.items()
    }


def training_lengths(setting: Setting, results: Mapping[float, Sequence[Trained]]) -> pd.DataFrame:
    """Final risk on unseen tasks at alpha' = ``ALPHA`` after training with l in ratio to 1 / alpha.

    Returns:
        A tidy table of ``hinge`` and ``zero_one`` with columns ``alpha`` and ``length``.
    """
    unseen = replace(setting.task.on_unseen(), alpha=ALPHA)
    tables = []
    for alpha, each in results.items():
        runs = [result.run for result in each]
        found = evaluate(runs, [final(each)], [unseen], setting.law_prompts, risks)
        length = setting.by_alpha[alpha].length
        where = {"step": runs[0].steps, "alpha": alpha, "length": length}
        tables += [
            tidy(
                name,
                numbers[0, 0].mean(-1),
                "member",
                source="measured",
                **where,
                **members(runs),
            )
            for name, numbers in found.items()
        ]
    return pd.concat(tables, ignore_index=True)
