"""Runs walked through in a running JupyterLab, as somebody sits before it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.pages import chromium

pytestmark = pytest.mark.slow

_PATIENCE = 120  # seconds, for what a loaded machine does at its own pace
CODE = """
from dataclasses import replace
from tdlab import explore
from tdlab.studies import icl

run = icl.setting("quick").runs()[0]
explore([replace(run, seed=seed, steps=20) for seed in (0, 1)])
"""
OUTPUT = ".jp-OutputArea-output"


@pytest.fixture(scope="module")
def address(executable: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a JupyterLab answers in whose folder there is one notebook."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE.strip())])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "walk.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "port": port,
        "ip": "127.0.0.1",
        "root_dir": folder,
        "allow_root": True,
        "open_browser": False,
        "port_retries": 0,
    }
    lab = [sys.executable, "-m", "jupyterlab", "--IdentityProvider.token="]
    lab += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    homes = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = {**os.environ, **homes, "TDLAB_STORE": str(folder / "store")}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(lab, env=environment, cwd=folder, stdout=log, stderr=log) as server,
    ):
        try:
            yield _answering(f"http://127.0.0.1:{port}", server, folder / "log")
        finally:
            server.terminate()


@pytest.fixture
def page(executable: str, address: str) -> Iterator[Page]:
    """The notebook after its only cell was run."""
    with chromium.started(executable, chromium.THIS_MACHINE) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(_PATIENCE * 1000)
        page.goto(f"{address}/lab/tree/walk.ipynb")
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        yield page


def _answering(address: str, server: subprocess.Popen[bytes], log: Path) -> str:
    end = monotonic() + _PATIENCE
    while monotonic() < end and server.poll() is None:
        try:
            urlopen(f"{address}/api").close()
            return address
        except URLError:
            sleep(0.2)
    raise AssertionError(f"no JupyterLab: {log.read_text()}")


def words(page: Page) -> str:
    return page.locator(f"{OUTPUT} .widget-html-content").inner_text()


def other(page: Page, picture: str, said: str) -> tuple[str, str]:
    """The picture and the words after both have changed."""
    image = page.locator(f"{OUTPUT} .widget-image")
    expect(image).not_to_have_attribute("src", picture, timeout=_PATIENCE * 1000)
    shown = page.locator(f"{OUTPUT} .widget-html-content")
    expect(shown).not_to_have_text(said, timeout=_PATIENCE * 1000)
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 800
    return str(image.get_attribute("src")), words(page)


def test_the_slider_moves_and_the_picture_changes_and_so_with_the_member_and_the_prompt(page: Page):
    image = page.locator(f"{OUTPUT} .widget-image")
    expect(image).to_have_count(1, timeout=_PATIENCE * 1000)
    now = str(image.get_attribute("src")), words(page)
    assert now[1].startswith("Step 0 of 20; hinge loss ")

    page.locator(f"{OUTPUT} .noUi-handle").press("ArrowRight")
    now = other(page, *now)
    assert now[1].startswith("Step 1 of 20; ")

    page.locator(f"{OUTPUT} .noUi-handle").press("End")
    now = other(page, *now)
    assert now[1].startswith("Step 20 of 20; ")

    member, prompt = page.locator(f"{OUTPUT} select").all()
    names = [option.inner_text() for option in member.locator("option").all()]
    assert [name.replace("\N{NO-BREAK SPACE}", " ") for name in names] == ["seed = 0", "seed = 1"]
    member.select_option(index=1)
    now = other(page, *now)
    assert now[1].startswith("Step 20 of 20; ")

    prompt.select_option("7")
    again = other(page, *now)
    of_run = re.compile(r"Step 20 of 20; hinge loss \S+ at step 19; mean concentration \S+; ")
    assert of_run.match(again[1]).group() == of_run.match(now[1]).group()  # type: ignore[union-attr]


def test_played_steps_follow_each_other_to_the_last(page: Page):
    page.locator(f"{OUTPUT} .jupyter-widgets.widget-play button").first.click()
    shown = page.locator(f"{OUTPUT} .widget-html-content")
    expect(shown).to_contain_text("Step 20 of 20", timeout=_PATIENCE * 1000)
