"""One small trained run of each kind that can be explored."""

from dataclasses import replace

from synthetic_tasks import Reasoning
from tdlab.models import OneHead, Transformer
from tdlab.optimisers import Adam
from tdlab.run import Run
from tdlab.schedule import Every
from tests.tdlab.runs import LAYER, RUN, TASK, WILD

ONE_LAYER = replace(RUN, dtype="float64")
CHAIN = Run(
    task=Reasoning(width=9, patterns=4, steps=2, length=3),
    model=OneHead(width=9, xi=0.5),
    loss="squared",
    batch=8,
    steps=4,
    snapshots=Every(stride=2),
    dtype="float64",
)
GPT = Run(
    task=TASK,
    model=Transformer(
        token_width=TASK.token_width, columns=TASK.columns, layers=2, heads=3, width=6, hidden=5
    ),
    optimiser=Adam(),
    batch=9,
    steps=4,
    snapshots=Every(stride=2),
    dtype="float64",
)
REGRESSION = replace(LAYER, steps=4)
DIVERGING = WILD
