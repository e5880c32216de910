"""A page is executed again if its notebook, parameters, sources or runs are not what they were."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tdlab import records, results
from tdlab.report import fingerprint, publish
from tdlab.report.pages import plan
from tdlab.store import Disk
from tdlab.sweep import trained
from tests.tdlab.runs import RUN

TRAINS = """import time
from pathlib import Path
from tdlab.sweep import trained
from tests.tdlab.runs import RUN
trained([RUN])
while Path("hold").exists():
    time.sleep(0.05)
"""


def write(path: Path, code: str) -> str:
    cells = [
        new_markdown_cell("# A reader"),
        new_code_cell("alpha: float = 0.5", metadata={"tags": ["parameters"]}),
        new_code_cell(code),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return str(path)


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Path:
    """A notebook that trains a run, and finds our modules and a store of its own."""
    monkeypatch.setenv("TDLAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    return Path(write(tmp_path / "trains.ipynb", TRAINS))


def test_an_unchanged_page_is_not_executed_again_unless_asked_to(notebook, monkeypatch, capsys):
    executed, plain = list[str](), publish.execute

    def execute(notebook, output, *given, **settings):
        executed.append(output.stem)
        plain(notebook, output, *given, **settings)

    monkeypatch.setattr(publish, "execute", execute)
    out = notebook.parent / "out"
    pages = plan([str(notebook)])
    assert publish.run(pages, out) == []
    before = (out / "trains" / "trains.html").read_bytes()
    record = json.loads((out / "trains" / "page.json").read_text())
    assert record["fingerprint"]["runs"].keys() == {RUN.id}
    assert not (out / "trains" / "runs.txt").exists()
    assert publish.run(pages, out) == []
    assert executed == ["trains"]
    assert "trains  unchanged since 20" in capsys.readouterr().err
    assert (out / "trains" / "trains.html").read_bytes() == before

    def fail(*_, **__):
        raise RuntimeError("executed")

    monkeypatch.setattr(publish, "execute", fail)
    with pytest.raises(RuntimeError, match="executed"):
        publish.run(pages, out, anew=True)


def test_a_source_that_changes_while_a_page_is_made_makes_it_another(notebook, capsys):
    alters = "from pathlib import Path\nPath('mine.py').write_text('x = 1')"
    pages = plan([write(notebook.parent / "alters.ipynb", alters)])
    for said in ("2/2 cells", "2/2 cells", "unchanged since"):
        assert publish.run(pages, notebook.parent / "out") == []
        assert said in capsys.readouterr().err


def other_notebook(folder: Path) -> None:
    write(folder / "trains.ipynb", TRAINS + "\n")


def other_module_beside_it(folder: Path) -> None:
    (folder / "mine.py").write_text("x = 1")


def longer_run(_: Path, more: int) -> None:
    trained([replace(RUN, steps=RUN.steps + more)])


def removed_run(_: Path) -> None:
    Disk().remove(RUN.id)


def damaged_run(folder: Path) -> None:
    path = records.folder(folder / "store", RUN.id) / records.RECORD
    path.write_bytes(path.read_bytes().replace(b"finished", b"finishes"))


def other_bits(_: Path) -> None:
    there = Disk().load(RUN)
    params = {name: leaf + 1 for name, leaf in there.params.items()}
    Disk().save([replace(there, params=params)])


CHANGES = [other_notebook, other_module_beside_it, other_bits, removed_run, damaged_run]


@pytest.mark.parametrize("change", CHANGES)
def test_a_page_is_not_what_it_was_after_any_change(notebook, monkeypatch, change):
    page, folder = plan([str(notebook)])[0], notebook.parent
    record = recorded(folder, str(notebook), monkeypatch)
    assert fingerprint.unchanged(page, record)
    change(folder)
    assert not fingerprint.unchanged(page, record)


def test_a_page_is_what_it_was_where_a_run_has_grown(notebook, monkeypatch):
    page, folder = plan([str(notebook)])[0], notebook.parent
    record = recorded(folder, str(notebook), monkeypatch)
    for more in (5, 10):
        longer_run(folder, more)
        assert fingerprint.unchanged(page, record)
    other_bits(folder)
    assert not fingerprint.unchanged(page, record)


def test_a_page_is_not_what_it_was_with_other_parameters_versions_or_sources(notebook, monkeypatch):
    record = recorded(notebook.parent, str(notebook), monkeypatch)
    (page,), (other,) = plan([str(notebook)]), plan([str(notebook)], {"alpha": 0.25})
    assert fingerprint.unchanged(page, record)
    assert not fingerprint.unchanged(other, record)
    assert not fingerprint.unchanged(page, {**record, "versions": {"torch": "0.4"}})
    assert not fingerprint.unchanged(page, {**record, "fingerprint": None})
    for missing in fingerprint._sources:
        rest = tuple(package for package in fingerprint._sources if package != missing)
        monkeypatch.setattr(fingerprint, "_sources", rest)
        assert not fingerprint.unchanged(page, record)


def recorded(folder: Path, notebook: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The record of a page that has read the run."""
    (page,), kept = plan([notebook]), folder / "kept"
    with monkeypatch.context() as patch:
        patch.setenv("TDLAB_KEEP", str(kept))
        trained([RUN])
    made = {"parameters": page.parameters, "versions": fingerprint.versions()}
    return {**made, "fingerprint": {**fingerprint.of(page), "runs": results.runs_read(kept)}}


@pytest.mark.slow
def test_a_report_that_is_killed_goes_on_where_it_stopped(notebook):
    folder = notebook.parent
    first = write(folder / "first.ipynb", "print(alpha)")
    (folder / "hold").touch()
    program = "import sys; from tdlab.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "report", first, str(notebook), "--out"]
    killed = subprocess.Popen([*command, str(folder / "out")], stderr=subprocess.DEVNULL)
    await_(lambda: (record := Disk().standing(RUN)) is not None and record.taken == RUN.steps)
    killed.kill()
    killed.wait()
    file = records.folder(folder / "store", RUN.id) / records.RECORD
    before = file.stat().st_mtime_ns
    (folder / "hold").unlink()
    (left,) = (folder / "out").glob(".staging*")
    os.utime(left, (0, 0))
    again = subprocess.run(
        [*command, str(folder / "out")], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "first  unchanged since" in again.stderr
    assert "trains  2/2 cells" in again.stderr
    assert file.stat().st_mtime_ns == before  # what had been trained was not trained again
    assert not list((folder / "out").glob(".staging*"))


def await_(happens: Callable[[], bool]) -> None:
    while not happens():
        time.sleep(0.05)
