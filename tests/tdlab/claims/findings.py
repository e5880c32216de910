"""What is asserted of the findings of every claim, whatever its paper."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from tdlab.claims.claim import AGREES, VERDICTS, Claim, Finding
from tdlab.results import COLUMNS
from tests.tdlab.claims.planted import without


def unchanging(claim: Claim, tables: Any) -> list[Finding]:
    """The findings of a claim, which leaves its tables alone."""
    before = {name: getattr(tables, name).copy() for name in {*claim.needs} - {"setting"}}
    found = claim.findings(tables)
    for name, table in before.items():
        pd.testing.assert_frame_equal(getattr(tables, name), table)
    return found


def assert_agrees(claim: Claim, tables: Any, parts: int) -> None:
    """The claim agrees in so many parts, and leaves its tables alone."""
    assert [each.verdict for each in unchanging(claim, tables)] == [AGREES] * parts


def assert_blind_to(
    change: Callable[[str, pd.DataFrame], pd.DataFrame], claim: Claim, tables: Any
) -> None:
    """The claim measures the same on tables that are changed like that, each by its name."""
    expected = [tuple(each.measured) for each in claim.findings(tables)]
    for name in {*claim.needs} - {"setting"}:
        setattr(tables, name, change(name, getattr(tables, name)))
    for finding, before in zip(claim.findings(tables), expected, strict=True):
        assert tuple(finding.measured) == pytest.approx(before, rel=1e-12)


def assert_misses(
    claim: Claim,
    tables: Any,
    name: str,
    lacking: dict[str, Any],
    kind: type[Exception] | tuple[type[Exception], ...] = ValueError,
) -> None:
    """Without these rows of the table of that name the claim says so in one line."""
    setattr(tables, name, without(getattr(tables, name), **lacking))
    with pytest.raises(kind, match=r"^the table has no rows with [^\n]*$"):
        claim.findings(tables)


def assert_planted(
    found: Sequence[Finding], planted: Sequence[tuple[float, float, float]], rel: float
) -> None:
    """Each estimate and its bounds are those of the numbers that were planted."""
    for finding, its in zip(found, planted, strict=True):
        assert tuple(finding.measured) == pytest.approx(its, rel=rel), finding.part


def assert_judged(found: Sequence[Finding], parts: float) -> None:
    """So many parts, each with a verdict and an interval."""
    assert len(found) == parts
    for finding in found:
        assert finding.verdict in VERDICTS
        estimate, low, high = finding.measured
        assert low <= estimate <= high or (math.isnan(estimate) and finding.note)


def assert_like(planted: pd.DataFrame, real: pd.DataFrame, *sources: str) -> None:
    """The same columns, of the same kind, and from these sources the same quantities."""
    assert {*planted.columns} == {*real.columns}
    assert planted[[*COLUMNS]].dtypes.equals(real[[*COLUMNS]].dtypes)
    for source in sources:
        kinds = [{*table[table.source == source].quantity} for table in (planted, real)]
        assert kinds[0] == kinds[1]
