"""Every claim on tables with a planted answer: worlds where it holds, and worlds where it does not.

`measured` builds the tables of one world. Its noise over seeds has mean 0 and standard deviation 1,
so that the interval of a planted number x with spread s is x +- t_7 s / sqrt(8) = x +- 0.836 s, and
no verdict is left to chance. What a rule must not look at holds the opposite: other steps, tasks,
alphas and orders, small neurons, rows of the theory.
"""

import inspect
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tdlab.claims import li2024 as claims
from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE
from tdlab.statistics import mean_interval, proportion_interval, slope_interval
from tdlab.studies.icl import Measurements, setting
from tdlab.studies.icl.classical import ALPHAS, BAYES, KAPPAS
from tdlab.studies.icl.pruning import FRACTIONS
from tdlab.studies.icl.pruning import LARGE as LARGE_IN_THE_STUDY
from tdlab.studies.icl.shift import COEFFICIENT_SUMS, MIXED
from tdlab.theory import li2024 as theory

SETTING = setting(steps=37, alpha=0.7, length=11, delta=0.15, beta=2.5, neurons=48)
START = theory.initial_concentration(0.7, 0.15, 2.5, 11)
SEEDS = range(3, 3 + SETTING.seeds)
LEARNING_RATES = (0.05, 0.1, 0.2)
NEURONS = 16
A, D, U = AGREES, DISAGREES, INCONCLUSIVE


def standard(key: int) -> np.ndarray:
    """One number a seed, of mean 0 and standard deviation 1; different for each key."""
    noise = np.random.default_rng(key).normal(size=len(SEEDS))
    return (noise - noise.mean()) / noise.std(ddof=1)


NOISE, OTHER, COMMON = standard(0), standard(1), standard(2)
HALF = 0.8360  # t_7 / sqrt(8), what a spread of 1 makes of the interval


def rows(quantity: str, values: Any, source: str = "measured", **where: Any) -> pd.DataFrame:
    """One row a seed, from one value for all of them or one for each."""
    each = np.broadcast_to(np.asarray(values, dtype=np.float64), len(SEEDS))
    own = {"run": [f"run {seed}" for seed in SEEDS], "seed": list(SEEDS), "value": each}
    return pd.DataFrame({**own, "quantity": quantity, "source": source, **where})


def dynamics(error=0.001, hinge=0.01, start=START, focus=0.93, spread=0.001, **_):
    last: dict[str, Any] = {"step": SETTING.steps, "tasks": "unseen"}
    first = last | {"step": 0}
    return pd.concat(
        [
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
        ]
    )


def coverage(pattern=0.2, label=0.1, common=0.3, spread=0.001, **_):
    """Zero-one error: seeds differ much, and alike in all task sets; the sets add what is given."""
    base = 0.4 + common * COMMON
    return pd.concat(
        [
            rows("zero_one", base, left_out="nothing"),
            rows("zero_one", base + pattern + spread * NOISE, left_out="a pattern"),
            rows("zero_one", base + label + spread * OTHER, left_out="a label"),
            *(
                rows("hinge", at, left_out=name)
                for at, name in ((0.5, "nothing"), (0.1, "a pattern"), (0.1, "a label"))
            ),
        ]
    )


def step_sizes(exponent=0.7, spread=0.001, **_):
    return pd.concat(
        [
            rows("concentration_gap", np.exp(np.log(lr) * (exponent + spread * NOISE)), lr=lr)
            for lr in LEARNING_RATES
        ]
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
    return pd.concat(tables, ignore_index=True)


LARGE_SHARE = np.array([0.5, 0.8] * 4)  # each reaches R = 1 on the grid


def pruning(cost=0.02, slope=0.8, curve=None, spread=0.001, common=0.3, **_):
    """Pruning the largest costs ``curve(R)``, R the pruned fraction of the large neurons.

    By default ``slope`` R. Under R = 0.1 and above 1, where the rule does not look, it costs less
    than nothing.
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
                    paid = share * slope if curve is None else np.vectorize(curve)(share)
                    paid = paid + spread * OTHER * share
                    value = base + np.where((share >= 0.1) & (share <= 1), paid, -9.0)
                at = {"order": order, "fraction": fraction, **where}
                tables.append(rows("hinge", value, **at))
                tables.append(rows("hinge", 7 - 7 * fraction, source="theory", **at))
                tables.append(rows("zero_one", 0.5 - fraction / 2, **at))
    return pd.concat(tables)


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
    return pd.concat(tables)


TABLES: dict[str, Any] = {
    "dynamics": dynamics,
    "coverage": coverage,
    "step_sizes": step_sizes,
    "neurons": neurons,
    "shift": shift,
    "pruning": pruning,
    "learners": learners,
}


def measured(claim, **world):
    """The tables that a claim needs, in a world that differs from the theory's as said."""
    tables = {name: TABLES[name](**world) for name in claim.needs if name != "setting"}
    return SimpleNamespace(setting=SETTING, **tables)


def verdicts(claim, **world):
    return [finding.verdict for finding in claim.findings(measured(claim, **world))]


CLAIMS = pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.id)


