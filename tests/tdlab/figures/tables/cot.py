"""Planted tables of the chain-of-thought study."""

from itertools import product
from typing import Any

import pandas as pd

from tests.tdlab.figures.planted import level, measured, table, theory

STEPS, LENGTHS, OUTPUTS = (0, 1, 40), (5, 20, 80), (1, 2)
KINDS = ("clean", "noisy", "out of domain")
PLACES = [f"{a} step, {b} pattern" for a, b in product(("same", "other"), ("same", "other"))]
GRIDS = {"alpha": (0.4, 0.8), "tau": (0.5, 0.7), "rho": (0.6, 0.8)}
RATES = {"alpha": (0.2, 0.8), "steps": (2, 6), "patterns": (9, 26), "loss": (0.01, 0.1)}
OUTCOMES = {"tau": "tau_o", "rho": "rho_o"}
SHIFTS = {"component": (0.0, 0.5, 1.0), "noise": (0.0, 0.2)}
TRAINED = ("W", "W and W_V", "W_Q and W_K")
CHAIN, IN_CONTEXT = "chain of thought", "in context"
MEAN_ERROR, FINAL = "mean over steps", "final answer"
BOTH = [(CHAIN, MEAN_ERROR), (CHAIN, FINAL), (IN_CONTEXT, FINAL)]


REGIMES = {"ours": 1.0, "nearer the theorem": 1.7}


def masses(*key: object, **where: Any) -> list[list[dict[str, Any]]]:
    return [measured("mass", level(*key, place), place=place, **where) for place in PLACES]


def dynamics() -> pd.DataFrame:
    rows = []
    for alpha in (0.8, 0.4):
        for step in STEPS:
            rows.append(measured("loss", level("loss", alpha, step), alpha=alpha, step=step))
            rows += masses(alpha, step, alpha=alpha, step=step)
        start = {place: level(alpha, place) for place in PLACES[:2]}
        rows += [theory("mass", its, alpha=alpha, step=0, place=p) for p, its in start.items()]
        rows.append(theory("mass", 0.5 + alpha, alpha=alpha, place=PLACES[0]))
    return table(*rows)


def ablations() -> pd.DataFrame:
    rows = []
    for trained, step in product(TRAINED, STEPS):
        rows.append(measured("loss", level("loss", trained, step), trained=trained, step=step))
        rows += masses(trained, step, trained=trained, step=step)
    return table(*rows)


def attention() -> pd.DataFrame:
    rows = []
    for kind, k in product(KINDS, OUTPUTS):
        rows.append(measured("error", 0.9, prompts=kind, output=k))
        rows += masses(kind, k, prompts=kind, output=k)
        limit = 0.9 + len(kind) / 100
        rows.append(theory("mass", limit, place=PLACES[0], prompts=kind, output=k))
    return table(*rows)


def rates() -> pd.DataFrame:
    rows = []
    for regime, (k, (varied, values)) in product(REGIMES, enumerate(RATES.items())):
        times = REGIMES[regime]  # as many times the steps
        for x in values:
            where = {"regime": regime, "varied": varied, "at": float(x)}
            rows.append(measured("time", 800 * times * level(varied, x), limit=5000, **where))
        for exponent, x in product((-k, 1.5), values):
            law = 100 * times * level(varied) * (x / values[0]) ** exponent
            where = {"regime": regime, "varied": varied, "at": float(x), "exponent": exponent}
            rows.append(theory("time", law, **where))
    made = table(*rows)
    never = (made.varied == "patterns") & (made["at"] == 26) & made.seed.isin([2, 4])
    return made.assign(value=made.value.mask(never))  # two seeds never came so far


def errors(names: dict[str, str], inference: str, output: str) -> pd.DataFrame:
    rows = []
    for (varied, values), its in product(GRIDS.items(), ("step 1", MEAN_ERROR, FINAL)):
        for x, length in product(values, LENGTHS):
            where = {"varied": names.get(varied, varied), "at": x, "length": length}
            where |= {"inference": inference, "output": its}
            none = (x, length) == (values[-1], LENGTHS[-1])
            error = 0.0 if none else level("error", varied, x, length, its)
            rows.append(measured("error", error, **where))
            if its == output:
                rows.append(theory("error_bound", level("bound", varied, x, length), **where))
                rows += [theory("error", 0.0, **where), theory("length_bound", 250.0, **where)]
    return table(*rows)


def conditions() -> pd.DataFrame:
    rows = []
    kinds = [*BOTH, (CHAIN, "step 1"), (CHAIN, "step 2")]
    for condition, length, (inference, output) in product(("fails", "holds"), LENGTHS, kinds):
        none = (condition, length, output) == ("holds", LENGTHS[-1], MEAN_ERROR)
        error = 0.0 if none else level("error", condition, length, inference, output)
        where = {"condition_1": condition, "inference": inference, "output": output}
        rows.append(measured("error", error, length=length, **where))
    return table(*rows)


def shift() -> pd.DataFrame:
    rows = []
    for varied, values in SHIFTS.items():
        for x, k in product(values, OUTPUTS):
            where = {"varied": varied, "at": x, "output": k}
            rows += [measured("error", level(varied, x, k, "error"), **where)]
            rows += masses(varied, x, k, **where)
        predicted = values[varied == "component" :]
        rows += [theory("error", 0.01 + x / 100, varied=varied, at=x) for x in predicted]
    return table(*rows)
