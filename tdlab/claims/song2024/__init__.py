"""The claims of Song et al. (NeurIPS 2024, arXiv 2411.07538) about attention kernels.

They are taken from the public abstract, because the full text was not available to us. What a rule
needs besides is marked (ours), and is stated in the claim's rule.
"""

from tdlab.claims.song2024.basins import bad_basin
from tdlab.claims.song2024.classification import classification
from tdlab.claims.song2024.convergence import convergence
from tdlab.claims.song2024.landscape import landscape

CLAIMS = (convergence, bad_basin, landscape, classification)
