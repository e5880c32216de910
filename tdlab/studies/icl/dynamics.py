"""What happens during training: risk on trained and unseen tasks, attention, neurons."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from synthetic_tasks.threefry import stream
from tdlab.probes import angle, parts, rows
from tdlab.results import tidy
from tdlab.studies.evaluation import evaluate, members, risks_and_attention
from tdlab.studies.icl.setting import Setting
from tdlab.theory import li2024
from tdlab.trajectory import Trained, at_each_step


def dynamics(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Hinge, zero-one, concentration and entropy at every snapshot, on trained and on unseen tasks.

    Theory rows: the concentration before training (step 0) and its limit, and the limit of the
    risk.

    Returns:
        A tidy table with column ``tasks`` (trained, unseen).
    """
    runs = [result.run for result in results]
    steps, params = at_each_step(results)
    variants = [{k: v[:, at] for k, v in params.items()} for at in range(len(steps))]
    tables = []
    for name, task in (("trained", setting.task), ("unseen", setting.task.on_unseen())):
        numbers = evaluate(runs, variants, [task], setting.prompts, risks_and_attention)
        tables += [
            tidy(
                quantity,
                each[:, 0].mean(-1),
                "step member",
                source="measured",
                step=steps,
                tasks=name,
                **members(runs),
            )
            for quantity, each in numbers.items()
        ]
    return pd.concat([*tables, *_predictions(setting, steps[-1])], ignore_index=True)


def training_loss(results: Sequence[Trained]) -> pd.DataFrame:
    """The training loss of every run at every step; NaN from where a run no longer moved."""
    losses = torch.stack([result.loss for result in results])
    runs = [result.run for result in results]
    steps = range(losses.shape[1])
    return tidy("loss", losses, "member step", source="measured", step=steps, **members(runs))


def neurons(results: Sequence[Trained]) -> pd.DataFrame:
    """Angle (degrees) and norm of every neuron's feature part and label part, at every snapshot.

    The feature part is held against the mean IDR pattern, the label part against +q where a > 0 and
    -q where a < 0.

    Returns:
        A tidy table with columns ``neuron``, ``sign`` (of a), ``part`` (feature, label).
    """
    runs = [result.run for result in results]
    steps, params = at_each_step(results)
    mean_pattern, q = _directions(results, params["a"].dtype)
    sign = params["a"].sign()
    feature, label = parts(rows(params["W_O"], params["W_V"]), mean_pattern.shape[-1])
    numbers = {
        ("angle", "feature"): angle(feature, mean_pattern[:, None, None]),
        ("angle", "label"): angle(label * sign[..., None], q[:, None, None]),
        ("norm", "feature"): feature.norm(dim=-1),
        ("norm", "label"): label.norm(dim=-1),
    }
    tables = [
        tidy(
            quantity,
            values,
            "member step neuron",
            source="measured",
            step=steps,
            neuron=range(sign.shape[-1]),
            part=part,
            **members(runs),
        ).assign(sign=sign.flatten().numpy())
        for (quantity, part), values in numbers.items()
    ]
    aligned = [
        tidy("angle", li2024.limit_angle(), "", source="theory", step=steps[-1], part=part)
        for part in ("feature", "label")
    ]
    return pd.concat([*tables, *aligned], ignore_index=True)


def _predictions(setting: Setting, last: int) -> list[pd.DataFrame]:
    start = li2024.initial_concentration(setting.alpha, setting.delta, setting.beta, setting.length)
    limits = {
        "concentration": li2024.limit_concentration(),
        "hinge": li2024.limit_risk(),
        "zero_one": li2024.limit_risk(),
    }
    return [
        tidy("concentration", start, "", source="theory", step=0, tasks="unseen"),
        *(
            tidy(quantity, limit, "", source="theory", step=last, tasks="unseen")
            for quantity, limit in limits.items()
        ),
    ]


def _directions(results: Sequence[Trained], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The mean IDR pattern and q of each member."""
    runs = [result.run for result in results]
    worlds = [run.task.world(stream(run.seed, "world")) for run in runs]
    mean = torch.stack([world.relevant.mean(0) for world in worlds])
    return mean.to(dtype), torch.stack([world.label for world in worlds]).to(dtype)
