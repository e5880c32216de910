"""A browser, and a folder of reports as it finds them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.pages import chromium, reports


@pytest.fixture(scope="session")
def executable() -> str:
    """Where Chromium is; without it the tests skip, and fail where they are required."""
    return chromium.for_a_test(os.environ)


@pytest.fixture(scope="session")
def folder(executable: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages of a small folder of reports."""
    return reports.made(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def browser(executable: str) -> Iterator[Browser]:
    """One browser for a file of tests; what others leave in it ends with their context."""
    with chromium.started(executable) as started:
        yield started
