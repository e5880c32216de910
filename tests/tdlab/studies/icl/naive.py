"""What a table is held against: one member, one prompt after the other.

By the paper's formula in float64, on prompts that `synthetic_tasks.sample` draws without the study.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest

from tests.tdlab.studies.icl.tables import MEASURED, number

# float32 keeps 6e-8 of each number; an output is four products deep, of at most 60 terms each.
ROUNDING = 4 * 60 * 6e-8


class Naive(NamedTuple):
    """What one member does with some prompts of its own, one after the other."""

    hinge: float
    zero_one: float
    concentration: float
    entropy: float


def on_prompts(params, batch):
    """Output and attention on each prompt, by the paper's formula in float64."""
    p = {name: leaf.double().numpy() for name, leaf in params.items()}
    for prompt in batch.prompt.double().numpy():
        context, query = prompt[:-1], prompt[-1]
        scores = [(p["W_K"] @ column) @ (p["W_Q"] @ query) for column in context]
        attention = np.exp(scores) / np.exp(scores).sum()
        pooled = sum(share * (p["W_V"] @ x) for share, x in zip(attention, context, strict=True))
        yield p["a"] @ np.maximum(0, p["W_O"] @ pooled), attention


def naive(params, batch, chosen=lambda b: True):
    rows = []
    for b, (output, attention) in enumerate(on_prompts(params, batch)):
        if chosen(b):
            z, relevant = batch.target[b].item(), batch.latent.relevant[b].tolist()
            mass = sum(a for a, is_one in zip(attention, relevant, strict=True) if is_one)
            surprise = -sum(a * math.log(a) for a in attention)
            rows.append((max(0.0, 1 - z * output), float(z * output <= 0), mass, surprise))
    return Naive(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))


def assert_agree(table, expected, quantities=MEASURED):
    """One row of each quantity, and each is the naive one."""
    assert set(table["quantity"]) == set(quantities)
    for quantity in quantities:
        assert number(table, quantity=quantity) == pytest.approx(
            getattr(expected, quantity), abs=ROUNDING
        )
