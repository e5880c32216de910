"""How fast this machine trains, next to what others would do on it: ratios in one process.

Every study's default training is timed at several numbers of members, drawing its data included,
against a plain PyTorch loop, JAX (for in-context learning, where it is installed) and the floor:
the dense products of the step alone, at the speed of torch's own batched product.
"""

from tdlab.bench.comparison import compare, main

__all__ = ["compare", "main"]
