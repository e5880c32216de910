"""The transformer beside classical learners that are fitted on each prompt's own examples."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from synthetic_tasks import Batch, InContextClassification
from tdlab.baselines import bayes_optimal, bayes_risk, classical
from tdlab.losses import zero_one
from tdlab.machine import side_by_side
from tdlab.models import over_members
from tdlab.results import tidy
from tdlab.studies.evaluation import members
from tdlab.studies.icl.setting import Setting
from tdlab.studies.prompts import prompts
from tdlab.trajectory import Trained, final

ALPHAS = (0.6, 0.8)  # of the test prompts
KAPPAS = (0.5, 1.0, 2.0)  # kappa_max of the test prompts
TRANSFORMER, BAYES = "transformer", "Bayes-optimal"


def learners(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Zero-one error of each learner on the same prompts, by number of examples, alpha and kappa.

    The Bayes-optimal predictor knows patterns, alpha and the task set; its rows have source
    ``theory``.

    Returns:
        A tidy table with columns ``learner``, ``length``, ``alpha``, ``kappa`` (of the test
        prompts).
    """
    unseen = setting.task.on_unseen()
    points = [
        replace(unseen, alpha=alpha, kappa=kappa, length=length)
        for alpha in ALPHAS
        for kappa in KAPPAS
        for length in setting.lengths
    ]
    tables = side_by_side(lambda task: _table(setting, results, task), points)
    return pd.concat(tables, ignore_index=True)


def _table(
    setting: Setting, results: Sequence[Trained], task: InContextClassification
) -> pd.DataFrame:
    runs = [result.run for result in results]
    size = math.ceil(setting.classical_prompts / len(runs))
    blocks = list(prompts(task, runs, size))
    errors: dict[str, list[Tensor]] = {}
    for batch in blocks:
        trace = over_members(runs[0].model, final(results), batch)
        found = {TRANSFORMER: zero_one(trace.output, batch.target), **_others(task, batch)}
        for name, error in found.items():
            errors.setdefault(name, []).append(error)
    return pd.concat(
        [
            tidy(
                "zero_one",
                torch.cat(error, dim=-1).mean(-1),
                "member",
                source="theory" if name == BAYES else "measured",
                step=setting.steps,
                learner=name,
                length=task.length,
                alpha=task.alpha,
                kappa=task.kappa,
                **members(runs),
            )
            for name, error in errors.items()
        ],
        ignore_index=True,
    )


def _others(task: InContextClassification, batch: Batch) -> dict[str, Tensor]:
    """Errors of the classical learners and of the Bayes-optimal predictor, (member, prompt)."""
    shape, latent = batch.target.shape, batch.latent
    x = batch.prompt[..., : task.width].flatten(0, 1)
    label, target = latent.label.flatten(0, 1), batch.target.flatten()
    found = {
        name: zero_one(prediction, target)
        for name, prediction in classical(x[:, :-1], label, x[:, -1]).items()
    }
    pattern = latent.pattern.flatten(0, 1)
    posterior = bayes_optimal(
        pattern[:, :-1],
        label,
        pattern[:, -1],
        torch.tensor(task.pairs),
        task.alpha,
        task.relevant,
    )
    found[BAYES] = bayes_risk(posterior, target).to(target.dtype)
    return {name: error.unflatten(0, shape) for name, error in found.items()}
