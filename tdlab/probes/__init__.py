"""Probes: pure functions of plain tensors, of any model's, with any leading axes.

Axes: b prompt, l context example, c context column, k reasoning step, d feature, m neuron; "..."
stands for leading axes of any kind (member, step, layer, head). Probes return the value for each
prompt or neuron; averaging is the table's.
"""

from tdlab.probes.attention import by_step_and_pattern, concentration, entropy
from tdlab.probes.inference import (
    Chain,
    chain_of_thought,
    final_outputs_only,
    in_context,
    mistakes,
    nearest,
)
from tdlab.probes.neurons import angle, parts, rows
from tdlab.probes.phases import first_below
from tdlab.probes.pruning import keep, keep_entries, pruned
from tdlab.probes.risk import risk

__all__ = [
    "Chain",
    "angle",
    "by_step_and_pattern",
    "chain_of_thought",
    "concentration",
    "entropy",
    "final_outputs_only",
    "first_below",
    "in_context",
    "keep",
    "keep_entries",
    "mistakes",
    "nearest",
    "parts",
    "pruned",
    "risk",
    "rows",
]
