"""A laboratory for the training dynamics of small transformers: predictions beside measurements."""

import os

# Read by the libraries below torch when it is loaded; what the user has set stays.
# MKL rounds a product by where its matrices lie in memory unless it is told to stay reproducible,
# and a member must not depend on its place in an ensemble.
os.environ.setdefault("MKL_CBWR", "AVX2")
# Threads that spin while they wait are worse than useless where another process wants the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
