"""Two layers on three classification tasks: does the Gaussian kernel train faster, and higher?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

from synthetic_tasks import Batch, Digits, Pathfinder, sample
from synthetic_tasks.pool import Pooled
from synthetic_tasks.task import cast
from synthetic_tasks.threefry import stream
from tdlab.losses import logistic, zero_one
from tdlab.machine import side_by_side
from tdlab.models import Model, Params, over_prompts
from tdlab.probes import entropy, row_sums
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.studies.evaluation import members
from tdlab.studies.kernels.setting import Setting
from tdlab.trajectory import Trained

# Which sizes of Pathfinder are trained where: 1,024 tokens are too many for a CPU.
SIDES = {"cpu": (16,), "cuda": (16, 32)}
CLASSIFIERS = ("softmax", "gaussian")  # the kernels
BLOCK = 32  # (ours) prompts at once: each holds the attention of every token to every other

Point = tuple[str, str]  # task, kernel


def classification_runs(setting: Setting, device: str = "cpu") -> dict[Point, list[Run]]:
    """The runs of each task and kernel; with Pathfinder at 32 x 32 on a GPU only."""
    runs = {}
    for kernel in CLASSIFIERS:
        runs["digits", kernel] = setting.classifier_runs(Digits(), kernel, setting.digit_steps)
        runs["text", kernel] = setting.classifier_runs(setting.text, kernel, setting.text_steps)
        for side in SIDES[device]:
            task = setting.pathfinder(side)
            of_side = setting.classifier_runs(task, kernel, setting.path_steps)
            runs[f"pathfinder {side}x{side}", kernel] = of_side
    return runs


def held_out(setting: Setting, run: Run) -> Batch:
    """Prompts that the run was not trained on: of a test part, or of the evaluation stream."""
    size = setting.test_prompts
    match run.task:
        case Digits():
            test: Pooled = Digits(part="test")
            size = min(size, test.size)
        case Pathfinder() as task:
            size = setting.path_test
            test = replace(task, part="test", size=size)
        case task:
            return sample(task, seed=run.seed, size=size, dtype=run.torch_dtype)
    world = cast(test.world(stream(run.seed, "world")), run.torch_dtype)
    return test.rows(world, torch.arange(size))


def classification(setting: Setting, results: Mapping[Point, Sequence[Trained]]) -> pd.DataFrame:
    """Accuracy and loss on held-out prompts over training, and what the kernel is like there.

    Theory rows: an ``accuracy`` of one half, that of guessing.

    Returns:
        A tidy table with columns ``task``, ``kernel``: ``accuracy``, ``loss``, ``row sum`` of the
        kernel, and ``entropy`` in nats where its rows are distributions; means over prompts.
    """
    tables = []
    for (task, kernel), each in results.items():
        steps = each[0].steps
        where = {"task": task, "kernel": kernel, "step": steps}
        found = side_by_side(lambda result: _measured(setting, result), each)
        runs = members([result.run for result in each])
        tables += [
            tidy(
                quantity,
                torch.stack([of_member[quantity] for of_member in found]),
                "member step",
                source="measured",
                **where,
                **runs,
            )
            for quantity in found[0]
            if (quantity, kernel) != ("entropy", "gaussian")  # its rows are no distributions
        ]
        guess = torch.full((len(steps),), 0.5)
        tables.append(tidy("accuracy", guess, "step", source="theory", **where))
    return pd.concat(tables, ignore_index=True)


def _measured(setting: Setting, result: Trained) -> dict[str, Float[Tensor, " step"]]:
    """The means over held-out prompts at every snapshot of one run."""
    batch = held_out(setting, result.run)
    blocks = [
        tree_map(lambda leaf, at=at: leaf[at : at + BLOCK], batch)
        for at in range(0, len(batch.prompt), BLOCK)
    ]
    found = [
        [_of_block(result.run.model, result.at(step), block) for block in blocks]
        for step in result.steps
    ]
    return {
        name: torch.stack([torch.cat([each[name] for each in at_step]).mean() for at_step in found])
        for name in found[0][0]
    }


def _of_block(model: Model, params: Params, batch: Batch) -> dict[str, Float[Tensor, " b"]]:
    trace = over_prompts(model, params, batch)
    over_all = (-3, -2, -1)  # layers, heads, tokens
    return {
        "accuracy": 1 - zero_one(trace.output, batch.target),
        "loss": logistic(trace.output, batch.target),
        "row sum": row_sums(trace.attention).mean(over_all),
        "entropy": entropy(trace.attention).mean(over_all),
    }
