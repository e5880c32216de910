"""The landscape around two-stage training: one stage-one model, and a kernel for stage two."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from synthetic_tasks import Digits
from synthetic_tasks.task import cast
from synthetic_tasks.threefry import fold, key_of, stream
from tdlab.losses import logistic
from tdlab.machine import side_by_side
from tdlab.models import Model, Params, over_prompts
from tdlab.probes import (
    Risk,
    Spectrum,
    between,
    coordinates,
    filter_normalized,
    gradient_variation,
    orthogonalized,
    plane,
    top_eigenvalues,
)
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.studies.evaluation import members
from tdlab.studies.kernels.setting import STAGE_TWO, Setting
from tdlab.trajectory import Diverged, Trained

# Where x W is read a filter is a column; a position, and a layer's biases, are one each. All else
# is as the probe has it.
SPANS = {"P": (-1,), "W_1": (-2,), "W_2": (-2,), "b_1": (-1,), "b_2": (-1,)}
# What a key of the probes is folded with, so that no two uses share a number.
_FIRST, _SECOND, _LANCZOS = 1, 2, 3


class Plane(NamedTuple):
    """A plane through the parameters of one model."""

    model: Model
    kernel: str
    kind: str  # "random" or "runs"
    origin: Params
    first: Params
    second: Params
    path: dict[int, Params]  # snapshots of stage two, by step


def risk_of(setting: Setting, model: Model, dtype: torch.dtype) -> Risk:
    """The mean loss of the model on the first training samples, as a function of parameters."""
    task = Digits()
    world = cast(task.world(key_of(0)), dtype)  # the same whatever the key
    batch = task.rows(world, torch.arange(setting.land_samples))

    def risk(params: Params) -> Tensor:
        return logistic(over_prompts(model, params, batch).output, batch.target).mean()

    return risk


def planes(results: Mapping[str, Sequence[Trained]]) -> list[Plane]:
    """The planes that are drawn, of the first seed that every kernel has.

    ``random``: at the end of stage two, along a filter-normalized pair of directions, the same for
    every kernel but for the norms. ``runs``: from the start of stage two along its own end minus
    start, and along that of the other kernel, orthogonalized; a step of one reaches the ends.

    Returns:
        Two planes for each kernel.
    """
    chosen = _of_one_seed(results)
    others = [*chosen.values()][1:] + [*chosen.values()][:1]
    made = []
    for (kernel, result), other in zip(chosen.items(), others, strict=True):
        start, end = result.at(0), result.final
        path = {step: result.at(step) for step in result.steps}
        model = result.run.model
        key = stream(result.run.seed, "probe")
        pair = [filter_normalized(end, fold(key, which), SPANS) for which in (_FIRST, _SECOND)]
        own = between(start, end)
        across = orthogonalized(between(other.at(0), other.final), own)
        made += [
            Plane(model, kernel, "random", end, pair[0], pair[1], path),
            Plane(model, kernel, "runs", start, own, across, path),
        ]
    return made


def directions(made: Sequence[Plane]) -> dict[str, Tensor]:
    """Origin and directions of every plane, to be stored: kernel, kind, which, leaf."""
    return {
        f"{each.kernel}/{each.kind}/{which}/{name}": leaf
        for each in made
        for which in ("origin", "first", "second")
        for name, leaf in getattr(each, which).items()
    }


def surfaces(setting: Setting, results: Mapping[str, Sequence[Trained]]) -> pd.DataFrame:
    """The loss on every plane, and where stage two went on those of ``runs``.

    Returns:
        A tidy table with columns ``kernel``, ``kind``, ``x``, ``y``: ``loss`` on the grid, and
        ``path`` with the step of stage two as value.
    """
    runs = {kernel: result.run for kernel, result in _of_one_seed(results).items()}
    made = planes(results)
    spans = {"random": setting.land_random, "runs": setting.land_runs}
    grids = {kind: np.linspace(*ends, setting.land_points) for kind, ends in spans.items()}

    def loss(each: Plane) -> Tensor:
        at = torch.from_numpy(grids[each.kind])
        risk = risk_of(setting, each.model, torch.float32)
        return plane(risk, each.origin, each.first, each.second, at, at)

    tables = []
    for each, values in zip(made, side_by_side(loss, made), strict=True):
        at, run = grids[each.kind], runs[each.kernel]
        where = {"kernel": each.kernel, "kind": each.kind, "run": run.id, "seed": run.seed}
        tables.append(tidy("loss", values, "y x", source="measured", x=at, y=at, **where))
        if each.kind == "runs":
            places = [
                coordinates(params, each.origin, each.first, each.second)
                for params in each.path.values()
            ]
            x, y = torch.stack(places).T
            steps = list(each.path)
            path = {"x": ("step", x), "y": ("step", y), "step": steps}
            tables.append(tidy("path", np.array(steps), "step", source="measured", **path, **where))
    return pd.concat(tables, ignore_index=True)


def curvature(setting: Setting, results: Mapping[str, Sequence[Trained]]) -> pd.DataFrame:
    """Top eigenvalues of the Hessian along stage two, and the loss there, on the same samples.

    Returns:
        A tidy table with columns ``stage_one`` (its kernel), ``kernel`` (of stage two), ``rank`` (0
        is the largest ``eigenvalue``; the ``residual`` is how far it may be off).
    """
    jobs = [(kernel, result, step) for kernel, result, step in _snapshots(results)]

    def spectrum(job: tuple[str, Trained, int]) -> tuple[Spectrum, float]:
        _, result, step = job
        params = {name: leaf.double() for name, leaf in result.at(step).items()}
        risk = risk_of(setting, result.run.model, torch.float64)
        key = fold(stream(result.run.seed, "probe"), _LANCZOS)
        found = top_eigenvalues(risk, params, setting.land_eigenvalues, key, tolerance=1e-3)
        return found, float(risk(params))

    tables = []
    for (kernel, result, step), (found, loss) in zip(
        jobs, side_by_side(spectrum, jobs), strict=True
    ):
        where = {"stage_one": setting.stage_one, "kernel": kernel, "step": step}
        where |= {"run": result.run.id, "seed": result.run.seed}
        ranks = range(len(found.values))
        tables += [
            tidy("eigenvalue", found.values, "rank", source="measured", rank=ranks, **where),
            tidy("residual", found.residuals, "rank", source="measured", rank=ranks, **where),
            tidy("loss", loss, "", source="measured", **where),
        ]
    return pd.concat(tables, ignore_index=True)


def variation(setting: Setting, results: Mapping[str, Sequence[Trained]]) -> pd.DataFrame:
    """How fast the gradient changes along the segment from the start to the end of stage two.

    Returns:
        A tidy table of ``variation`` with columns ``stage_one``, ``kernel``, and ``at``, the middle
        of a piece.
    """
    edges = torch.linspace(0, 1, setting.land_pieces + 1, dtype=torch.float64)
    tables = []
    for kernel, each in results.items():

        def along(result: Trained) -> Tensor:
            start, end = (
                {k: v.double() for k, v in p.items()} for p in (result.at(0), result.final)
            )
            risk = risk_of(setting, result.run.model, torch.float64)
            return gradient_variation(risk, start, between(start, end), edges)

        values = torch.stack(side_by_side(along, each))
        at = (edges[1:] + edges[:-1]) / 2
        where = {"stage_one": setting.stage_one, "kernel": kernel, "at": at}
        where |= members([result.run for result in each])
        tables.append(tidy("variation", values, "member at", source="measured", **where))
    return pd.concat(tables, ignore_index=True)


def _of_one_seed(results: Mapping[str, Sequence[Trained]]) -> dict[str, Trained]:
    """For each kernel the result of the first seed that all of them have."""
    by_seed = {k: {result.run.seed: result for result in each} for k, each in results.items()}
    common = set.intersection(*map(set, by_seed.values()))
    if not common:
        raise Diverged("no seed is left of all kernels; a smaller class_lr may help")
    return {kernel: of_seed[min(common)] for kernel, of_seed in by_seed.items()}


def stage_runs(setting: Setting) -> dict[str, list[Run]]:
    """The runs of stage two, by kernel; those of one seed start after the same run."""
    return {kernel: setting.stage_two(kernel) for kernel in STAGE_TWO}


def _snapshots(results: Mapping[str, Sequence[Trained]]) -> Iterator[tuple[str, Trained, int]]:
    for kernel, each in results.items():
        for result in each:
            for step in result.steps:
                yield kernel, result, step