@CLAIMS
def test_a_claim_agrees_in_the_world_of_the_theory(claim):
    found = verdicts(claim)
    assert found
    assert found == [A] * len(found)


@CLAIMS
def test_a_claim_changes_none_of_its_tables(claim):
    tables = measured(claim)
    before = {name: getattr(tables, name).copy() for name in claim.needs if name != "setting"}
    claim.findings(tables)
    for name, table in before.items():
        pd.testing.assert_frame_equal(getattr(tables, name), table)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"error": 0.5}, [D, A]),  # chance
        ({"error": 0.5, "hinge": 1.0}, [D, D]),
        ({"hinge": 0.3}, [A, D]),
        ({"error": 0.0, "hinge": claims.HINGE, "spread": 0.0}, [A, A]),
        # 4,000 prompts: Wilson's interval is +- 0.0022 at 0.005, also where all seeds are equal.
        ({"error": claims.ERROR, "hinge": claims.HINGE + 1e-6, "spread": 0.0}, [U, D]),
        ({"error": 0.0025, "spread": 0.0}, [A, A]),
        ({"error": 0.0035, "spread": 0.0}, [U, A]),
        ({"error": 0.007, "spread": 0.0}, [U, A]),
        ({"error": 0.009, "spread": 0.0}, [D, A]),
        # Seeds that differ more than their prompts say: Student's interval is the wider one.
        ({"error": 0.0015, "spread": 0.005}, [U, A]),
        ({"error": 0.02, "hinge": 0.05, "spread": 0.02}, [U, U]),
        ({"error": 0.02, "hinge": 0.05, "spread": 0.01}, [D, U]),
    ],
)
def test_generalization(world, expected):
    assert verdicts(claims.generalization, **world) == expected


@pytest.mark.parametrize(("prompts", "verdict"), [(10, U), (90, U), (100, A), (5000, A)])
def test_no_error_at_all_is_evidence_by_the_number_of_prompts(prompts, verdict):
    # Wilson's upper bound at none of n is z^2 / (n + z^2): 0.005 at n = 764, which 8 seeds reach
    # at 96 prompts each.
    tables = measured(claims.generalization, error=0.0, spread=0.0)
    tables.setting = replace(SETTING, prompts=prompts)
    error, _ = claims.generalization.findings(tables)
    assert error.verdict == verdict
    assert (error.measured.estimate, error.measured.low) == (0.0, 0.0)
    assert error.measured.high == pytest.approx(3.8415 / (8 * prompts + 3.8415), rel=1e-4)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"pattern": 0.0, "label": 0.0, "spread": 0.0}, [D, D]),  # exactly equal
        ({"pattern": 0.0, "label": 0.0, "spread": 0.1}, [U, U]),
        ({"pattern": -0.1, "label": -0.1}, [D, D]),
        ({"label": 0.0, "spread": 0.0}, [A, D]),
        ({"pattern": 0.0, "spread": 0.05}, [U, A]),
        ({"pattern": 0.0085, "label": 0.0083, "spread": 0.01}, [A, U]),  # 0.836 spreads above 0
    ],
)
def test_coverage(world, expected):
    assert verdicts(claims.coverage, **world) == expected


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"focus": START}, [A, D, A, A]),  # training has moved nothing
        ({"beyond": START}, [A, A, D, A]),
        ({"start": START + 0.03}, [D, A, A, A]),
        ({"start": START - 0.03}, [D, A, A, A]),
        ({"start": START + 0.02 - 0.0009}, [A, A, A, A]),  # by 0.836 spreads of 0.001
        ({"start": START + 0.02 - 0.0008}, [U, A, A, A]),
        ({"start": START - 0.02 - 0.0008}, [U, A, A, A]),
        ({"start": START - 0.02 - 0.0009}, [D, A, A, A]),
        ({"exponent": -0.7}, [A, A, A, D]),  # the gap shrinks with eta
        ({"exponent": 0.0, "spread": 0.0}, [A, A, A, D]),  # it does not depend on eta
        ({"exponent": 0.0, "spread": 0.01}, [A, A, A, U]),
        # Too wide to say that the start is near, although it is right on the value.
        ({"focus": 0.85, "beyond": 0.85, "spread": 0.05}, [U, U, U, A]),
        ({"focus": 0.0, "beyond": 0.0}, [A, D, D, A]),
    ],
)
def test_attention(world, expected):
    assert verdicts(claims.attention, **world) == expected


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"feature": 90.0, "label": 90.0}, [D, D, A]),  # random directions in many dimensions
        ({"label": 173.0}, [A, D, A]),  # the sign of a is ignored
        ({"feature": 60.0}, [D, A, A]),
        ({"small": 0}, [A, A, D]),  # none is small
        ({"small": 1}, [A, A, U]),  # 1 or 0 of 16, [0.003, 0.059]
        ({"small": 2}, [A, A, A]),  # [0.066, 0.122]
        ({"small": 8}, [A, A, A]),  # [0.441, 0.497]
        ({"small": 9}, [A, A, D]),  # [0.503, 0.559]
        ({"small": 11}, [A, A, D]),
        ({"feature": 30.0, "label": 30.0, "spread": 0.0}, [A, A, A]),
        ({"feature": 30.0, "label": 30.0, "spread": 5.0}, [U, U, A]),
        ({"feature": 30.01, "label": 29.99, "spread": 0.0}, [D, A, A]),
    ],
)
def test_neurons(world, expected):
    assert verdicts(claims.neurons, **world) == expected


