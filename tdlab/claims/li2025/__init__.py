r"""The claims of Li, Lu, Chen, Cui, Wang (ICLR 2025, arXiv 2410.02167) about chain of thought.

A theorem leaves its constants open; a number that a rule needs and the paper does not give is
marked (ours), and is stated in the claim's rule.
"""

from tdlab.claims.li2025.context import icl_needs_condition_1, in_context, inference
from tdlab.claims.li2025.learning import attention, training, two_phases
from tdlab.claims.li2025.reach import shift

CLAIMS = (training, two_phases, attention, inference, icl_needs_condition_1, in_context, shift)
