"""Probes: pure functions of plain tensors, of any model's, with any leading axes.

Axes: b prompt, l context example, d feature, m neuron; "..." stands for leading axes of any kind
(member, step, layer, head). Probes return the value for each prompt or neuron; averaging is the
table's.
"""

from tdlab.probes.attention import concentration, entropy
from tdlab.probes.neurons import angle, parts, rows
from tdlab.probes.pruning import keep, keep_entries, pruned
from tdlab.probes.risk import risk

__all__ = [
    "angle",
    "concentration",
    "entropy",
    "keep",
    "keep_entries",
    "parts",
    "pruned",
    "risk",
    "rows",
]
