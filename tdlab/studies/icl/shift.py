"""Risk under distribution shift: out-of-domain patterns, and prompts unlike those of training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from synthetic_tasks import Batch, InContextClassification, OutOfDomain, Task
from synthetic_tasks.task_sets import Pair
from synthetic_tasks.threefry import stream
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.studies.evaluation import evaluate, members, risks_and_attention
from tdlab.studies.icl.setting import Setting
from tdlab.theory import li2024
from tdlab.trajectory import Trained, final

# Grids (ours); each crosses the value of training, and the coefficient sum the theorem's threshold.
COEFFICIENT_SUMS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
OUTSIDE = (0.0, 0.2, 0.4, 0.6, 0.8)
MIXED = (
    1.2  # a coefficient sum where the theorem holds; at 1 a mixture is one trained pattern alone
)
ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0)
LENGTHS = (5, 10, 20, 40, 80)
KAPPAS = (0.25, 0.5, 1.0, 1.5, 2.0)


def pairings(count: int) -> dict[str, str | tuple[Pair, ...]]:
    """Ways to pair ``count`` patterns.

    Returns:
        ``drawn``: at random for each seed; ``neighbours``: into training tasks; ``opposite``: into
        none of them.
    """
    half = count // 2
    return {
        "drawn": "drawn",
        "neighbours": tuple((2 * j, 2 * j + 1) for j in range(half)),
        "opposite": tuple((j, j + half) for j in range(half)),
    }


def out_of_domain(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Risk and concentration against the coefficient sum S_1, by how patterns are paired.

    Returns:
        A tidy table with columns ``coefficient_sum``, ``pairing``, ``pair`` (whether the pair that
        makes the query's pattern was a training task, ``trained``, or not, ``other``; ``any`` are
        all prompts together), ``shift``.
    """
    tables = []
    for pairing, pairs in pairings(setting.relevant).items():
        mixed = OutOfDomain(trained=setting.task, pairing=pairs)
        tasks = {s: replace(mixed, coefficient_sum=s) for s in COEFFICIENT_SUMS}
        tables += _by_pair(setting, results, tasks, pairing)
    beyond = [s for s in COEFFICIENT_SUMS if s >= li2024.bound_shift_threshold()]
    tables += [
        tidy(
            "hinge", li2024.limit_risk(), "", source="theory", step=setting.steps, coefficient_sum=s
        )
        for s in beyond
    ]
    return pd.concat(tables, ignore_index=True).assign(shift="coefficient_sum")


def outside_span(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Risk and concentration against the part of each pattern outside the span of the trained ones.

    Returns:
        A tidy table with columns ``outside`` (the norm of that part over the norm of the pattern),
        ``shift``.
    """
    mixed = OutOfDomain(trained=setting.task, coefficient_sum=MIXED)
    tasks = {r: replace(mixed, outside=r) for r in OUTSIDE}
    return _table(setting, results, tasks, "outside")


def prompt_shifts(setting: Setting) -> dict[str, dict[float, InContextClassification]]:
    """Unseen tasks that differ from training in one number more, by its name and its value."""
    unseen = setting.task.on_unseen()
    return {
        "alpha": {x: replace(unseen, alpha=x) for x in ALPHAS},
        "length": {x: replace(unseen, length=x) for x in LENGTHS},
        "kappa": {x: replace(unseen, kappa=x) for x in KAPPAS},
    }


def prompt_shift(setting: Setting, results: Sequence[Trained], name: str) -> pd.DataFrame:
    """Risk and concentration on unseen tasks against one number of the test prompts.

    ``name`` says which: ``alpha``, ``length`` or ``kappa``. Theory rows: the limit of the risk for
    prompts that are long enough, l' >= 1 / alpha', at the kappa of training or below.

    Returns:
        A tidy table with a column of that name, and ``shift``.
    """
    tasks = prompt_shifts(setting)[name]
    covered = [
        x
        for x, task in tasks.items()
        if task.length >= li2024.bound_test_length(task.alpha) and task.kappa <= setting.kappa
    ]
    predicted = [
        tidy("hinge", li2024.limit_risk(), "", source="theory", step=setting.steps, **{name: x})
        for x in covered
    ]
    measured = _table(setting, results, tasks, name)
    return pd.concat([measured, *predicted], ignore_index=True).assign(shift=name)


def shift(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """All shifts in one table; the column ``shift`` says which."""
    of_prompts = [prompt_shift(setting, results, name) for name in prompt_shifts(setting)]
    return pd.concat(
        [out_of_domain(setting, results), outside_span(setting, results), *of_prompts],
        ignore_index=True,
    )


def _table(
    setting: Setting, results: Sequence[Trained], tasks: Mapping[float, Task], name: str
) -> pd.DataFrame:
    runs = [result.run for result in results]
    whose = members(runs)
    numbers = evaluate(
        runs, [final(results)], list(tasks.values()), setting.prompts, risks_and_attention
    )
    tables = [
        _row(quantity, mean, setting, whose, **{name: x})
        for quantity, each in numbers.items()
        for x, mean in zip(tasks, each[0].mean(-1), strict=True)
    ]
    return pd.concat(tables, ignore_index=True).assign(shift=name)


def _by_pair(
    setting: Setting,
    results: Sequence[Trained],
    tasks: Mapping[float, OutOfDomain],
    pairing: str,
) -> list[pd.DataFrame]:
    """One row a sum, seed, quantity and kind of pair; a seed without that kind has none."""
    runs = [result.run for result in results]
    numbers = evaluate(
        runs, [final(results)], list(tasks.values()), setting.prompts, _with_query_pattern
    )
    query = numbers.pop("query")[0].long()
    whose, tables = members(runs), []
    for place, (coefficient_sum, task) in enumerate(tasks.items()):
        where = {"coefficient_sum": coefficient_sum, "pairing": pairing}
        was_task = _query_pair_was_trained(task, runs, query[place])
        anyone = torch.ones_like(was_task)
        for pair, mask in (("any", anyone), ("trained", was_task), ("other", ~was_task)):
            for quantity, each in numbers.items():
                mean = (each[0, place] * mask).sum(-1) / mask.sum(-1)
                table = _row(quantity, mean, setting, whose, pair=pair, **where)
                tables.append(table[mask.any(-1).numpy()])
    return tables


def _with_query_pattern(trace: Any, batch: Batch) -> dict[str, Tensor]:
    query = batch.latent.pattern[..., -1]
    return {**risks_and_attention(trace, batch), "query": query.to(batch.target.dtype)}


def _query_pair_was_trained(task: OutOfDomain, runs: Sequence[Run], query: Tensor) -> Tensor:
    """For each (member, prompt), whether the pair behind the query's pattern is a training task."""
    known = {frozenset(pair) for pair in task.trained.pairs}
    rows = [task.pairs(stream(run.seed, "world")).tolist() for run in runs]
    was_task = torch.tensor([[frozenset(pair) in known for pair in row] for row in rows])
    return was_task.gather(-1, query)


def _row(
    quantity: str, mean: Tensor, setting: Setting, whose: Mapping[str, Any], **where: Any
) -> pd.DataFrame:
    return tidy(
        quantity,
        mean,
        "member",
        source="measured",
        step=setting.steps,
        **where,
        **whose,
    )
