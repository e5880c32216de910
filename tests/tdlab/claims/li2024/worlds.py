"""Worlds where the claims about in-context learning hold, or do not."""

from tdlab.claims import li2024 as claims
from tests.tdlab.claims.li2024.tables import SETTING, TABLES
from tests.tdlab.claims.planted import Worlds, each_of

CLAIMS = each_of(claims.CLAIMS)
WORLDS = Worlds(TABLES, SETTING)
measured, verdicts = WORLDS.measured, WORLDS.verdicts
