"""The tables of the study of in-context learning, planted.

Each function builds the table of its name as the study has it, in a world that differs from that of
the theory as said. What a rule must not look at holds the opposite: other steps, tasks, alphas and
orders, small neurons, rows of the theory.
"""

from typing import Any

import numpy as np
import pandas as pd

from tdlab.studies.icl import setting
from tdlab.studies.icl.classical import ALPHAS, BAYES, KAPPAS
from tdlab.studies.icl.pruning import FRACTIONS
from tdlab.studies.icl.shift import COEFFICIENT_SUMS, MIXED
from tdlab.studies.regimes import NEARER, OURS, REGIMES
from tdlab.theory import li2024 as theory
from tests.tdlab.claims.planted import COMMON, NOISE, OTHER, SEEDS, frame, rows

SETTING = setting(steps=37, alpha=0.7, length=11, delta=0.15, beta=2.5, neurons=48)
START = theory.initial_concentration(0.7, 0.15, 2.5, 11)
LEARNING_RATES = (0.05, 0.1, 0.2)
NEURONS = 16


def dynamics(error=0.001, hinge=0.01, start=START, focus=0.93, spread=0.001, **_):
    last: dict[str, Any] = {"step": SETTING.steps, "tasks": "unseen"}
    first = last | {"step": 0}
    return frame(
        rows("zero_one", error + spread * NOISE, **last),
        rows("hinge", hinge + spread * OTHER, **last),
        rows("concentration", start + spread * NOISE, **first),
        rows("concentration", focus + spread * OTHER, **last),
        # Not to be looked at:
        rows("zero_one", 0.3, **first),
        rows("hinge", 0.9, **first),
        *(rows(name, 0.4, **last, source="theory") for name in ("zero_one", "hinge")),
        rows("concentration", 0.4, **last, source="theory"),
        rows("concentration", 0.99, **first, source="theory"),
        *(rows(name, 0.6, **last | {"tasks": "trained"}) for name in ("zero_one", "hinge")),
        *(rows("concentration", 0.1, step=at, tasks="trained") for at in (0, SETTING.steps)),
    )


def coverage(pattern=0.2, label=0.1, common=0.3, spread=0.001, **_):
    """Zero-one error: seeds differ much, and alike in all task sets; the sets add what is given."""
    base = 0.4 + common * COMMON
    return frame(
        rows("zero_one", base, left_out="nothing"),
        rows("zero_one", base + pattern + spread * NOISE, left_out="a pattern"),
        rows("zero_one", base + label + spread * OTHER, left_out="a label"),
        *(
            rows("hinge", at, left_out=name)
            for at, name in ((0.5, "nothing"), (0.1, "a pattern"), (0.1, "a label"))
        ),
    )


def step_sizes(exponent=0.7, spread=0.001, **_):
    return frame(
        *(
            rows("concentration_gap", np.exp(np.log(lr) * (exponent + spread * NOISE)), lr=lr)
            for lr in LEARNING_RATES
        )
    )


def neurons(feature=12.0, label=7.0, small=5, bare=(), spread=0.1, **_):
    """Of 16 neurons some are small, at angles of 170; two of the large ones lie 60 off.

    ``small`` neurons, one fewer in every other seed if there are any and some large ones; all of
    them in the seeds of ``bare``.
    """
    tables = []
    for seed, noise in zip(SEEDS, NOISE, strict=True):
        few = small - (seed % 2) * (0 < small < NEURONS) if seed not in bare else NEURONS
        large = np.arange(NEURONS) >= few
        norm = np.where(large, 1.0, 0.01)
        off = np.zeros(NEURONS)
        off[-2:] = 60.0  # the median does not see it, the mean does
        for part, centre in (("feature", feature), ("label", label)):
            last = {
                "angle": np.where(large, centre + spread * noise + off, 170.0),
                "norm": norm if part == "label" else norm[::-1],  # the label part says who is large
            }
            first = {"angle": 180 - last["angle"], "norm": np.ones(NEURONS)}
            own = {"run": f"run {seed}", "seed": seed, "neuron": range(NEURONS), "part": part}
            tables += [
                pd.DataFrame({**own, "step": step, "quantity": name, "value": each})
                for step, numbers in ((0, first), (SETTING.steps, last))
                for name, each in numbers.items()
            ]
    measured = pd.concat(tables).assign(source="measured")
    ends = measured[measured.step == SETTING.steps]
    return pd.concat([measured, ends.assign(source="theory", value=90.0)])


