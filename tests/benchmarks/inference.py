"""A curve of chain-of-thought errors: all lengths together, against a plain loop over lengths.

Both answer the same prompts with their first 10, 20, .., 100 examples. The loop is what a competent
user would write: batches of prompts, one length after the other, every step a forward pass over
prompts that have grown by a column. Interleaved, medians, reported as a ratio; nothing passes or
fails. The full curve and the memory that it takes are printed as well.
"""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from synthetic_tasks import sample
from synthetic_tasks.threefry import stream
from tdlab.store import Memory
from tdlab.studies import cot
from tdlab.studies.cot.inference import CHAIN
from tdlab.sweep import trained
from tdlab.trajectory import Trained

PROMPTS, REPEATS, BLOCK = 250, 3, 50
SETTING = replace(cot.setting("paper"), steps=200, lr=4.0, prompts=PROMPTS)
TASK = SETTING.test(SETTING.chain_noise)


def plain_loop(results: list[Trained]) -> Tensor:
    """The share of wrong steps, (member, length)."""
    rows = []
    for result in results:
        world = TASK.world(stream(result.run.seed, "world"))
        codes, patterns = world.codes.float(), world.patterns.float()
        batch = sample(TASK, seed=result.run.seed, size=PROMPTS)
        W, W_V = result.final["W"], result.final["W_V"]
        row = []
        for length in SETTING.lengths:
            wrong = 0.0
            for first in range(0, PROMPTS, BLOCK):
                its = batch.prompt[first : first + BLOCK]
                prompt = torch.cat([its[:, : SETTING.chain * length], its[:, -1:]], dim=1)
                for k in range(SETTING.chain):
                    context, query = prompt[:, :-1], prompt[:, -1]
                    scores = torch.einsum("b n d, b d -> b n", context, query @ W.T)
                    read = torch.einsum("b n, b n d -> b d", scores.softmax(-1), context)
                    found = torch.cdist(read @ W_V.T, patterns).argmin(-1)
                    truth = batch.latent.chain[first : first + BLOCK, k + 1]
                    wrong += float((found != truth).sum())
                    if k + 1 < SETTING.chain:
                        v = patterns[found]
                        told = torch.cat([query[:, : SETTING.width], v], dim=-1)
                        asked = torch.cat([v + codes[k + 1], torch.zeros_like(v)], dim=-1)
                        prompt = torch.cat([context, told[:, None], asked[:, None]], dim=1)
            row.append(wrong / PROMPTS / SETTING.chain)
        rows.append(torch.tensor(row))
    return torch.stack(rows)


def together(results: list[Trained], prompts: int = PROMPTS) -> Tensor:
    """The same, by the study."""
    table = cot.errors(replace(SETTING, prompts=prompts), results, TASK, (CHAIN,))
    mean = table[table.output == "mean over steps"]
    return torch.tensor(mean.pivot(index="seed", columns="length", values="value").to_numpy())


def seconds(curve: Callable[[], Tensor]) -> float:
    """Wall time."""
    started = time.perf_counter()
    curve()
    return time.perf_counter() - started


def main() -> None:
    """Prints both times, their ratio, and the full curve."""
    results = trained(SETTING.runs(), store=Memory())
    apart = (together(results) - plain_loop(results)).abs().max().item()
    pairs = [
        (seconds(lambda: together(results)), seconds(lambda: plain_loop(results)))
        for _ in range(REPEATS)
    ]
    ours, loop = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(
        f"{torch.get_num_threads()} threads, {len(results)} members, {len(SETTING.lengths)} "
        f"lengths, {PROMPTS} prompts: together {ours:.2f} s, plain loop {loop:.2f} s, "
        f"{ratio:.1f} times faster; errors differ by at most {apart:.4f}"
    )
    full = seconds(lambda: together(results, 4000))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"4000 prompts: {full:.1f} s, at a peak of {peak:.2f} GB")


if __name__ == "__main__":
    main()
