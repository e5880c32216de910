"""What the rules need and the paper leaves open."""

SOURCE = "Li et al., ICML 2024 (arXiv 2402.15607)"
REGIME = (
    "The theorem is about small eta and eps and leaves its constants open; here M1 = {s.relevant}, "
    "M2 = {s.irrelevant}, beta = {s.beta:g}, delta = {s.delta:g}, eta = {s.lr:g}, l = {s.length}, "
    "batch {s.batch}, {s.steps} steps."
)
ERROR = 0.005  # (ours) what counts as O(eps) for zero-one error
HINGE = 0.05  # (ours) what counts as O(eps) for hinge risk
FOCUS = 0.85  # (ours) what counts as 1 - eta^C for the concentration
ALIGNED = 30.0  # (ours) degrees: three quarters of the squared norm lie along the direction
CLOSE = 0.02  # (ours) concentrations that differ by less are the same
SOME = (0.05, 0.5)  # (ours) what counts as a constant fraction of neurons
COST = 0.25  # (ours) hinge risk a pruned fraction of the large neurons: the constant in Omega(R)
SEEN = 1e-3  # (ours) the least added hinge risk that is told from none
PAR = 0.02  # (ours) errors that differ by less are on a par
EXPONENT = 0.1  # (ours) exponents that differ by less: over a decade, a quarter of the number