def falling(x: float) -> Any:
    return max(0.0, 0.6 * (1 - x)) + 0.01


def rising(x: float) -> Any:
    return x


def shift(
    drawn=falling,
    neighbours=falling,
    opposite=falling,
    trained_beyond=0.02,
    other_beyond=0.01,
    beyond=0.92,
    kinds=("trained", "other"),
    spread=0.001,
    common=0.1,
    **_,
):
    """Hinge risk by S_1: curves of all prompts below 1, and beyond it those of each kind of pair.

    The worst beyond 1 is at 1.3 for trained pairs and at 1.0 for others. Where a rule must not
    look, curves rise, risks are high and attention is spread.
    """
    curves: Any = {"drawn": drawn, "neighbours": neighbours, "opposite": opposite}
    worst = {"trained": (1.3, trained_beyond), "other": (1.0, other_beyond)}
    pairs = [(pairing, "any") for pairing in curves]
    pairs += [
        ("neighbours", "trained"),
        ("opposite", "other"),
        *(("drawn", kind) for kind in kinds),
    ]
    tables = []
    for pairing, pair in pairs:
        for x in COEFFICIENT_SUMS:
            where: dict[str, Any] = {"pairing": pairing, "pair": pair, "coefficient_sum": x}
            where |= {"shift": "coefficient_sum", "step": SETTING.steps}
            value = (curves[pairing] if pair == "any" else rising)(x) + common * COMMON * (x < 1)
            if x >= 1:
                at, high = worst[pair] if pairing == "drawn" and pair != "any" else (x, 0.9)
                value = high if x == at else high / 2
            noise = spread * (NOISE if x > 0.7 else OTHER)
            tables.append(rows("hinge", value + noise, **where))
            tables.append(rows("zero_one", 0.5, **where))
            focus = beyond if (pairing, pair, x) == ("drawn", "any", MIXED) else 0.2
            tables.append(rows("concentration", focus + noise, **where))
    tables.append(rows("hinge", 0.9, source="theory", coefficient_sum=1.2, shift="coefficient_sum"))
    tables.append(rows("hinge", 0.8, outside=0.5, shift="outside"))
    return frame(*tables)


LARGE_SHARE = np.array([0.5, 0.8] * 4)  # each reaches R = 1 on the grid


def pruning(cost=0.02, slope=0.8, curve=None, spread=0.001, common=0.3, **_):
    """Pruning the largest costs ``curve(R)``, R the pruned fraction of the large neurons.

    By default ``slope`` R^0.9. Under R = 0.1 and above 1, where the rule does not look, it costs
    less than nothing.
    """
    tables = []
    base = 0.5 + common * COMMON
    for alpha in (0.6, 0.8, 1.0):
        asked = alpha == 0.8
        where: dict[str, Any] = {"alpha": alpha, "step": SETTING.steps, "large": LARGE_SHARE}
        small = base + cost + spread * NOISE if asked else 5.0
        tables.append(rows("hinge", small, order="all small", fraction=1 - LARGE_SHARE, **where))
        for order in ("smallest", "random", "largest"):
            for fraction in FRACTIONS:
                value = base if order == "smallest" and asked else 3.0 * np.ones(len(SEEDS))
                value = value + 2 * fraction * (order == "random")
                if order == "largest" and asked:
                    share = fraction / LARGE_SHARE
                    paid = slope * share**0.9 if curve is None else np.vectorize(curve)(share)
                    paid = paid + spread * OTHER * share
                    value = base + np.where((share >= 0.1) & (share <= 1), paid, -9.0)
                at = {"order": order, "fraction": fraction, **where}
                tables.append(rows("hinge", value, **at))
                tables.append(rows("hinge", 7 - 7 * fraction, source="theory", **at))
                tables.append(rows("zero_one", 0.5 - fraction / 2, **at))
    return frame(*tables)


def learners(on_par=0.01, ahead=-0.05, spread=0.001, common=0.05, **_):
    """The transformer's error less the best learner's, at alpha' = 0.8 and at 0.6.

    The best learner is another one at each kappa'; prompts differ much from seed to seed.
    """
    names = ["nearest_1", "linear_svm", "logistic"]
    tables = []
    for alpha in ALPHAS:
        lead = on_par if alpha == 0.8 else ahead
        for best, kappa in zip(names, KAPPAS, strict=True):
            for length, longer in ((5, 0.05), (20, -0.05)):
                where: dict[str, Any] = {"alpha": alpha, "kappa": kappa, "length": length}
                base = 0.3 + longer + common * COMMON
                tables += [
                    rows("zero_one", base + 0.1 * (name != best), **where, learner=name)
                    for name in names
                ]
                error = base + lead + spread * NOISE
                tables.append(rows("zero_one", error, **where, learner="transformer"))
                tables.append(rows("zero_one", 0.01, **where, learner=BAYES, source="theory"))
    return frame(*tables)


