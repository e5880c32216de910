"""Worlds where the claims about chains of thought hold, or do not, and what is planted in them."""

import numpy as np
import pytest

from tdlab.claims import li2025 as claims
from tests.tdlab.claims.intervals import bootstrapped, student, wilson
from tests.tdlab.claims.li2025.tables import CURVES, EXPONENTS, SETTING, TABLES, cell
from tests.tdlab.claims.planted import COMMON, NOISE, OTHER, Worlds, each_of, standard

CLAIMS = each_of(claims.CLAIMS)
WORLDS = Worlds(TABLES, SETTING)
measured, verdicts = WORLDS.measured, WORLDS.verdicts


def judged(claim, *worlds):
    """The worlds of one claim, each with the verdicts that it must get."""
    return [pytest.param(claim, *each, id=f"{claim.id} {each[0]}") for each in worlds]


def widest(values, prompts=SETTING.prompts):
    """Of Student's interval over the seeds and Wilson's over all prompts, within [0, 1]."""
    (p, low, high), (_, one, other) = student(values), wilson(values.mean(), 8 * prompts)
    return p, max(0.0, min(low, one)), min(1.0, max(high, other))


def over_lengths(curve, value):
    return np.mean([cell((curve, value, length), spread=S) for length in CURVES], axis=0)


# The numbers that were planted, one a seed, for each part of each claim, in a world with spread S.
S = 0.003
END, ENOUGH = cell((1, 0, 80), spread=S), cell((1, 1, 40), spread=S)
GAINS = [over_lengths(curve, 1) - over_lengths(curve, 2) for curve in range(3)]
LENGTHS = bootstrapped(0.8 + S * NOISE)
WITH_CONTEXT = [widest(END), *map(student, GAINS), widest(ENOUGH), LENGTHS]
PLANTED: dict[str, list[tuple[float, float, float]]] = {
    "cot.training": [bootstrapped(each + S * NOISE) for each in EXPONENTS.values()] * 2,
    "cot.two_phases": [student(3 + S * NOISE), student(0.45 + S * OTHER)],
    "cot.attention": [
        student(0.95 + S * NOISE),
        *(student(x + S * standard(k)) for x, k in ((0.95, 2), (0.94, 3), (0.93, 1))),
    ],
    "cot.inference": WITH_CONTEXT,
    "cot.icl": WITH_CONTEXT,
    "cot.icl_needs_condition_1": [
        widest(0.9 + 0.05 * COMMON + S * NOISE),
        student(0.2 + S * (NOISE - OTHER)),
        widest(0.03 + S * NOISE),
        widest(0.004 + S * OTHER),
    ],
    "cot.shift": [
        student(0.1 + S * (standard(0) - standard(1))),
        student(0.4 + S * (standard(3) - standard(0))),
        student(0.07 + S * (standard(3) - standard(5))),
        student(0.005 + S * (standard(5) - standard(0))),
    ],
}
