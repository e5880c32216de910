"""The study's transformer in context: an ensemble against a plain loop over GPT-2s of modules.

The loop is what a competent user would write: fused attention and normalization, torch's own Adam,
batches from a ``torch.Generator``, on all threads, or on one if that is faster; models would follow
one another. Interleaved, medians, reported as a ratio; nothing passes or fails.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from tdlab.bench.plain import in_context_batch
from tdlab.machine import one_thread
from tdlab.store import Memory
from tdlab.studies import multilayer
from tdlab.sweep import trained

MEMBERS, STEPS, REPEATS = 4, 200, 3
OF_LOOP = 40  # steps of one model
SETTING = replace(multilayer.setting("paper"), seeds=MEMBERS, steps=STEPS)
SHAPE = SETTING.model("in context")


class Block(nn.Module):
    """A layer of GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(SHAPE.width), nn.LayerNorm(SHAPE.width)
        self.qkv = nn.Linear(SHAPE.width, 3 * SHAPE.width)
        self.joined = nn.Linear(SHAPE.width, SHAPE.width)
        self.up = nn.Linear(SHAPE.width, SHAPE.hidden)
        self.down = nn.Linear(SHAPE.hidden, SHAPE.width)

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream after the layer."""
        of_heads = self.qkv(self.before(x)).unflatten(-1, (3, SHAPE.heads, -1)).movedim(-2, 1)
        q, k, v = of_heads.unbind(-2)
        read = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.joined(read.movedim(1, 2).flatten(-2))
        return x + self.down(gelu(self.up(self.between(x)), approximate="tanh"))


class GPT(nn.Module):
    """The whole of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Linear(SHAPE.token_width, SHAPE.width)
        self.positions = nn.Parameter(torch.randn(SHAPE.columns, SHAPE.width) * SHAPE.xi)
        self.blocks = nn.Sequential(*(Block() for _ in range(SHAPE.layers)))
        self.after, self.answer = nn.LayerNorm(SHAPE.width), nn.Linear(SHAPE.width, 1)

    def forward(self, prompt: Tensor) -> Tensor:
        """The answer to each query."""
        x = self.blocks(self.tokens(prompt) + self.positions)
        return self.answer(self.after(x[:, -1]))[:, 0]


def plain_loop() -> None:
    """One model."""
    chance = torch.Generator()
    patterns = 3 * torch.linalg.qr(torch.randn(30, 30, generator=chance))[0]
    q = normalize(torch.randn(30, generator=chance), dim=0)
    model = GPT()
    optimiser = torch.optim.Adam(model.parameters(), lr=SETTING.lr)
    for _ in range(OF_LOOP):
        prompt, target = in_context_batch(chance, patterns, q)
        optimiser.zero_grad()
        loss = (1 - target * model(prompt)).clamp(min=0).mean()
        loss.backward()
        optimiser.step()


def plain_loop_on_one_thread() -> None:
    """The same."""
    with one_thread():
        plain_loop()


def milliseconds(work: Callable[[], object], steps: int) -> float:
    """Wall time of a step."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started) / steps


def whole_training() -> None:
    """Prints how long four seeds of preset paper train, and what they fit."""
    setting = replace(multilayer.setting("paper"), seeds=MEMBERS)
    started = time.perf_counter()
    results = trained(setting.runs("in context"), store=Memory())
    seconds = time.perf_counter() - started
    table = multilayer.generalization(setting, {6: results})
    error = table[(table.quantity == "error") & (table.tasks == "trained")].value
    print(
        f"{setting.steps} steps of {MEMBERS} seeds: {seconds:.0f} s; error on the training tasks "
        f"{error.mean():.2%}, at most {error.max():.2%}"
    )


def main() -> None:
    """Prints both times and their ratio."""
    runs = SETTING.runs("in context")
    both = (plain_loop, plain_loop_on_one_thread)
    plain_loop()
    loop = min(both, key=lambda work: milliseconds(work, OF_LOOP))
    rounds = [
        (
            milliseconds(loop, OF_LOOP),
            milliseconds(lambda: trained(runs, store=Memory()), MEMBERS * STEPS),
        )
        for _ in range(REPEATS)
    ]
    slow, fast = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(slow / fast for slow, fast in rounds)
    print(
        f"{torch.get_num_threads()} threads, {MEMBERS} members of {SHAPE.layers} layers: "
        f"{fast:.1f} ms a member's step, {ratio:.2f} times faster than a plain loop ({slow:.1f} ms)"
    )
    whole_training()


if __name__ == "__main__":
    main()
