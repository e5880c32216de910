"""Milliseconds per member and step: an ensemble of ours against a plain PyTorch loop.

The loop is what a competent user would write: one model at a time, autograd, torch.optim.SGD, the
batch drawn by the same task. Interleaved, medians, reported as a ratio; nothing passes or fails.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from synthetic_tasks import InContextClassification
from synthetic_tasks.task import cast
from synthetic_tasks.threefry import fold, stream, uniforms
from tdlab.losses import hinge
from tdlab.models import OneLayer
from tdlab.run import Run
from tdlab.sweep import trained

STEPS, REPEATS = 60, 5
RUN = Run(task=InContextClassification(), model=OneLayer(), steps=STEPS)


def plain_loop(members: int) -> None:
    """Trains members one after the other."""
    for seed in range(members):
        world = cast(RUN.task.world(stream(seed, "world")), torch.float32)
        params = {k: v.float() for k, v in RUN.model.init(stream(seed, "init")).items()}
        moving = [params[name].requires_grad_() for name in RUN.moving]
        optimiser = torch.optim.SGD(moving, lr=0.1)
        for step in range(STEPS):
            block = uniforms(fold(stream(seed, "train"), step), (RUN.batch, RUN.task.uniforms))
            batch = RUN.task.draw(world, block)
            context, query = batch.prompt[:, :-1], batch.prompt[:, -1]
            key = query @ params["W_Q"].T @ params["W_K"]
            attention = torch.einsum("b l d, b d -> b l", context, key).softmax(-1)
            mixed = torch.einsum("b l, b l d -> b d", attention, context)
            neurons = (mixed @ params["W_V"].T @ params["W_O"].T).relu()
            optimiser.zero_grad()
            hinge(neurons @ params["a"], batch.target).mean().backward()
            optimiser.step()


def ensemble(members: int) -> None:
    """Trains members together."""
    trained([replace(RUN, seed=seed) for seed in range(members)], path="eager")


def milliseconds(train: Callable[[int], None], members: int) -> float:
    """Wall time per member and step."""
    started = time.perf_counter()
    train(members)
    return 1e3 * (time.perf_counter() - started) / members / STEPS


def main() -> None:
    """Prints one line for each number of members."""
    print(
        f"{torch.get_num_threads()} threads, {STEPS} steps, median of {REPEATS} interleaved pairs"
    )
    for members in (1, 8, 32):
        ours, loop = [], []
        for repeat in range(REPEATS + 1):
            pair = milliseconds(ensemble, members), milliseconds(plain_loop, min(members, 4))
            if repeat:  # the first pair warms up
                ours.append(pair[0])
                loop.append(pair[1])
        ratio = statistics.median(b / a for a, b in zip(ours, loop, strict=True))
        print(
            f"{members:3} members: ensemble {statistics.median(ours):.2f} ms, plain loop "
            f"{statistics.median(loop):.2f} ms, {ratio:.1f} times faster"
        )


if __name__ == "__main__":
    main()
