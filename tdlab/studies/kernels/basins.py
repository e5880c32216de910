"""Bad basins: the scalar examples, and how often W_Q alone finds a solution."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from tdlab.models import KERNELS, OneQuery
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.studies.evaluation import members
from tdlab.studies.kernels.convergence import relative
from tdlab.studies.kernels.setting import SCALAR, Setting
from tdlab.theory import song2024
from tdlab.trajectory import Trained

SOLVED = 1e-4  # (ours) a relative loss below counts as success
_OUTPUT = {
    "softmax": song2024.softmax_output,
    "gaussian": song2024.gaussian_output,
    "normalized gaussian": song2024.normalized_gaussian_output,
}

ScalarPoint = tuple[str, str]  # kernel, problem
QueryPoint = tuple[str, str, float, float]  # kernel, targets, scale of W_Q, scale of W_K


def scalar_runs(setting: Setting) -> dict[ScalarPoint, list[Run]]:
    """The runs of a scalar query, one a start."""
    return {
        (kernel, problem): setting.scalar_runs(kernel, problem)
        for kernel in KERNELS
        for problem in SCALAR
    }


def scalar(setting: Setting, results: Mapping[ScalarPoint, Sequence[Trained]]) -> pd.DataFrame:
    """Where gradient descent on one scalar query ends, against where it starts.

    Returns:
        A tidy table with columns ``kernel``, ``problem``, ``q``. Theory rows are the ``loss`` at q,
        and where there are, the place of the ``barrier`` and the ``plateau`` of the loss beyond;
        measured rows are the ``loss`` and the query (``end``) at the end of training from q, and by
        how much the loss still fell (``fall``) in the second half.
    """
    low, high = min(setting.starts) - 1, max(setting.starts) + 1
    q = np.linspace(low, high, 281)
    tables = []
    for (kernel, problem), each in results.items():
        task = SCALAR[problem]
        loss = 0.5 * (_OUTPUT[kernel](q, task.keys, task.values) - task.wanted) ** 2
        named = {"kernel": kernel, "problem": problem}
        tables.append(tidy("loss", loss, "q", source="theory", q=q, **named))
        if (kernel, problem) == ("softmax", next(iter(SCALAR))):
            at = song2024.barrier(task.keys, task.values)
            beyond = song2024.plateau_loss(task.keys, task.values, task.wanted)
            tables += [
                tidy("barrier", at, "", source="theory", **named),
                tidy("plateau", beyond, "", source="theory", **named),
            ]
        runs = [result.run for result in each]
        where = {"step": setting.scalar_steps, **named}
        where |= {"q": ("member", [_start(run) for run in runs]), **members(runs)}
        losses = torch.stack([result.loss[-1] for result in each])
        halfway = torch.stack([result.loss[len(result.loss) // 2] for result in each])
        ends = torch.stack([result.final["q"].flatten()[0] for result in each])
        tables += [
            tidy("loss", losses, "member", source="measured", **where),
            tidy("fall", halfway - losses, "member", source="measured", **where),
            tidy("end", ends, "member", source="measured", **where),
        ]
    return pd.concat(tables, ignore_index=True)


def _start(run: Run) -> float:
    assert isinstance(run.model, OneQuery)
    return run.model.start


def query_runs(setting: Setting) -> dict[QueryPoint, list[Run]]:
    """The runs that train W_Q alone."""
    return {
        (kernel, *point): runs
        for kernel in KERNELS
        for point, runs in setting.query_runs(kernel).items()
    }


def query_only(setting: Setting, results: Mapping[QueryPoint, Sequence[Trained]]) -> pd.DataFrame:
    """How often W_Q alone finds a solution, against the scale it starts at.

    Returns:
        A tidy table of ``relative loss`` at the end, and of ``solved``, 1 where that is below
        ``SOLVED``. Columns ``kernel``, ``targets`` (teacher, random), ``scale`` of W_Q,
        ``key_scale`` of W_K.
    """
    tables = []
    for (kernel, targets, scale, key_scale), each in results.items():
        where = {"kernel": kernel, "targets": targets, "scale": scale, "key_scale": key_scale}
        where |= {"step": setting.query_steps, **members([result.run for result in each])}
        final = relative(each)[:, -1]
        tables += [
            tidy("relative loss", final, "member", source="measured", **where),
            tidy("solved", final < SOLVED, "member", source="measured", **where),
        ]
    return pd.concat(tables, ignore_index=True)
