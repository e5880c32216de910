"""What happens where there is no browser: tests skip with the line that installs it, or fail."""

from pathlib import Path

import pytest

from tests.pages import chromium, folder


def put(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_chromium_is_found_on_the_path(tmp_path: Path):
    there = put(tmp_path / "chromium")
    assert chromium.find({"PATH": f"/nonexistent:{tmp_path}"}) == str(there)


@pytest.mark.parametrize("path", [{}, {"PATH": ""}, {"PATH": "/nonexistent"}])
def test_where_there_is_none_the_line_that_installs_it_is_told(path: dict[str, str]):
    with pytest.raises(chromium.Missing, match="apt-get install chromium"):
        chromium.find(path)


@pytest.mark.parametrize(
    ("environment", "required"),
    [({"CI": "true"}, True), ({"CI": "1"}, True), ({}, False), ({"CI": ""}, False),
     ({"CI": "false"}, False), ({"CI": "0"}, False)],
)  # fmt: skip
def test_a_browser_is_required_where_ci_is_set(environment: dict[str, str], required: bool):
    assert chromium.is_required(environment) == required


def test_a_test_without_a_browser_fails_in_ci_and_skips_elsewhere():
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        chromium.for_a_test({"CI": "true"})
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium.for_a_test({})


def test_a_folder_without_pages_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert folder.main(tmp_path) == 2
    assert f"no pages in {tmp_path}; make some with: make report" in capsys.readouterr().err


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_folder_is_not_looked_at_without_a_browser(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    status: int,
):
    (tmp_path / "index.html").write_text("")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CI", ci)
    assert folder.main(tmp_path) == status
    assert "apt-get install chromium" in capsys.readouterr().err
