import json
import re
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

import nbformat
import psutil
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tdlab.claims.claim import Finding, overall
from tdlab.report import execution, index, publish
from tdlab.report.pages import Page, plan
from tdlab.statistics import Interval

GOOD = """import os, sys
from pathlib import Path
import pandas as pd
from IPython.display import Image, display
keep = Path(os.environ["TDLAB_KEEP"])
pd.DataFrame({
    "claim": ["icl.generalization", "icl.shift"], "statement": ["falls below $R$", "rises"],
    "prediction": [0.5, None], "measurement": [0.25, 2.0], "low": [0.2, 1.0],
    "high": [0.3, 3.0], "verdict": ["agrees", "inconclusive"],
}).to_parquet(keep / "verdicts.parquet")
(keep / "python.txt").write_text(sys.executable)
display(Image(data=b"\\x89PNG a picture", format="png"))
said = {"title": "Risk.", "alt": "Risk from 1 to 0."}
pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4"
pixel += "DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
both = {"image/png": pixel, "image/svg+xml": "<svg/>"}
display(both, raw=True, metadata=dict.fromkeys(both, said))
print(os.getcwd() == str(Path("beside.txt").resolve().parent), Path("beside.txt").read_text())
print("alpha is", alpha)
"""
HANGING = """import subprocess, time, os
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(child.pid, os.getpid(), flush=True)
time.sleep(1000)
"""


