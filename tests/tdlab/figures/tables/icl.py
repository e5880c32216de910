"""Planted tables of the in-context study."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

# Seeds differ by these factors: median 1, mean 1.3, so that neither passes for the other.
FACTORS = (0.5, 3.0, 1.0, 0.8, 1.2)
MEAN = 1.3
BAND = (0.62, 2.28)  # 10 and 90 %, between the two lowest and the two highest
X = (0.0, 10.0, 40.0)
LEARNERS = {
    "transformer": "transformer",
    "nearest_1": "1-NN",
    "nearest_3": "3-NN",
    "linear_svm": "linear SVM",
    "gaussian_svm": "Gaussian SVM",
    "logistic": "logistic regression",
}


def measured(quantity: str, level: float, **where: Any) -> list[dict[str, Any]]:
    shared = {"quantity": quantity, "source": "measured", **where}
    return [{"seed": s, "value": level * factor, **shared} for s, factor in enumerate(FACTORS)]


def theory(quantity: str, level: float, **where: Any) -> list[dict[str, Any]]:
    return [{"quantity": quantity, "source": "theory", "value": level, **where}]


def table(*rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    made = pd.DataFrame(list(chain(*rows)))
    made.insert(0, "run", "r")
    return made if "step" in made else made.assign(step=40)


def level(*place: float) -> float:
    """A different planted number for each place."""
    return 0.1 + sum((k + 1) * 0.01 * at for k, at in enumerate(place))


def dynamics():
    names = ("hinge", "zero_one", "concentration", "entropy")
    rows = [
        measured(name, level(x, t, q), step=int(x), tasks=tasks)
        for q, name in enumerate(names)
        for t, tasks in enumerate(("trained", "unseen"))
        for x in X
    ]
    limits = {"hinge": 0.03, "zero_one": 0.02, "concentration": 0.9}
    rows += [theory(name, at, step=40, tasks="unseen") for name, at in limits.items()]
    return table(*rows, theory("concentration", 0.4, step=0, tasks="unseen"))


def step_sizes():
    return table(*(measured("concentration_gap", 2 * lr, lr=lr) for lr in (0.05, 0.1, 0.2)))


def neurons():
    rows = []
    for part, angle in (("feature", 12.0), ("label", 7.0)):
        for step in (0, 40):
            for neuron, sign in enumerate((1.0, 1.0, 1.0, -1.0, -1.0, -1.0)):
                where = {"part": part, "step": step, "neuron": neuron, "sign": sign}
                wide = angle * (1, 1, 3)[neuron % 3]  # a median of one, a mean of 5/3
                rows += [measured("angle", wide, **where), measured("norm", 1.0 + neuron, **where)]
        rows.append(theory("angle", 0.0, part=part, step=40))
    return table(*rows)


def coverage():
    sets = {"nothing": 0.01, "a pattern": 0.2, "a label": 0.1}
    return table(
        *(
            measured(name, factor * at, left_out=left_out)
            for left_out, at in sets.items()
            for name, factor in (("zero_one", 1), ("hinge", 3))
        )
    )


def shift():
    pairs = [("neighbours", "trained"), ("drawn", "trained"), ("drawn", "other")]
    rows = []
    for p, (pairing, pair) in enumerate([*pairs, ("opposite", "other")]):
        for s in (0.5, 1.0, 1.4):
            where = {"pairing": pairing, "pair": pair, "coefficient_sum": s}
            for q, name in enumerate(("hinge", "zero_one", "concentration")):
                rows.append(measured(name, level(s, p, q), shift="coefficient_sum", **where))
    rows += [theory("hinge", 0.03, coefficient_sum=s, shift="coefficient_sum") for s in (1.0, 1.4)]
    points = {"alpha": (0.2, 0.8), "length": (5, 40), "kappa": (0.5, 2.0), "outside": (0.0, 0.4)}
    for n, (name, values) in enumerate(points.items()):
        for x in values:
            where = {name: x, "shift": name}
            rows += [measured("hinge", level(x, n), **where), measured("zero_one", 0.5, **where)]
        if name != "outside":
            rows.append(theory("hinge", 0.05, **{name: values[0], "shift": name}))
            rows.append(theory("hinge", 0.05, **{name: values[1], "shift": name}))
    return table(*rows)


def pruning():
    rows = []
    for alpha in (0.6, 0.8):
        for o, order in enumerate(("smallest", "random", "largest")):
            for fraction in (0.0, 0.5, 0.9):
                where = {"alpha": alpha, "order": order, "fraction": fraction}
                rows.append(measured("hinge", level(fraction, o, alpha), **where))
                rows.append(measured("zero_one", level(o, fraction, alpha) / 2, **where))
                rows.append(theory("hinge", fraction * (o + 1) / 5, **where))
        rows.append(measured("hinge", 5.0, alpha=alpha, order="all small", fraction=np.nan))
        rows.append(measured("zero_one", 5.0, alpha=alpha, order="all small", fraction=np.nan))
    return table(*rows)


def attention_pruning():
    return table(
        *(
            measured(name, level(fraction, m, q), matrix=matrix, fraction=fraction)
            for q, name in enumerate(("hinge", "zero_one"))
            for m, matrix in enumerate(("W_Q", "W_K"))
            for fraction in (0.0, 0.5, 0.9)
        )
    )


def learners():
    rows = []
    for alpha in (0.6, 0.8):
        for kappa in (0.5, 2.0):
            for length in (5, 20):
                where = {"alpha": alpha, "kappa": kappa, "length": length}
                for k, name in enumerate(LEARNERS):
                    at = level(k, alpha, kappa, length / 10)
                    rows.append(measured("zero_one", at, learner=name, **where))
                bayes = level(-5, alpha, kappa)
                rows.append(theory("zero_one", bayes, learner="Bayes-optimal", **where))
    return table(*rows)