@pytest.mark.parametrize(
    ("world", "seeds"),
    [
        ({"small": NEURONS}, "3, 4, 5, 6, 7, 8, 9, 10"),
        ({"bare": (5,)}, "5"),
        ({"bare": (10, 4)}, "4, 10"),
    ],
)
def test_where_no_neuron_of_a_seed_is_large_there_is_no_angle_to_judge(world, seeds):
    line = rf"^no neuron is large \(label part above 0\.1\) in seeds {seeds}$"
    with pytest.raises(ArithmeticError, match=line):
        verdicts(claims.neurons, **world)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"drawn": lambda _: 0.3, "spread": 0.0}, [D, A, A, A, A]),  # flat in S_1
        ({"drawn": lambda _: 0.3, "spread": 0.1, "other_beyond": 0.0}, [U, A, A, U, U]),
        ({"drawn": rising}, [D, A, A, A, A]),
        ({"neighbours": rising}, [A, D, A, A, A]),
        ({"opposite": rising}, [A, A, D, A, A]),
        ({"other_beyond": 0.4}, [A, A, A, D, A]),  # large beyond 1
        ({"trained_beyond": 0.4}, [A, A, A, A, D]),
        ({"trained_beyond": 0.08, "other_beyond": 0.08}, [A, A, A, D, D]),  # at one S_1 only
        ({"other_beyond": 0.05, "trained_beyond": 0.05, "spread": 0.0}, [A, A, A, A, A]),
        ({"kinds": ("trained",)}, [A, A, A, U, A]),  # no seed drew the other kind
        ({"kinds": ("other",)}, [A, A, A, A, U]),
        ({"kinds": ("other",), "other_beyond": 0.4}, [A, A, A, D, U]),
    ],
)
def test_shift(world, expected):
    assert verdicts(claims.shift, **world) == expected


