"""The comparison: cases, interleaved timings, and the table of ratios that is printed."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch

from synthetic_tasks import FullBatch, InContextClassification, Reasoning, TokenRegression
from tdlab.bench import floor, plain
from tdlab.machine import one_thread
from tdlab.models import KernelLayer, OneHead, OneLayer
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.store import Memory
from tdlab.sweep import trained
from tdlab.train import engine


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training of ours, the same one as a plain loop, and the dense products of its step."""

    name: str
    run: Run
    loop: plain.Training
    products: tuple[floor.Product, ...] = ()
    in_jax: bool = False


_END = At(at=())
CASES = {
    "icl": Case(
        name="in-context learning",
        run=Run(task=InContextClassification(), model=OneLayer(), snapshots=_END),
        loop=plain.in_context,
        products=((12, 100, 60, 60),),
        in_jax=True,
    ),
    "cot": Case(
        name="chain of thought",
        run=Run(task=Reasoning(), model=OneHead(), loss="squared", batch=120, snapshots=_END),
        loop=plain.chain_of_thought,
        products=((1, 120, 60, 60), (1, 60, 120, 60), (1, 120, 60, 30), (1, 120, 30, 60)),
    ),
    "kernels": Case(
        name="kernel layer",
        run=Run(
            task=FullBatch(of=TokenRegression(samples=16, tokens=10, width=8)),
            model=KernelLayer(width=8),
            loss="token_squared",
            optimiser=SGD(lr=1e-3),
            batch=16,
            snapshots=_END,
        ),
        loop=plain.kernel_layer,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds per member and step, medians of interleaved repeats."""

    case: str  # a key of ``CASES``
    members: int
    path: str
    ours: float
    loop: float
    floor: float | None
    jax: float | None


def compare(
    case: str, members: int, path: str, *, steps: int, repeats: int, device: str = "cpu"
) -> Timing:
    """Times one case, in turn with what it is compared with.

    Returns:
        What was measured. A single member starts cold each time, without the programs of the one
        before; of others what their programs take to make is not counted.
    """
    its = CASES[case]
    runs = [replace(its.run, steps=steps, seed=seed) for seed in range(members)]
    its_steps = steps if members == 1 else max(1, steps // 2)
    in_jax = _fastest_in_jax(steps) if its.in_jax and device == "cpu" else None

    def ours() -> Any:
        if members == 1:
            engine.forget()
        return trained(runs, store=Memory(), path=path, device=device)

    def loop() -> Any:
        return its.loop(its_steps)

    def loop_on_one_thread() -> Any:
        with one_thread():
            return loop()

    # Its products are so small that more threads may be slower; it has the better number of them.
    best_loop = min((loop, loop_on_one_thread), key=lambda work: _milliseconds(work, 1))
    rounds: dict[str, list[float]] = {"ours": [], "loop": [], "jax": [], "floor": []}
    for _ in range(repeats + 1):
        rounds["ours"].append(_milliseconds(ours, members * steps))
        rounds["loop"].append(_milliseconds(best_loop, its_steps))
        if in_jax is not None:
            rounds["jax"].append(_milliseconds(in_jax[1], in_jax[0] * steps))
        if its.products:
            rounds["floor"].append(1e3 * floor.seconds(its.products, members) / members)
    found = {name: median(times[1:]) for name, times in rounds.items() if times}
    return Timing(
        case=case,
        members=members,
        path=path,
        ours=found["ours"],
        loop=found["loop"],
        floor=found.get("floor"),
        jax=found.get("jax"),
    )


def main(
    members: Sequence[int],
    *,
    cases: Sequence[str] = tuple(CASES),
    steps: int = 400,
    repeats: int = 5,
    device: str = "cpu",
) -> None:
    """Prints one line for each of the cases, number of members and path."""
    where = f"{torch.get_num_threads()} threads" if device == "cpu" else device
    print(f"{where}, {steps} steps, median of {repeats} interleaved repeats after a first one")
    if find_spec("jax") is None:
        print("JAX is not installed (the extra 'bench'), so it is not in the comparison")
    for case in cases:
        for count in members:
            for path in ("eager", "compiled"):
                timing = compare(case, count, path, steps=steps, repeats=repeats, device=device)
                print(line(timing), flush=True)
        if device == "cpu":
            print(shares(case), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of all of it, baselines and compiler included: {peak:.2f} GB")


def shares(case: str, repeats: int = 20) -> str:
    """Where the time of a compiled step goes: what stands between it and the dense products."""
    run = replace(CASES[case].run, steps=64)
    runs = [replace(run, seed=seed) for seed in range(engine.COMPILED)]
    with one_thread():
        parts = engine.Engine(runs, torch.device("cpu"), "compiled").parts()
        times: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(repeats):
            for name, (work, steps) in parts.items():
                times[name].append(_milliseconds(work, steps * len(runs)))
    medians = {name: median(each[1:]) for name, each in times.items()}
    total = sum(medians.values())
    listed = ", ".join(f"{name} {100 * each / total:.0f} %" for name, each in medians.items())
    return f"{CASES[case].name}, a compiled step of {len(runs)} members on one core: {listed}"


def line(timing: Timing) -> str:
    """The ratios of one timing; times themselves differ from machine to machine."""
    members = "member " if timing.members == 1 else "members"
    parts = [f"{timing.loop / timing.ours:5.1f} times faster than a plain loop"]
    if timing.jax is not None:
        parts.append(f"{timing.jax / timing.ours:4.1f} times faster than JAX")
    if timing.floor is not None:
        parts.append(f"{timing.ours / timing.floor:4.2f} times the dense products alone")
    what = f"{CASES[timing.case].name}, {timing.members:4} {members}, {timing.path:8}: "
    return what + ", ".join(parts) + f"  ({timing.ours:.3f} ms per member and step)"


@cache
def _fastest_in_jax(steps: int) -> tuple[int, Callable[[], Any]] | None:
    """The size of the ensemble that JAX trains fastest, and its training."""
    if find_spec("jax") is None:
        return None
    from tdlab.bench import scan

    made = scan.candidates(steps)
    each = {key: _milliseconds(train, key[0]) for key, train in made.items()}
    best = min(each, key=each.__getitem__)
    return best[0], made[best]


def _milliseconds(work: Callable[[], Any], parts: int) -> float:
    """Wall time for each of so many parts."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started) / parts
