"""Debian's Chromium as the tests drive it: a fresh profile, and no way out of this machine."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ProxySettings, sync_playwright

INSTALL = "apt-get install chromium"

# Each of these alone would do; a page that asks for more than its file must not get it.
_CUT_OFF = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
]
_NOWHERE: ProxySettings = {"server": "http://127.0.0.1:9"}
THIS_MACHINE: ProxySettings = {**_NOWHERE, "bypass": "127.0.0.1"}


class Missing(Exception):
    """There is no Chromium here; the message is the line that installs it."""


def find(environment: Mapping[str, str]) -> str:
    """Returns where Chromium is. Raises ``Missing`` if it is not on the path."""
    there = shutil.which("chromium", path=environment.get("PATH", ""))
    if there is None:
        raise Missing(f"the pages are tested in Chromium, which is not here: {INSTALL}")
    return there


def is_required(environment: Mapping[str, str]) -> bool:
    """Whether a missing browser is a failure and not a reason to skip."""
    return environment.get("CI", "").lower() not in {"", "0", "false"}


def for_a_test(environment: Mapping[str, str]) -> str:
    """Returns where Chromium is; where it is missing, the test that asks skips, or fails."""
    try:
        return find(environment)
    except Missing as missing:
        if is_required(environment):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@contextmanager
def started(executable: str, proxy: ProxySettings = _NOWHERE) -> Iterator[Browser]:
    """A browser that lives as long as the block.

    Playwright runs an event loop in this thread meanwhile, so a notebook cannot be executed in it.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", *_CUT_OFF],
            proxy=proxy,
        )
        try:
            yield browser
        finally:
            browser.close()
