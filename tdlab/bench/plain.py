"""Plain PyTorch loops, as a competent user would write them: one model at a time, autograd, SGD.

They draw their batches from a ``torch.Generator``, the fastest way there is, and know nothing of
the rest of this package; so they repeat what the tasks and the models say, on purpose.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

Training = Callable[[int], Tensor]  # of a number of steps: the last loss


def in_context(steps: int) -> Tensor:
    """The default in-context run: 60-dimensional tokens, 20 examples, batch 100, 64 neurons."""
    chance = torch.Generator()
    patterns = 3 * torch.linalg.qr(torch.randn(30, 30, generator=chance))[0]
    q = normalize(torch.randn(30, generator=chance), dim=0)
    blind = torch.diag(torch.tensor([0.2] * 30 + [0.0] * 30))
    W_Q, W_K = blind.clone().requires_grad_(), blind.clone().requires_grad_()
    W_V = (0.2 * torch.eye(60)).requires_grad_()
    W_O = (0.02 * torch.randn(64, 60, generator=chance)).requires_grad_()
    a = torch.where(torch.rand(64, generator=chance) < 0.5, 0.125, -0.125)
    optimiser = torch.optim.SGD([W_Q, W_K, W_V, W_O], lr=0.1)
    loss = a.new_zeros(())
    for _ in range(steps):
        prompt, target = in_context_batch(chance, patterns, q)
        context, query = prompt[:, :-1], prompt[:, -1]
        wanted = query @ W_Q.T @ W_K
        attention = torch.einsum("b l d, b d -> b l", context, wanted).softmax(-1)
        read = torch.einsum("b l, b l d -> b d", attention, context)
        output = torch.relu(read @ W_V.T @ W_O.T) @ a
        optimiser.zero_grad()
        loss = (1 - target * output).clamp(min=0).mean()
        loss.backward()
        optimiser.step()
    return loss.detach()


def in_context_batch(chance: torch.Generator, patterns: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """100 prompts and their targets."""
    first = torch.randint(6, (100, 1), generator=chance)
    second = (first + 1) % 6
    positive = torch.rand(100, 1, generator=chance) < 0.5
    u = torch.rand(100, 20, generator=chance)
    other = torch.randint(4, (100, 20), generator=chance)
    other = other + (other >= torch.minimum(first, second))
    other = other + (other >= torch.maximum(first, second))
    example = torch.where(u < 0.4, first, torch.where(u < 0.8, second, other))
    label = torch.where(u < 0.8, u < 0.4, torch.rand(100, 20, generator=chance) < 0.5)
    pattern = torch.cat([example, torch.where(positive, first, second)], dim=1)
    k = torch.randint(24, (100, 21), generator=chance)
    kappa = torch.rand(100, 21, 1, generator=chance) - 0.5
    x = patterns[:6][pattern] + kappa * patterns[6:][k]
    y = torch.cat([2.0 * label - 1, torch.zeros(100, 1)], dim=1)[..., None] * q
    return torch.cat([x, y], dim=-1), 2.0 * positive[:, 0] - 1


def chain_of_thought(steps: int) -> Tensor:
    """The default reasoning run with one head: K = 3, 20 patterns, 20 examples, batch 120."""
    chance = torch.Generator()
    basis = torch.linalg.qr(torch.randn(30, 30, generator=chance))[0]
    patterns, codes = basis[:20], basis[20:23]
    W = (1e-3 * torch.randn(60, 60, generator=chance)).requires_grad_()
    optimiser = torch.optim.SGD([W], lr=0.1)
    batch, loss = torch.arange(120), W.new_zeros(())
    asked = batch % 3
    for _ in range(steps):
        f = torch.rand(120, 3, 20, generator=chance).argsort(-1)
        z = [torch.randint(20, (120,), generator=chance)]
        start = torch.randint(20, (120, 20), generator=chance)
        same = torch.rand(120, 20, generator=chance) < 0.4
        y = [torch.where(same, z[0][:, None], start)]
        for k in range(3):
            z.append(f[batch, k, z[-1]])
            y.append(f[:, k].gather(1, y[-1]))
        upper = [patterns[y[k]] + codes[k] for k in range(3)]
        lower = [patterns[y[k + 1]] for k in range(3)]
        columns = torch.cat([torch.stack(upper, 2), torch.stack(lower, 2)], dim=-1).flatten(1, 2)
        chain = torch.stack([patterns[z[k]] + codes[k] for k in range(3)], dim=1)
        told = torch.stack([patterns[z[k + 1]] for k in range(3)], dim=1)
        earlier = torch.cat([chain, told], dim=-1)[:, :2]
        context = torch.cat([columns, earlier], dim=1)
        query = torch.cat([chain[batch, asked], torch.zeros(120, 30)], dim=-1)
        scores = torch.einsum("b n d, b d -> b n", context, query @ W.T)
        hidden = torch.arange(2) >= asked[:, None]
        scores = torch.cat([scores[:, :60], scores[:, 60:].masked_fill(hidden, -torch.inf)], dim=1)
        read = torch.einsum("b n, b n d -> b d", scores.softmax(-1), context)
        target = patterns[torch.stack(z, dim=1)[batch, asked + 1]]
        optimiser.zero_grad()
        loss = 0.5 * (read[:, 30:] - target).square().sum(-1).mean()
        loss.backward()
        optimiser.step()
    return loss.detach()


def kernel_layer(steps: int) -> Tensor:
    """A softmax attention layer on a full batch of 16 samples: 8 heads, 10 tokens of width 8."""
    chance = torch.Generator()
    x = torch.randn(16, 10, 8, generator=chance)
    target = torch.randn(16, 10, 1, generator=chance)
    shapes = {"W_Q": (8, 8, 4), "W_K": (8, 8, 4), "W_V": (8, 8, 4), "W_O": (32, 1)}
    W = {
        name: (torch.randn(shape, generator=chance) / shape[-2] ** 0.5).requires_grad_()
        for name, shape in shapes.items()
    }
    optimiser = torch.optim.SGD(list(W.values()), lr=1e-3)
    loss = x.new_zeros(())
    for _ in range(steps):
        q, k, v = (torch.einsum("b n d, h d w -> b h n w", x, W[f"W_{name}"]) for name in "QKV")
        attention = (q @ k.mT / 2).softmax(-1)
        output = (attention @ v).transpose(1, 2).flatten(2) @ W["W_O"]
        optimiser.zero_grad()
        loss = 0.5 * (target - output).square().sum((-2, -1)).mean()
        loss.backward()
        optimiser.step()
    return loss.detach()