@pytest.mark.parametrize(("kind", "place"), [("other", 3), ("trained", 4)])
def test_a_kind_of_pair_that_no_seed_drew_says_nothing_and_one_that_few_drew_little(kind, place):
    other = {"other": "trained", "trained": "other"}[kind]
    finding = claims.shift.findings(measured(claims.shift, kinds=(other,)))[place]
    assert math.isnan(finding.measured.estimate)
    assert finding.measured[1:] == (-math.inf, math.inf)
    assert finding.verdict == INCONCLUSIVE

    tables, few = measured(claims.shift, spread=0.005), [4, 5, 9]
    gone = (tables.shift.pair == kind) & ~tables.shift.seed.isin(few)
    tables.shift = tables.shift[~gone]
    finding = claims.shift.findings(tables)[place]
    planted = {"other": 0.01, "trained": 0.02}[kind] + 0.005 * NOISE[[seed - 3 for seed in few]]
    assert tuple(finding.measured) == pytest.approx(tuple(mean_interval(planted)))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"cost": 0.5}, [D, A]),  # small neurons are expensive
        ({"cost": -0.1}, [A, A]),
        ({"slope": 0.0, "spread": 0.0, "common": 0.0}, [A, D]),  # large ones cost nothing
        ({"slope": -0.3}, [A, D]),
        ({"slope": 0.2511}, [A, A]),  # exactly linear: every ratio is the slope, +- 0.00084
        ({"slope": 0.2506}, [A, U]),
        ({"slope": 0.2489}, [A, D]),
        ({"slope": 0.25, "spread": 0.1}, [A, U]),
        ({"curve": lambda _: 0.2511}, [A, A]),  # flat: the least ratio is at R = 1
        ({"curve": lambda _: 0.2489}, [A, D]),
        ({"curve": lambda _: 0.0}, [A, D]),
        ({"curve": lambda x: x**2}, [A, D]),  # steep on the whole, but cheap at first
        ({"curve": lambda x: float(x > 0.5)}, [A, D]),
        ({"curve": lambda x: 0.8 * x * (x < 0.9)}, [A, D]),  # free at the end
        ({"curve": lambda x: x**0.5}, [A, A]),
        ({"cost": 0.05 + 48**-0.5 - 0.002}, [A, A]),  # the bound, give or take 2 spreads
        ({"cost": 0.05 + 48**-0.5 + 0.002}, [D, A]),
        ({"cost": 0.05 + 48**-0.5, "spread": 0.1}, [U, A]),
    ],
)
def test_pruning(world, expected):
    assert verdicts(claims.pruning, **world) == expected


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        ({"on_par": 0.1}, [D] * 3 + [A] * 3),  # worse than the best learner
        ({"ahead": 0.1}, [A] * 3 + [D] * 3),
        ({"on_par": 0.1, "ahead": 0.1}, [D] * 6),
        ({"ahead": 0.01}, [A] * 3 + [D] * 3),  # on a par is not enough at 0.6
        ({"on_par": -0.1}, [A] * 6),
        ({"ahead": 0.0, "common": 0.0, "spread": 0.0}, [A] * 3 + [D] * 3),  # exactly equal
        ({"ahead": 0.0, "on_par": 0.02, "spread": 0.05}, [U] * 6),
        ({"on_par": 0.0195, "ahead": -0.0005}, [U] * 6),  # within 0.836 spreads of 0.001
        ({"on_par": 0.019, "ahead": -0.001}, [A] * 6),
    ],
)
def test_classical(world, expected):
    assert verdicts(claims.classical, **world) == expected


def test_the_parts_name_what_they_were_compared_with():
    parts = [each.part for each in claims.classical.findings(measured(claims.classical))]
    rivals = [("nearest_1", 0.5), ("linear_svm", 1), ("logistic", 2)]
    assert parts == [
        f"error less that of {rival}, alpha' = {alpha}, kappa' = {kappa}"
        for alpha in (0.8, 0.6)
        for rival, kappa in rivals
    ]
    *_, other, trained = [each.part for each in claims.shift.findings(measured(claims.shift))]
    assert "(at 1)" in other
    assert other.endswith("pairs that were no training tasks")
    assert "(at 1.3)" in trained
    assert trained.endswith("pairs that were training tasks")
    angles = [each.part for each in claims.neurons.findings(measured(claims.neurons))]
    assert "feature" in angles[0]
    assert "label" in angles[1]


# Planted numbers, one a seed, for each part of each claim, in a world with spread 0.02.
S = 0.02
FEW = np.array([4 if seed % 2 else 5 for seed in SEEDS])
X = np.log(LEARNING_RATES)
PLANTED: dict[str, list[np.ndarray]] = {
    "icl.generalization": [0.3 + S * NOISE, 0.01 + S * OTHER],
    "icl.coverage": [0.2 + S * NOISE, 0.1 + S * OTHER],
    "icl.attention": [START + S * NOISE, 0.93 + S * OTHER, 0.92 + S * NOISE, 0.7 + S * NOISE],
    "icl.neurons": [12 + S * NOISE, 7 + S * NOISE, FEW / NEURONS],
    "icl.shift": [*[0.24 + S * (OTHER - NOISE)] * 3, 0.01 + S * NOISE, 0.02 + S * NOISE],
    "icl.pruning": [0.02 + S * NOISE, 0.8 + S * OTHER],
    "icl.classical": [*[0.01 + S * NOISE] * 3, *[-0.05 + S * NOISE] * 3],
}


@CLAIMS
def test_a_measured_interval_is_that_of_the_planted_numbers(claim):
    found = claim.findings(measured(claim, spread=S, error=0.3))
    for finding, planted in zip(found, PLANTED[claim.id], strict=True):
        assert tuple(finding.measured) == pytest.approx(tuple(mean_interval(planted)), abs=1e-12)
        low, high = finding.measured.low, finding.measured.high
        assert (high - low) / 2 == pytest.approx(HALF * planted.std(ddof=1), rel=1e-3)


