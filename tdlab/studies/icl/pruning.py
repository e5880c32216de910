"""What pruning costs: neurons by norm, in three orders, and attention matrices entry by entry."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from synthetic_tasks import Batch
from synthetic_tasks.threefry import stream
from tdlab.models import Params
from tdlab.probes import keep, keep_entries, parts, pruned, rows
from tdlab.probes.pruning import ORDERS
from tdlab.results import tidy
from tdlab.studies.evaluation import evaluate, members, risks
from tdlab.studies.icl.setting import Setting
from tdlab.theory import li2024
from tdlab.trajectory import Trained, final

FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # (ours)
ALPHAS = (0.6, 0.8, 1.0)  # of the test prompts (ours)
LARGE = 0.1  # a neuron is large where the label part of its row is longer than this


def pruning(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Hinge and zero-one risk on unseen tasks against the pruned fraction of neurons.

    Theory rows: the equal-shares estimate for ``largest``, counted in large neurons; no cost for
    ``smallest`` while only small ones go.

    Returns:
        A tidy table with columns ``fraction``, ``order`` (smallest, random, largest by norm of the
        row of W_O; ``all small``: every row that is not large, once), ``alpha`` (of the test
        prompts), ``large`` (the fraction of neurons that are).
    """
    params = final(results)
    large = large_neurons(setting, params)
    variants = {
        (order, fraction): pruned(params, "W_O", _kept(params, fraction, order, results))
        for order in ORDERS
        for fraction in FRACTIONS
    }
    variants["all small", float("nan")] = pruned(params, "W_O", large)
    numbers = _evaluate(setting, results, list(variants.values()), ALPHAS)
    tables = []
    for place, alpha in enumerate(ALPHAS):
        its = {name: each[:, place] for name, each in numbers.items()}
        tables.append(_at_alpha(setting, results, list(variants), its, large, alpha))
    return pd.concat(tables, ignore_index=True)


def attention_pruning(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Risk on unseen tasks against the pruned fraction of entries of W_Q and W_K, smallest first.

    Returns:
        A tidy table with columns ``fraction``, ``matrix``.
    """
    params = final(results)
    variants = {
        (name, fraction): pruned(params, name, keep_entries(params[name], fraction))
        for name in ("W_Q", "W_K")
        for fraction in (*FRACTIONS, 0.95, 0.99)
    }
    tables = []
    runs = [result.run for result in results]
    numbers = _evaluate(setting, results, list(variants.values()), [setting.alpha])
    for place, (name, fraction) in enumerate(variants):
        tables += [
            tidy(
                quantity,
                each[place, 0].mean(-1),
                "member",
                source="measured",
                step=setting.steps,
                matrix=name,
                fraction=fraction,
                **members(runs),
            )
            for quantity, each in numbers.items()
            if quantity != "margin"
        ]
    return pd.concat(tables, ignore_index=True)


def large_neurons(setting: Setting, params: Params) -> Tensor:
    """Which neurons are large: (member, neuron)."""
    _, label = parts(rows(params["W_O"], params["W_V"]), setting.model.width)
    return label.norm(dim=-1) > LARGE


def _kept(params: Params, fraction: float, order: str, results: Sequence[Trained]) -> Tensor:
    """Each member's own mask: a member's random order is its own."""
    return torch.stack(
        [
            keep(weights, fraction, order, stream(result.run.seed, "probe"))
            for weights, result in zip(params["W_O"], results, strict=True)
        ]
    )


def _at_alpha(
    setting: Setting,
    results: Sequence[Trained],
    variants: Sequence[tuple[str, float]],
    numbers: Mapping[str, Tensor],
    large: Tensor,
    alpha: float,
) -> pd.DataFrame:
    runs = [result.run for result in results]
    shared = {"step": setting.steps, "alpha": alpha, **members(runs)}
    share = large.double().mean(-1)  # float32 would round the fractions
    tables = []
    for place, (order, fraction) in enumerate(variants):
        gone = 1 - share if order == "all small" else torch.full_like(share, fraction)
        tables += [
            tidy(
                name,
                numbers[name][place].mean(-1),
                "member",
                source="measured",
                order=order,
                fraction=("member", gone),
                large=("member", share),
                **shared,
            )
            for name in ("hinge", "zero_one")
        ]
    margin = numbers["margin"][0].double().numpy()  # nothing pruned: the first fraction is 0
    predicted = _predicted(margin, share.double().numpy())
    for order, values in predicted.items():
        tables.append(
            tidy(
                "hinge",
                values,
                "member fraction",
                source="theory",
                order=order,
                fraction=FRACTIONS,
                **shared,
            )
        )
    return pd.concat(tables, ignore_index=True)


def _predicted(margin: np.ndarray, share: np.ndarray) -> dict[str, np.ndarray]:
    """Hinge by order, (member, fraction): only large neurons carry the output, in equal shares."""
    fraction = np.array(FRACTIONS)
    share = np.where(share > 0, share, np.nan)  # no large neuron: nothing is predicted
    lost = {
        "largest": np.minimum(fraction / share[:, None], 1),
        "smallest": np.maximum(fraction - (1 - share[:, None]), 0) / share[:, None],
        "random": np.broadcast_to(fraction, (len(share), len(fraction))),
    }
    return {
        order: np.stack(
            [li2024.estimate_pruned_hinge(m, r) for m, r in zip(margin, each, strict=True)]
        )
        for order, each in lost.items()
    }


def _evaluate(
    setting: Setting,
    results: Sequence[Trained],
    variants: list[Params],
    alphas: Sequence[float],
) -> dict[str, Tensor]:
    runs = [result.run for result in results]
    tasks = [replace(setting.task.on_unseen(), alpha=alpha) for alpha in alphas]
    return evaluate(runs, variants, tasks, setting.prompts, _risks_and_margin)


def _risks_and_margin(trace: Any, batch: Batch) -> dict[str, Tensor]:
    return {**risks(trace, batch), "margin": trace.output * batch.target}
