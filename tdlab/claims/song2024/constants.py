"""What the rules need and the paper's abstract leaves open."""

SOURCE = "after Song et al., NeurIPS 2024 (arXiv 2411.07538)"
REGIME = (
    "The paper's full text was not available to us, so that all numbers are ours: D = {s.width}, "
    "N = {s.samples}, n = {s.tokens}, H of {s.heads}, float64, full batches."
)
KERNELS = ("softmax", "gaussian")  # that the paper is about
ZERO = 1e-6  # (ours) a relative loss that counts as zero
ENOUGH = 2  # (ours) H D / N n from which H D counts as large
STRAIGHT = 0.2  # (ours) how far late over earlier rate may be from 1; a power law has about 0.58
EXACT = 1e-3  # (ours) deviation from a solved curve, as a logarithm to base 10
REACHED = 1e-3  # (ours) a loss that counts as zero for one scalar query; the plateau is at 0.045
STARTS = (-2, 5)  # from where the Gaussian kernel is said to find a solution, as we derived
CHANCE = 0.55  # (ours) accuracy that is not yet told from guessing
