import operator
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tdlab import cli
from tdlab.report import notebooks, publish

COMMAND = [sys.executable, "-c", "import sys; from tdlab.cli import main; sys.exit(main())"]


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """The path of a notebook, in the current directory, with parameters `preset` and `seed`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notebooks, "_homes", (tmp_path / "home",))
    (tmp_path / "home").mkdir()
    source = "preset: str = 'quick'\nseed: int = 3"
    cell = new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "home" / "icl.ipynb")
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "own.ipynb")
    return "own.ipynb"


@pytest.fixture
def asked(monkeypatch):
    """What the command line asks `publish.run` for, which then reports one failure."""
    asked: dict[str, Any] = {}

    def run(pages, out, *, timeout):
        asked.update(pages={page.name: dict(page.given) for page in pages}, timeout=timeout)
        return asked.get("failures", [])

    monkeypatch.setattr(publish, "run", run)
    return asked


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"], ["notebooks", "--help"]])
def test_help_answers_in_half_a_second(arguments):
    took = []
    for _ in range(3):
        started = monotonic()
        answer = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True)
        took.append(monotonic() - started)
    assert "usage: " in answer.stdout
    assert min(took) < 0.5


def test_options_reach_the_library(notebook, asked, capsys):
    arguments = ["--preset", "paper", "-p", "seed", "7", "--timeout", "9", "--out", "here"]
    assert cli.main(["report", notebook, "icl", *arguments]) == cli.done
    given = {"preset": "paper", "seed": 7}
    assert asked == {"pages": {"own": given, "icl": given}, "timeout": 9.0}
    assert capsys.readouterr().out == "here/index.html\n"


def test_a_grid_and_a_device_reach_the_library(notebook, asked):
    assert cli.main(["report", "icl", "--grid", "seed", "1,2", "--device", "cpu"]) == cli.done
    assert asked["pages"] == {"icl-seed=1": {"seed": 1}, "icl-seed=2": {"seed": 2}}


def test_a_failing_notebook_is_status_one(notebook, asked):
    asked["failures"] = ["own: cell [1] `1 / 0`: ZeroDivisionError"]
    assert cli.main(["report", notebook]) == cli.failed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-p", "sedd", "3"], "unknown parameter 'sedd' for own; did you mean 'seed'? "),
        (["-p", "seed", "x"], "parameter 'seed' takes int, such as 3; got 'x'"),
        (["-p", "seed", "1", "-p", "seed", "2"], "-p seed is given twice: 1 and 2"),
        (["nope"], "no notebook 'nope' (there are: icl)"),
        (["--timeout", "0"], "timeout is 0; it must be a positive number of seconds"),
        (["--out", "own.ipynb"], "cannot write to own.ipynb: File exists"),
    ],
)
def test_bad_input_is_status_two_and_one_line(notebook, capsys, arguments, complaint):
    assert cli.main(["report", notebook, *arguments]) == cli.bad_input
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tdlab: {complaint}")
    assert not Path("reports").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["reprot"], "invalid choice: 'reprot'"),
        (["report", "--device", "tpu"], "invalid choice: 'tpu' (choose from 'cpu', 'cuda')"),
        (["report", "--preset", "large"], "invalid choice: 'large'"),
        (["report", "--timeout", "long"], "invalid float value: 'long'"),
        (["verify", "--seed", "3"], "unrecognized arguments: --seed"),
    ],
)
def test_arguments_that_make_no_sense_are_status_two_and_one_line(capsys, arguments, complaint):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == cli.bad_input
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


@pytest.mark.parametrize(
    "defect",
    [lambda: np.zeros(2) + np.zeros(3), lambda: operator.add(1, "x"), lambda: int("x"), [].pop],
    ids=["inside numpy", "TypeError", "ValueError of a builtin", "IndexError"],
)
def test_a_defect_of_ours_keeps_its_traceback(notebook, monkeypatch, defect):
    def run(pages, out, *, timeout):
        defect()

    monkeypatch.setattr(publish, "run", run)
    with pytest.raises((TypeError, ValueError, IndexError)):
        cli.main(["report", notebook])


def test_notebooks_are_listed_and_copied(notebook, capsys):
    assert cli.main(["notebooks", "list"]) == cli.done
    assert capsys.readouterr().out == "icl  (preset, seed)\n"
    assert cli.main(["notebooks", "copy", "mine"]) == cli.done
    assert capsys.readouterr().out == "mine/icl.ipynb\n"
    Path("mine/icl.ipynb").write_text("changed")
    assert cli.main(["notebooks", "copy", "mine"]) == cli.bad_input
    assert "not overwriting icl.ipynb, changed in mine" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_report_leaves_nothing_half_written_and_nothing_running(tmp_path, stop):
    source = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    long, out = tmp_path / "long.ipynb", tmp_path / "reports"
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), long)
    command = [*COMMAND, "report", str(long), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not (tmp_path / "pid").exists():
            sleep(0.05)
        sleep(0.1)  # the number is written
        process.send_signal(stop)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == cli.interrupted
    assert said.strip() == "tdlab: interrupted; nothing half-written is left"
    assert list(out.iterdir()) == []
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
