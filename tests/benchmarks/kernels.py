"""The attention-kernel study: the phase plot, a plane of the landscape, the top of a spectrum.

Each stands beside a baseline of the same run: the phase plot in ensembles of one program and one
trained subset, as large members have them; the plane by a plain loop over its points; the spectrum
by the dense Hessian. Interleaved where it is short, medians, reported as ratios; nothing passes or
fails.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import hessian

from synthetic_tasks.threefry import stream
from tdlab import sweep
from tdlab.models import Params, SequenceClassifier
from tdlab.probes import Risk, filter_normalized, plane, top_eigenvalues
from tdlab.store import Memory
from tdlab.studies import kernels
from tdlab.sweep import groups

SETTING = kernels.setting("paper")
POINTS, REPEATS = 41, 3
COUNT = 5  # eigenvalues
FEW = 2  # samples for the dense Hessian, which holds all of its rows at once
SMALL = SequenceClassifier(width=8, hidden=4)  # about 1,000 parameters


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def phase() -> None:
    """All points of the phase plot, ``REPEATS`` times fewer steps for the comparison."""
    runs = [run for each in kernels.phase_runs(SETTING).values() for run in each]
    whole = seconds(lambda: sweep.trained(runs, store=Memory()))
    shared, small = [], groups._SMALL
    some = runs[:: len(SETTING.heads)]
    for _ in range(REPEATS):
        together = seconds(lambda: sweep.trained(some, store=Memory()))
        groups._SMALL = 0
        apart = seconds(lambda: sweep.trained(some, store=Memory()))
        groups._SMALL = small
        shared.append(apart / together)
    print(
        f"phase plot, {len(runs)} runs of {SETTING.steps} steps: {whole:.0f} s; a part of it "
        f"{statistics.median(shared):.1f} times faster than one ensemble a trained subset"
    )


def at_start(model: SequenceClassifier, dtype: torch.dtype, samples: int) -> tuple[Risk, Params]:
    """The loss on so many of the study's samples, and the model's parameters."""
    params = model.init(stream(0, "init"))
    leaves = {name: leaf.to(dtype) for name, leaf in params.items()}
    return kernels.risk_of(replace(SETTING, land_samples=samples), model, dtype), leaves


Pair = tuple[Params, Params]


def by_points(risk: Risk, params: Params, pair: Pair, at: Tensor) -> Tensor:
    """What anybody would write."""
    rows = []
    with torch.no_grad():
        for y in at:
            for x in at:
                point = {k: v + x * pair[0][k] + y * pair[1][k] for k, v in params.items()}
                rows.append(risk(point))
    return torch.stack(rows).unflatten(0, (len(at), len(at)))


def surface() -> None:
    """A plane of the study's classifier."""
    model = SequenceClassifier(width=SETTING.land_width, hidden=SETTING.land_hidden)
    risk, params = at_start(model, torch.float32, SETTING.land_samples)
    first, second = (filter_normalized(params, stream(place, "probe")) for place in (0, 1))
    pair = (first, second)
    at = torch.linspace(-1, 1, POINTS)
    few = torch.linspace(-1, 1, 11)
    apart = (plane(risk, params, *pair, few, few) - by_points(risk, params, pair, few)).abs().max()
    whole = seconds(lambda: plane(risk, params, *pair, at, at))
    ratios = [
        seconds(lambda: by_points(risk, params, pair, few))
        / seconds(lambda: plane(risk, params, *pair, few, few))
        for _ in range(REPEATS)
    ]
    count = sum(leaf.numel() for leaf in params.values())
    print(
        f"plane of {POINTS} x {POINTS} points, {count} parameters, {SETTING.land_samples} samples: "
        f"{whole:.1f} s; {statistics.median(ratios):.2f} times faster than a loop over points, "
        f"from which it differs by at most {apart:.1e}"
    )


def spectrum() -> None:
    """The largest eigenvalues, and those of the dense Hessian."""
    risk, params = at_start(SMALL, torch.float64, FEW)
    names = list(params)
    flat = torch.cat([params[name].flatten() for name in names])

    def of_flat(vector: Tensor) -> Tensor:
        parts = vector.split([params[name].numel() for name in names])
        return risk({k: v.view_as(params[k]) for k, v in zip(names, parts, strict=True)})

    dense: list[Tensor] = []
    slow = seconds(lambda: dense.append(torch.linalg.eigvalsh(hessian(of_flat)(flat))))
    found = top_eigenvalues(risk, params, COUNT, stream(0, "probe"))
    fast = seconds(lambda: top_eigenvalues(risk, params, COUNT, stream(0, "probe")))
    wanted = dense[0].flip(0)[:COUNT]
    apart = ((found.values - wanted) / wanted).abs().max()
    print(
        f"top {COUNT} of {len(flat)} eigenvalues: {fast:.2f} s and {found.products} products, "
        f"{slow / fast:.0f} times faster than the dense Hessian, from which it differs by "
        f"{apart:.1e} at most, relatively"
    )


def main() -> None:
    """Prints all three."""
    print(f"{torch.get_num_threads()} threads")
    spectrum()
    surface()
    phase()


if __name__ == "__main__":
    main()