# What a law is along: its exponent in the world of the theory, and where it is measured. The
# theorem's own for M1 is that of a fit to M1 sqrt(log M1) at these points.
POINTS: dict[str, tuple[float, ...]] = {
    "lr": (0.05, 0.1, 0.2),
    "alpha": (0.4, 0.63, 1.0),
    "beta": (2.0, 3.0, 4.5),
    "relevant": (4.0, 8.0, 16.0),
}
EXPONENTS = {"lr": -1.0, "alpha": -2 / 3, "beta": -2 / 3, "relevant": 1.233}
MORE = {OURS: 1.0, NEARER: 2.0}  # M1 nearer the theorem


def rates(spread=0.001, nearer=None, bend=0.0, never=(), **exponents):
    """Power laws from a start that differs from seed to seed.

    Nearer the theorem exponents differ by ``nearer``, the middle point is off by ``bend``, and seed
    5 does not get to the points of ``never``.
    """
    parts = []
    for regime in REGIMES:
        for varied, grid in POINTS.items():
            power = exponents.get(varied, EXPONENTS[varied]) + spread * NOISE
            power = power + (nearer or 0.0) * (regime == NEARER)
            for place, own in enumerate(grid):
                at = own * (MORE[regime] if varied == "relevant" else 1)
                where: dict[str, Any] = {"regime": regime, "varied": varied, "at": at}
                time = 60 * np.exp(0.5 * COMMON) * at**power * (1 + bend * (place == 1))
                limit = 1.01 * time.max()
                time[2] = np.nan if (varied, own) in never else time[2]
                parts.append(rows("time", time, **where, limit=limit))
                parts.append(rows("time", 1e9, source="theory", **where))
    return frame(*parts)


TEST_LENGTHS = (1.0, 2.5, 5.0)  # 1 / alpha'


def lengths_of_tests(hinge=0.9, zero_one=0.8, nearer=0.0, never=(), spread=0.001, **_):
    """Lengths that grow by a power of 1 / alpha'; seed 5 needs more than there are at ``never``."""
    parts = []
    for regime in REGIMES:
        for risk, exponent in (("hinge", hinge), ("zero_one", zero_one)):
            power = exponent + nearer * (regime == NEARER) + spread * OTHER
            for at in TEST_LENGTHS:
                where: dict[str, Any] = {"regime": regime, "risk": risk, "at": at}
                needed = 4 * np.exp(0.1 * COMMON) * at**power
                limit = 1.01 * needed.max()
                needed[2] = np.nan if (risk, at) in never else needed[2]
                parts.append(rows("length", needed, **where, limit=limit))
                parts.append(rows("length", 1e9, source="theory", **where))
    return frame(*parts)


def training_lengths(trained=0.01, spread=0.001, **_):
    """The hinge risk after training, highest at alpha = 0.63."""
    parts = []
    for alpha, low in ((0.4, 0.5), (0.63, 1.0), (1.0, 0.1)):
        where: dict[str, Any] = {"alpha": alpha, "length": 9, "step": SETTING.steps}
        parts.append(rows("hinge", low * trained + spread * NOISE, **where))
        parts.append(rows("zero_one", 0.4, **where))
    return frame(*parts)


def batches(risk=0.01, exponent=-0.7, nearer=0.0, spread=0.001, **_):
    """The risk with batches of 128, and the power by which it falls to there."""
    parts = []
    for regime in REGIMES:
        power = exponent + nearer * (regime == NEARER) + spread * NOISE
        for batch in (8.0, 32.0, 128.0):
            where: dict[str, Any] = {"regime": regime, "at": batch, "step": SETTING.steps}
            parts.append(rows("hinge", risk * (batch / 128) ** power, **where))
            parts.append(rows("zero_one", 0.4, **where))
    return frame(*parts)


TABLES: dict[str, Any] = {
    "rates": rates,
    "test_lengths": lengths_of_tests,
    "training_lengths": training_lengths,
    "batches": batches,
    "dynamics": dynamics,
    "coverage": coverage,
    "step_sizes": step_sizes,
    "neurons": neurons,
    "shift": shift,
    "pruning": pruning,
    "learners": learners,
}
