"""What the rules need and the paper leaves open."""

SOURCE = "Li et al., ICLR 2025 (arXiv 2410.02167)"
REGIME = (
    "The theorem is about small eta and eps and leaves its constants open; here M = {s.patterns}, "
    "K = {s.chain}, l = {s.length}, alpha = {s.alpha:g}, xi = {s.xi:g}, eta = {s.lr:g}, {s.steps} "
    "steps."
)
TESTED = " Tested on M' = {s.test_patterns} patterns, tau and rho within the grids of the setting."
FOCUS = 0.9  # (ours) what counts as attention concentrated on a set of columns
SHARED = 0.2  # (ours) a mass that is still there
ERROR = 0.01  # (ours) what counts as an error of 0
ENOUGH = 2  # (ours) the constant in l >= Omega((alpha' tau rho)^-2) ...
SMALL = 0.05  # (ours) ... and the error from there on
CONSTANT = 0.5  # (ours) what counts as an error of Omega(1)
SUCCEEDS = 0.1  # (ours) error of a chain that succeeds where in-context inference does not
ADDED = 0.1  # (ours) error that patterns outside the span may add: theirs is a matter of examples
CLOSE = 0.02  # (ours) error that bounded noise may add