def write(folder, name, *cells, parameters=None):
    tagged = [new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    made = [new_markdown_cell(f"# About {name}"), *tagged, *map(new_code_cell, cells)]
    path = folder / f"{name}.ipynb"
    said = {"tdlab": {"study": "icl"}}
    nbformat.write(new_notebook(cells=made, metadata=said), path)  # without a kernelspec
    return str(path)


def only_whole_pages(out):
    """No staging folder, no stray file: each entry is a page, the failures or the index."""
    entries = {path.name for path in out.iterdir()}
    pages = {path.parent.name for path in out.glob("*/page.json")}
    return entries - pages <= {"failed", "index.html"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of notebooks whose name papermill would take for a format string."""
    folder = tmp_path_factory.mktemp("{notebooks}")
    (folder / "beside.txt").write_text("read")
    return folder


@pytest.fixture(scope="module")
def out(folder):
    """One page, made while a user-level kernelspec python3 that cannot work lies in wait."""
    spec = {"argv": ["/nonexistent/python"], "display_name": "theirs", "language": "python"}
    theirs = folder / "user" / "kernels" / "python3"
    theirs.mkdir(parents=True)
    (theirs / "kernel.json").write_text(json.dumps(spec))
    path = write(folder, "good", GOOD, parameters="alpha: float = 0.5\npreset: str = 'quick'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(folder / "user"))
        patch.setenv("JUPYTER_PATH", str(folder / "user"))
        assert publish.run(plan([path], grid={"alpha": "0.25"}), folder / "{out}") == []
    return folder / "{out}"


@pytest.fixture(scope="module")
def page(out):
    return out / "good-alpha=0.25"


def test_a_page_holds_notebook_html_tables_figures_and_record(out, page):
    assert {path.name for path in page.iterdir()} == {
        "good-alpha=0.25.html", "good-alpha=0.25.ipynb", "page.json",
        "figure-1.png", "figure-2.png", "figure-2.svg", "thumbnail-2.png", "verdicts.parquet",
        "python.txt",
    }  # fmt: skip
    assert (page / "figure-1.png").read_bytes() == b"\x89PNG a picture"
    assert (page / "figure-2.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (page / "figure-2.svg").read_bytes() == b"<svg/>"
    assert only_whole_pages(out)


def test_the_kernel_is_this_environment_whatever_the_user_has_installed(page):
    assert (page / "python.txt").read_text() == sys.executable


def test_the_notebook_runs_in_its_own_folder_with_the_given_value(page):
    text = BeautifulSoup((page / "good-alpha=0.25.html").read_text(), "html.parser").text
    assert "True read" in text
    assert "alpha is 0.25" in text


def test_the_record_says_what_was_run(page):
    record = json.loads((page / "page.json").read_text())
    assert record["title"] == "About good"
    assert record["parameters"] == {"alpha": 0.25, "preset": "quick"}
    assert record["preset"] == "quick"
    assert record["study"] == "icl"
    assert set(record["versions"]) == {"tdlab", "python", "torch", "numpy"}
    assert [row["verdict"] for row in record["verdicts"]] == ["agrees", "inconclusive"]
    assert record["verdicts"][1]["prediction"] is None
    one, two = record["figures"]
    assert (one["file"], one["files"]) == ("figure-1.png", ["figure-1.png"])
    assert (one["alt"], one["heading"]) == ("Figure: About good", "About good")
    assert record["thumbnails"] == ["figure-1.png", "thumbnail-2.png"]
    assert two["files"] == ["figure-2.svg", "figure-2.png"]
    assert two["file"] == "figure-2.svg"
    assert (two["title"], two["alt"]) == ("Risk.", "Risk from 1 to 0.")


def test_a_page_shows_the_sharper_of_two_kinds_of_picture_with_all_its_words(page):
    soup = BeautifulSoup((page / "good-alpha=0.25.html").read_text(), "html.parser")
    _, image = soup.find_all("img")
    assert str(image["src"]).startswith("data:image/svg+xml;base64,")
    assert image["alt"] == "Risk from 1 to 0."


def test_nothing_tells_of_the_machine_it_ran_on(page, folder):
    notebook = nbformat.read(page / "good-alpha=0.25.ipynb", as_version=4)
    told = json.dumps([notebook.metadata, [cell.metadata for cell in notebook.cells]])
    assert notebook.metadata.papermill.parameters == {"alpha": 0.25}
    for text in (told, (page / "page.json").read_text(), (page.parent / "index.html").read_text()):
        assert str(folder) not in text
        assert sys.prefix not in text


def test_the_index_shows_every_page_with_its_verdicts(out):
    soup = BeautifulSoup((out / "index.html").read_text(), "html.parser")
    chips = [chip.text for chip in soup.find_all(class_="chip")]
    assert chips == ["✓ icl.generalization agrees", "? icl.shift inconclusive"]
    assert soup.select("h2 a")[0]["href"] == "good-alpha%3D0.25/good-alpha%3D0.25.html"
    assert "alpha = 0.25" in soup.text
    assert "Claims tested so far: ✓ 1 agrees, ? 1 inconclusive." in soup.text
    assert soup.select("td math")
    assert not soup.find_all(["script", "link"])
    images = [str(image["src"]).partition(",")[0] for image in soup.find_all("img")]
    assert images == ["data:image/png;base64"] * 2  # one that is none stands for itself
    addresses = [str(link["href"]) for link in soup.find_all("a")]
    assert not [address for address in addresses if ":" in address or address.startswith("/")]


def chips(folder, name, rows):
    """What the index of a folder with one page of these (claim, verdict) rows shows."""
    lacking = dict.fromkeys(("statement", "quantity", "prediction", "measurement", "low", "high"))
    record = {"page": name, "title": name, "parameters": {}, "seconds": 1.0, "commit": None}
    record |= {"started": "2026-01-01T00:00:00+00:00", "versions": {"tdlab": "0"}}
    record |= {"thumbnails": [], "tables": []}
    record["verdicts"] = [{"claim": claim, "verdict": each, **lacking} for claim, each in rows]
    (folder / name).mkdir()
    (folder / name / "page.json").write_text(json.dumps(record))
    index.write(folder)
    soup = BeautifulSoup((folder / "index.html").read_text(), "html.parser")
    return [chip.text for chip in soup.find_all(class_="chip")], soup


PARTS = {
    ("agrees",): "agrees",
    ("agrees", "agrees"): "agrees",
    ("agrees", "inconclusive"): "inconclusive",
    ("inconclusive",): "inconclusive",
    ("disagrees", "agrees", "agrees"): "disagrees",
    ("inconclusive", "disagrees"): "disagrees",
}


@pytest.mark.parametrize("parts", PARTS)
def test_the_index_has_one_chip_a_claim_with_the_verdict_on_all_its_parts(tmp_path, parts):
    mark = {"agrees": "✓", "disagrees": "✗", "inconclusive": "?"}
    rows = [("one", part) for part in parts]
    # Rows of another claim lie between them.
    shown, soup = chips(tmp_path, "page", [rows[0], ("two", "agrees"), *rows[1:]])
    verdict = PARTS[parts]
    assert shown == [f"{mark[verdict]} one {verdict}", "✓ two agrees"]
    assert soup.find_all(class_="chip")[0]["class"] == ["chip", verdict]
    counts = Counter([verdict, "agrees"])
    told = ", ".join(f"{mark[each]} {counts[each]} {each}" for each in mark if counts[each])
    assert f"Claims tested so far: {told}." in soup.text
    assert len(soup.select("details tr")) == 1 + len(parts) + 1  # every part stays to be read
    findings = [Finding("", "", Interval(0, 0, 0), part) for part in parts]
    assert verdict == overall(findings)  # as the scorecard says it


def test_a_claim_that_two_pages_test_counts_on_each(tmp_path):
    chips(tmp_path, "a", [("one", "agrees"), ("one", "agrees")])
    shown, soup = chips(tmp_path, "b", [("one", "disagrees")])
    assert shown == ["✓ one agrees", "✗ one disagrees"]
    assert "✓ 1 agrees, ✗ 1 disagrees." in soup.text


@pytest.mark.parametrize(
    ("metadata", "study"),
    [({"tdlab": {"study": "icl"}}, "icl"), ({"tdlab": {}}, None), ({}, None)],
)
def test_a_page_knows_the_study_that_its_notebook_names(tmp_path, metadata, study):
    path = tmp_path / "own.ipynb"
    nbformat.write(new_notebook(metadata=metadata), path)
    (page,) = plan([str(path)])
    assert page.study == study


def test_a_failing_notebook_keeps_the_earlier_page_and_lets_the_others_run(tmp_path, capsys):
    out = tmp_path / "out"
    earlier = out / "failing" / "page.json"
    earlier.parent.mkdir(parents=True)
    record = {"page": "failing", "title": "earlier", "parameters": {}, "seconds": 1.0}
    record |= {"started": "2026-01-01T00:00:00+00:00", "commit": None, "versions": {"tdlab": "0"}}
    record |= {"verdicts": [], "thumbnails": [], "tables": []}
    earlier.write_text(json.dumps(record))
    failing = write(tmp_path, "failing", "x = 1", "\n1 / 0  # boom\ny = 2", "z = 3")
    dying = write(tmp_path, "dying", "import os\nos._exit(3)")
    leaving = write(tmp_path, "leaving", "import sys", "sys.exit()", "z = 3")
    fine = write(tmp_path, "fine", "print('reached')")

    failures = publish.run(plan([failing, dying, leaving, fine]), out)

    told = "failing: cell [2] `1 / 0  # boom`: ZeroDivisionError: division by zero"
    assert failures == [
        told,
        "dying: cell [1] `import os`: its kernel died",
        "leaving: cell [2] `sys.exit()`: SystemExit, the cells after it did not run",
    ]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"fine  1/1 cells  \d+ s", lines[3])
    assert lines[0].endswith(f"failed in {told[9:]} (kept: {out}/failed/failing.ipynb)")
    assert json.loads(earlier.read_text()) == record
    assert (out / "fine" / "fine.html").is_file()
    assert only_whole_pages(out)
    partial = nbformat.read(out / "failed" / "failing.ipynb", as_version=4)
    assert [cell.source for cell in partial.cells][-1] == "z = 3"
    assert "ZeroDivisionError" in str(partial.cells)
    soup = BeautifulSoup((out / "index.html").read_text(), "html.parser")
    assert [item.text.split()[0] for item in soup.select(".failures li")] == [
        "dying:",
        "failing:",
        "leaving:",
    ]
    assert "ZeroDivisionError: division by zero" in soup.select(".failures")[0].text

    write(tmp_path, "failing", "x = 1")
    assert publish.run(plan([failing]), out) == []
    assert not (out / "failed" / "failing.ipynb").exists()
    assert "ZeroDivisionError" not in (out / "index.html").read_text()


def test_a_hung_cell_is_stopped_together_with_the_processes_it_started(tmp_path):
    out, started = tmp_path / "out", monotonic()
    hanging = write(tmp_path, "hanging", HANGING)
    (failure,) = publish.run(plan([hanging]), out, timeout=1.0)
    assert failure.endswith("`import subprocess, time, os`: still running after 1 s, stopped")
    assert monotonic() - started < 20
    kept = nbformat.read(out / "failed" / "hanging.ipynb", as_version=4)
    said, *_, stopped = kept.cells[1].outputs  # between them, where it was interrupted
    assert not [pid for pid in map(int, said.text.split()) if psutil.pid_exists(pid)]
    assert stopped.ename == "Stopped"
    assert only_whole_pages(out)


def test_an_interrupted_swap_puts_the_earlier_page_back(tmp_path, monkeypatch):
    target, former = tmp_path / "page", tmp_path / "former"
    target.mkdir()
    (target / "page.json").write_text("earlier")
    with pytest.raises(FileNotFoundError):
        publish._swap_in(tmp_path / "not there", target, former)
    assert (target / "page.json").read_text() == "earlier"
    assert not former.exists()


def test_a_defect_of_ours_leaves_no_staging_folder_and_no_page(tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("a defect")

    monkeypatch.setattr(publish, "execute", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        publish.run(plan([write(tmp_path, "any", "1")]), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_is_no_page_is_never_replaced(tmp_path):
    mine = tmp_path / "out" / "any" / "thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ValueError, match="out/any is not a page of ours; move it away"):
        publish.run(plan([write(tmp_path, "any", "1")]), tmp_path / "out")
    assert mine.read_text() == "mine"


def test_an_output_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "out").write_text("a file")
    pages = plan([write(tmp_path, "any", "1")])
    with pytest.raises(ValueError, match=r"cannot write to .*out: File exists"):
        publish.run(pages, tmp_path / "out")


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(tmp_path, timeout):
    with pytest.raises(ValueError, match="it must be a positive number of seconds"):
        publish.run([], tmp_path, timeout=timeout)


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "icl").mkdir()
    (tmp_path / "icl" / "page.json").write_text('{"page": "icl"}')
    with pytest.raises(ValueError, match=r"icl/page\.json is damaged"):
        index.write(tmp_path)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_sees_one_line_redrawn_and_a_log_only_its_end(monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    line = publish._Line("icl", Path("out/failed"))
    line.cell(0, 4)
    line.cell(2, 4)
    line.end("")
    said = capsys.readouterr().err
    assert said.endswith("icl  4/4 cells  0 s\n")
    assert said.count("\n") == 1
    assert ("icl  2/4 cells  0 s  [##########..........]" in said) == terminal


def test_a_page_runs_with_its_own_values_where_none_is_given():
    page = Page(name="x", notebook=Path("x.ipynb"), given={}, known={})
    assert page.parameters == {}
    assert execution.keep_variable == "TDLAB_KEEP"
