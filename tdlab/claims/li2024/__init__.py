r"""The claims of Li, Wang, Lu, Cui, Chen (ICML 2024, arXiv 2402.15607) about in-context learning.

A theorem leaves its constants open; a number that a rule needs and the paper does not give is
marked (ours). It was fixed before measuring, and is stated in the claim's rule.
"""

from tdlab.claims.li2024.attention import attention
from tdlab.claims.li2024.generalization import coverage, generalization
from tdlab.claims.li2024.neurons import neurons, pruning
from tdlab.claims.li2024.scaling import batch, iterations, prompt_length
from tdlab.claims.li2024.shift import classical, shift

CLAIMS = (
    *(generalization, coverage, iterations, prompt_length, batch),
    *(attention, neurons, shift, pruning, classical),
)
