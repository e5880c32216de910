"""When gradient descent reaches zero loss, how fast, and what the kernel lets it reach."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, jacrev, vmap

from synthetic_tasks import Batch
from synthetic_tasks.threefry import stream
from tdlab.losses import LOSSES
from tdlab.models import KERNELS, Params, over_prompts
from tdlab.optimisers import SGD
from tdlab.probes import (
    entropy,
    gradient_norms,
    row_sums,
    smallest_singular_value,
    stacked_features,
)
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.studies.evaluation import members
from tdlab.studies.kernels.setting import SUBSETS, Setting
from tdlab.theory import song2024
from tdlab.trajectory import Trained

FLOOR = 1e-20  # (ours) relative losses below are rounding: rates are fitted above
CAREFUL = 0.5  # (ours) of 1 / curvature at the start, where that changes on the way
TAIL = 0.5  # (ours) of the steps, over which it is asked whether a loss still falls

PhasePoint = tuple[str, str, int]  # kernel, trained subset, heads
RatePoint = tuple[str, str]  # kernel, trained subset


class Start(NamedTuple):
    """What is known of a run before its first step."""

    batch: Batch
    params: Params
    target_loss: float  # of predicting 0: what a loss is relative to


def start(run: Run) -> Start:
    """The samples of a full-batch run, and its parameters at the start."""
    world = run.task.world(stream(run.seed, "world"))
    batch = run.task.draw(world, torch.empty(run.batch, run.task.uniforms))
    zero = LOSSES[run.loss](torch.zeros_like(batch.target), batch.target)
    return Start(batch, run.model.init(stream(run.seed, "init")), float(zero.mean()))


def relative(results: Sequence[Trained]) -> Float[np.ndarray, "member step"]:
    """Every training loss, relative to that of predicting 0."""
    losses = torch.stack([result.loss for result in results]).double().numpy()
    return losses / np.array([[start(result.run).target_loss] for result in results])


def phase_runs(setting: Setting) -> dict[PhasePoint, list[Run]]:
    """The runs of the phase plot."""
    return {
        (kernel, subset, heads): setting.layer_runs(kernel, heads, subset)
        for kernel in KERNELS
        for subset in SUBSETS
        for heads in setting.heads
    }


def phase(setting: Setting, results: Mapping[PhasePoint, Sequence[Trained]]) -> pd.DataFrame:
    """Final relative loss against H D / N n, by kernel and by which matrices are trained.

    Returns:
        A tidy table of ``relative loss``, and of ``fall``: by what factor, as a logarithm to base
        10, the loss still fell over the second half of the steps. Columns ``kernel``, ``trained``,
        ``heads``, ``ratio``.
    """
    tables = []
    for (kernel, subset, heads), each in results.items():
        losses = relative(each)
        ratio = song2024.capacity(heads, setting.width, setting.samples, setting.tokens)
        where = {"kernel": kernel, "trained": subset, "heads": heads, "ratio": ratio}
        where |= members([result.run for result in each])
        before = losses[:, -1 - max(1, round(TAIL * losses.shape[1]))]
        fall = np.log10(np.maximum(before, FLOOR) / np.maximum(losses[:, -1], FLOOR))
        step = setting.steps
        tables += [
            tidy("relative loss", losses[:, -1], "member", source="measured", step=step, **where),
            tidy("fall", fall, "member", source="measured", step=step, **where),
        ]
    return pd.concat(tables, ignore_index=True)


def rate_runs(setting: Setting) -> dict[RatePoint, list[Run]]:
    """Gradient descent at the largest H D / N n, each run with a step size of its own.

    That is 1 / curvature at the start with W_V alone, where the curvature stays, and ``CAREFUL``
    times as much where all matrices move.

    Returns:
        The runs by kernel and by what is trained.
    """
    runs = {}
    for kernel in KERNELS:
        for subset, factor in (("W_V", 1.0), ("all", CAREFUL)):
            base = setting.layer_runs(kernel, max(setting.heads), subset, steps=setting.rate_steps)
            runs[kernel, subset] = [
                replace(run, optimiser=SGD(lr=factor / _curvature(run, SUBSETS[subset])))
                for run in base
            ]
    return runs


def rates(setting: Setting, results: Mapping[RatePoint, Sequence[Trained]]) -> pd.DataFrame:
    r"""How the loss falls, and at which rate, beside :math:`\sigma_{\min}(B)^2`.

    Returns:
        A tidy table with columns ``kernel``, ``trained``. ``relative loss`` by step, with theory
        rows where only W_V moves; ``rate``, at which the log of the loss falls in the last third of
        what lies above ``FLOOR``, with the rate of the smallest singular value of the Jacobian in
        W_V as theory; ``straight``, its ratio to the rate in the middle third: 1 for a linear rate,
        about 0.58 for a power law; and ``sigma_min`` of B at the start.
    """
    steps = np.unique(np.geomspace(1, setting.rate_steps, 60).round().astype(int)) - 1
    tables = []
    for (kernel, subset), each in results.items():
        runs = [result.run for result in each]
        where = {"kernel": kernel, "trained": subset, **members(runs)}
        losses = relative(each)
        curve = losses[:, steps]
        tables.append(
            tidy("relative loss", curve, "member step", source="measured", step=steps, **where)
        )
        fitted = np.array([_thirds(of_member) for of_member in losses])
        slowest = np.array([_singular(run, ("W_V",))[-1] for run in runs])
        lrs = [run.optimiser.lr for run in runs if isinstance(run.optimiser, SGD)]
        if subset == "W_V":
            exact = np.array([_exact(run, setting.rate_steps) for run in runs])[:, steps]
            law = song2024.rate_with_frozen_scores
            tables.append(
                tidy("relative loss", exact, "member step", source="theory", step=steps, **where)
            )
        else:
            law = song2024.estimate_rate
        predicted = np.array([law(s, lr) for s, lr in zip(slowest, lrs, strict=True)])
        features = torch.stack([_features(run) for run in runs])
        tables += [
            tidy("rate", fitted[:, 1], "member", source="measured", **where),
            tidy("rate", predicted, "member", source="theory", **where),
            tidy("straight", fitted[:, 1] / fitted[:, 0], "member", source="measured", **where),
            tidy(
                "sigma_min",
                smallest_singular_value(features),
                "member",
                source="measured",
                **where,
            ),
        ]
    return pd.concat(tables, ignore_index=True)


def guards(setting: Setting) -> pd.DataFrame:
    """Before training: what the kernel is like, against the scale of W_Q and W_K.

    Returns:
        A tidy table with columns ``kernel``, ``scale``, ``matrix`` (of ``gradient``, the norm for a
        loss relative to that of predicting 0). ``row sum`` and ``entropy`` (of softmax and its
        like, in nats) are means over queries, ``sigma_min`` is that of B.
    """
    tables, heads = [], max(setting.heads)
    for kernel in KERNELS:
        for scale in setting.guard_scales:
            model = replace(setting.layer(kernel, heads), query_scale=scale, key_scale=scale)
            runs = setting.layer_runs(kernel, heads, model=model)
            found = [_guards(run, kernel) for run in runs]
            where = {"kernel": kernel, "scale": scale, **members(runs)}
            for quantity, matrix in found[0]:
                values = np.array([each[quantity, matrix] for each in found])
                where["matrix"] = matrix
                tables.append(tidy(quantity, values, "member", source="measured", step=0, **where))
    return pd.concat(tables, ignore_index=True)


def _guards(run: Run, kernel: str) -> dict[tuple[str, str], float]:
    batch, params, target_loss = start(run)

    def risk(leaves: Params) -> Tensor:
        output = over_prompts(run.model, leaves, batch).output
        return LOSSES[run.loss](output, batch.target).mean() / target_loss

    attention = over_prompts(run.model, params, batch).attention
    found = {
        ("row sum", ""): row_sums(attention).mean(),
        ("sigma_min", ""): smallest_singular_value(stacked_features(attention, batch.prompt)),
    }
    if kernel != "gaussian":  # its rows are no distributions
        found["entropy", ""] = entropy(attention).mean()
    norms = gradient_norms(grad(risk)(params))
    found |= {("gradient", name): norm for name, norm in norms.items()}
    return {key: float(number) for key, number in found.items()}


def _features(run: Run) -> Float[Tensor, "r c"]:
    """B at the start."""
    batch, params, _ = start(run)
    return stacked_features(over_prompts(run.model, params, batch).attention, batch.prompt)


def _linear(
    run: Run, names: Sequence[str]
) -> tuple[Float[np.ndarray, "r p"], Float[np.ndarray, " r"]]:
    """The Jacobian of all outputs in these matrices at the start, and the residual.

    Returns:
        Both divided by the root of N, because the trainer's loss is a mean over samples.
    """
    batch, params, _ = start(run)

    def outputs(leaves: Params) -> Tensor:
        each = vmap(run.model.forward, (None, 0, 0))
        return each({**params, **leaves}, batch.prompt, batch.mask).output.flatten()

    leaves = {name: params[name] for name in names}
    parts = [jacobian.flatten(1) for jacobian in jacrev(outputs)(leaves).values()]
    residual = outputs(leaves) - batch.target.flatten()
    root = len(batch.prompt) ** 0.5
    return (torch.cat(parts, dim=1) / root).numpy(), (residual / root).numpy()


def _singular(run: Run, names: Sequence[str]) -> Float[np.ndarray, " r"]:
    """Singular values of the Jacobian, one for each output; 0 below rounding."""
    jacobian = _linear(run, names)[0]
    values = np.zeros(len(jacobian))
    found = np.linalg.svd(jacobian, compute_uv=False)
    values[: len(found)] = found
    rounding = max(jacobian.shape) * np.finfo(np.float64).eps * values[0]
    return np.where(values > rounding, values, 0.0)


def _curvature(run: Run, names: Sequence[str]) -> float:
    """The largest eigenvalue of the Gauss-Newton part of the Hessian at the start."""
    return float(_singular(run, names)[0] ** 2)


def _exact(run: Run, steps: int) -> Float[np.ndarray, " step"]:
    """The relative loss while only W_V moves."""
    assert isinstance(run.optimiser, SGD)
    losses = song2024.losses_with_frozen_scores(*_linear(run, ("W_V",)), run.optimiser.lr, steps)
    return losses / start(run).target_loss


def _thirds(losses: Float[np.ndarray, " step"]) -> tuple[float, float]:
    """The rates at which the log of the loss falls in the middle and in the last third.

    Returns:
        Least-squares slopes of what lies above ``FLOOR``; NaN where that is too short.
    """
    end = int(np.flatnonzero(losses > FLOOR)[-1]) + 1
    edges = np.linspace(0, end, 4).round().astype(int)
    if end < 12:
        return np.nan, np.nan
    logs = np.log(losses[:end])
    steps = np.arange(end)
    middle, last = (float(-np.polyfit(steps[a:b], logs[a:b], 1)[0]) for a, b in pairwise(edges[1:]))
    return middle, last
