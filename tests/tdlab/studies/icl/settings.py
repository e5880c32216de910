"""Two settings of the study: one that is quick to train, and one that learns."""

from tdlab.studies.icl import setting
from tests.tdlab import smallest

# A generic point: no value is a default, and the seeds do not start at 0.
TINY = setting(
    "quick",
    seeds=2,
    first_seed=3,
    steps=5,
    snapshots=3,
    prompts=32,
    classical_prompts=12,
    lengths=(3, 7),
    length=4,
    alpha=0.7,
    kappa=0.4,
    beta=2.5,
    delta=0.17,
    neurons=48,
    **smallest.LAWS,
)
LEARNED = setting(
    "quick", seeds=3, steps=250, snapshots=3, prompts=400, classical_prompts=90, lengths=(6,)
)
