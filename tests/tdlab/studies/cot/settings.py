"""A setting with little of everything, at a generic point."""

from tdlab.studies.cot import setting

CHAINS = setting(
    "quick",
    seeds=2,
    first_seed=3,
    width=9,
    wide=13,
    patterns=5,
    chain=3,
    length=6,
    alpha=0.7,
    xi=0.05,
    test_patterns=4,
    tau=0.6,
    rho=0.5,
    taus=(0.6, 0.65),
    rhos=(0.5, 0.6),
    rate_seeds=2,
    rate_chains=(1, 2, 3),  # and these fit into d_X = 9
    rate_patterns=(4, 5, 6),
)
