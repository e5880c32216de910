"""Worlds where the claims about attention kernels hold, or do not, and what is planted in them."""

import pytest

from tdlab.claims import song2024 as claims
from tests.tdlab.claims.intervals import student, wilson
from tests.tdlab.claims.planted import NOISE, OTHER, Worlds, each_of
from tests.tdlab.claims.song2024.tables import TABLES

CLAIMS = each_of(claims.CLAIMS)
WORLDS = Worlds(TABLES)
measured, verdicts = WORLDS.measured, WORLDS.verdicts


def judged(claim, *worlds):
    """The worlds of one claim, each with the verdicts that it must get."""
    return [
        pytest.param(claim, *each, id=f"{claim.id} {place}") for place, each in enumerate(worlds)
    ]


# The numbers that were planted, one a seed, for each part of each claim, in a world with spread S.
S = 0.003
PLANTED: dict[str, list[tuple[float, float, float]]] = {
    "kernels.global": [
        student(-6.5 + S * NOISE),
        student(-6.7 + S * OTHER),
        *[student(1 + S * OTHER), student(0.3 + S * NOISE)] * 2,
        student(1e-5 * (1 + S * OTHER)),
    ],
    "kernels.bad_basin": [
        (0.9e-3, 0.9e-3, 0.9e-3),
        ((0.2 + 3 * 0.7) / 4, 0.2, 0.7),
        (0.9e-3, 0.9e-3, 0.9e-3),
        *[wilson(1.0, 8)] * 4,
    ],
    "kernels.landscape": [
        student(-0.5 + S * NOISE),
        student(-0.5 + S * (NOISE + OTHER) / 2),
        student(-0.4 + S * NOISE),
    ]
    * 2,
    "kernels.classification": [student(0.05 + S * NOISE), student(0.1 + S * OTHER)] * 3,
}
