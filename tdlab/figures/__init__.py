"""Figures: each is a function from a tidy table to a matplotlib ``Figure``, in one style."""

from tdlab.figures.icl import (
    attention,
    attention_pruning,
    coverage,
    learners,
    neurons,
    out_of_domain,
    prompt_shifts,
    pruning,
    risk,
    step_sizes,
)

__all__ = [
    "attention",
    "attention_pruning",
    "coverage",
    "learners",
    "neurons",
    "out_of_domain",
    "prompt_shifts",
    "pruning",
    "risk",
    "step_sizes",
]
