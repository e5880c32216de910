"""An ensemble whose members differ in whatever members may differ in, and how it is trained."""

from dataclasses import replace
from typing import Any

from synthetic_tasks import InContextClassification
from tdlab.models import OneLayer, Params
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.schedule import Every
from tdlab.train import Snapshot, Training

TASK = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
MODEL = OneLayer(width=9, label_width=3, neurons=6, query_width=8, value_width=10, xi=0.3)
RUN = Run(
    task=TASK, model=MODEL, batch=9, steps=12, dtype="float64", snapshots=Every(stride=4), seed=3
)
MEMBERS = [
    RUN,
    replace(RUN, seed=8, optimiser=SGD(lr=0.7)),
    replace(RUN, seed=2**40, task=replace(TASK, alpha=0.3, beta=1.9, kappa=0.1)),
    replace(RUN, model=replace(MODEL, delta=0.13, xi=0.1), optimiser=SGD(lr=0)),
]


def fit(runs: list[Run], **settings: Any) -> tuple[Training, list[Snapshot]]:
    training = Training(runs, path="eager", **settings)
    return training, list(training)


def assert_same(one: Params, other: Params) -> None:
    assert set(one) == set(other)
    assert all(one[name].equal(other[name]) for name in one)


def member(params: Params, place: int) -> Params:
    return {name: leaf[place] for name, leaf in params.items()}
