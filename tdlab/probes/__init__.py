"""Probes: pure functions of plain tensors, of any model's, with any leading axes.

Axes: b prompt, h head, n token, l context example, c context column, k reasoning step, d feature,
m neuron; "..." and "*a" stand for leading axes of any kind (member, step, layer, head). Attention
has the axes (.., b, h, n query, m key); of one query, (.., l). So what TransformerLens or nnsight
have cached goes in as it is, and ``capture`` gets it from other models. Leading axes broadcast as
in torch, from the last one: with attention (b, h, l), what is said of each prompt is (b, 1, l).
Probes return the value for each prompt or neuron; averaging is the table's.
"""

from tdlab.probes.attention import by_step_and_pattern, concentration, entropy, only
from tdlab.probes.capture import capture
from tdlab.probes.captured import Captured
from tdlab.probes.curvature import (
    Spectrum,
    gradient_variation,
    hessian_vector,
    top_eigenvalues,
)
from tdlab.probes.directions import (
    Params,
    between,
    coordinates,
    filter_normalized,
    orthogonalized,
)
from tdlab.probes.displacement import displacement
from tdlab.probes.inference import (
    Chain,
    chain_of_thought,
    final_outputs_only,
    in_context,
    mistakes,
    nearest,
)
from tdlab.probes.interventions import intervened
from tdlab.probes.kernel import (
    gradient_norms,
    row_sums,
    smallest_singular_value,
    stacked_features,
)
from tdlab.probes.landscape import Risk, line, over_points, plane
from tdlab.probes.modules import functional
from tdlab.probes.neurons import angle, parts, rows
from tdlab.probes.phases import first_below
from tdlab.probes.pruning import keep, keep_entries, mask_along, pruned, without_each
from tdlab.probes.risk import risk

__all__ = [
    "Captured",
    "Chain",
    "Params",
    "Risk",
    "Spectrum",
    "angle",
    "between",
    "by_step_and_pattern",
    "capture",
    "chain_of_thought",
    "concentration",
    "coordinates",
    "displacement",
    "entropy",
    "filter_normalized",
    "final_outputs_only",
    "first_below",
    "functional",
    "gradient_norms",
    "gradient_variation",
    "hessian_vector",
    "in_context",
    "intervened",
    "keep",
    "keep_entries",
    "line",
    "mask_along",
    "mistakes",
    "nearest",
    "only",
    "orthogonalized",
    "over_points",
    "parts",
    "plane",
    "pruned",
    "risk",
    "row_sums",
    "rows",
    "smallest_singular_value",
    "stacked_features",
    "top_eigenvalues",
    "without_each",
]