def test_the_error_has_the_wider_of_the_intervals_over_seeds_and_over_all_prompts():
    def error(spread):
        tables = measured(claims.generalization, error=0.3, spread=spread)
        tables.setting = replace(SETTING, prompts=50)
        return tuple(claims.generalization.findings(tables)[0].measured)

    wilson = tuple(proportion_interval(120, 400))  # 8 seeds of 50 prompts: +- 0.045
    assert error(0.01) == pytest.approx(wilson)
    assert error(0.1) == pytest.approx((0.3, 0.3 - HALF * 0.1, 0.3 + HALF * 0.1), rel=1e-4)


def test_the_exponent_is_the_slope_on_logarithms_of_each_seed():
    bent = step_sizes(spread=0.05)
    bent["value"] *= 1 + 0.3 * (bent["lr"] == 0.1)  # no power law, so the fit matters
    tables = measured(claims.attention)
    tables.step_sizes = bent.sample(frac=1, random_state=0)
    gap = [bent[bent.lr == lr].value.to_numpy() for lr in LEARNING_RATES]
    expected = slope_interval(X, np.log(np.stack(gap, axis=-1)))
    assert tuple(claims.attention.findings(tables)[-1].measured) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("claim", "table", "lacking"),
    [
        (claims.generalization, "dynamics", {"step": SETTING.steps}),
        (claims.generalization, "dynamics", {"tasks": "unseen"}),
        (claims.coverage, "coverage", {"left_out": "a label"}),
        (claims.attention, "dynamics", {"quantity": "concentration"}),
        (claims.attention, "shift", {"quantity": "concentration"}),
        (claims.attention, "shift", {"pair": "any"}),
        (claims.attention, "shift", {"coefficient_sum": MIXED}),
        (claims.attention, "step_sizes", {"quantity": "concentration_gap"}),
        (claims.neurons, "neurons", {"quantity": "angle"}),
        (claims.shift, "shift", {"pairing": "opposite"}),
        (claims.shift, "shift", {"coefficient_sum": 0.9}),
        (claims.shift, "shift", {"pair": "any"}),
        (claims.pruning, "pruning", {"order": "all small"}),
        (claims.pruning, "pruning", {"order": "largest"}),
        (claims.classical, "learners", {"learner": "transformer"}),
        (claims.classical, "learners", {"quantity": "zero_one"}),
    ],
    ids=lambda part: getattr(part, "id", str(part)),
)
def test_a_table_that_lacks_rows_gets_one_clear_line(claim, table, lacking):
    tables = measured(claim)
    rest = getattr(tables, table)
    for name, gone in lacking.items():
        rest = rest[rest[name] != gone]
    setattr(tables, table, rest)
    with pytest.raises((ValueError, ArithmeticError), match=r"^the table has no rows with [^\n]*$"):
        claim.findings(tables)


@CLAIMS
def test_a_claim_needs_what_the_study_measures_and_judges_it_under_that_name(claim):
    attributes = {*vars(Measurements), *vars(Measurements(SETTING))}
    assert set(claim.needs) <= attributes
    assert tuple(inspect.signature(claim.judge).parameters) == claim.needs


def test_ids_are_unique_and_of_the_study():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(set(ids)) == len(ids) == 7
    assert all(name.startswith("icl.") for name in ids)


@pytest.mark.parametrize(
    ("claim", "constants"),
    [
        (claims.generalization, (claims.ERROR, claims.HINGE)),
        (claims.coverage, ()),
        (claims.attention, (claims.CLOSE, claims.FOCUS)),
        (claims.neurons, (claims.ALIGNED, *claims.SOME, claims.LARGE)),
        (claims.shift, (claims.HINGE, 0.5, 0.9)),
        (claims.pruning, (claims.HINGE, claims.COST, 0.1, 1)),
        (claims.classical, (claims.PAR, 0.8, 0.6)),
    ],
    ids=lambda part: getattr(part, "id", ""),
)
def test_a_rule_states_its_constants_and_which_are_ours(claim, constants):
    words = claim.rule.replace(",", " ").replace(":", " ").replace(";", " ").split()
    assert not [constant for constant in constants if f"{constant:g}" not in words]
    assert "95 %" in claim.rule
    assert ("(ours)" in claim.rule) == bool(constants)


def test_a_neuron_is_large_by_the_same_measure_as_where_it_is_pruned():
    assert claims.LARGE == LARGE_IN_THE_STUDY
