"""What the rules need and the paper's abstract leaves open."""

SOURCE = "after Song et al., NeurIPS 2024 (arXiv 2411.07538)"
KERNELS = ("softmax", "gaussian")  # that the paper is about
ZERO = 1e-6  # (ours) a relative loss that counts as zero
STRAIGHT = 0.8  # (ours) ratio of late to earlier rate; a power law has log 1.5 / log 2 = 0.58
EXACT = 1e-3  # (ours) deviation from a solved curve, as a logarithm to base 10
REACHED = 1e-6  # (ours) a loss that counts as zero where one prompt is all there is
CHANCE = 0.55  # (ours) accuracy that is not yet told from guessing
