import operator
import signal
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tdlab import cli
from tdlab.report import notebooks, publish
from tdlab.scorecard import terminal
from tdlab.studies import icl

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

    def run(pages, out, *, timeout, anew):
        given = {page.name: dict(page.given) for page in pages}
        asked.update(pages=given, timeout=timeout, anew=anew)
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
    assert cli.main(["report", notebook, "icl", *arguments, "--anew"]) == cli.done
    given = {"preset": "paper", "seed": 7}
    assert asked == {"pages": {"own": given, "icl": given}, "timeout": 9.0, "anew": True}
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
        (["--executor", "cluster"], "no executor 'cluster'; there are local, local=WORKERS, dask="),
        (["--executor", "local=0"], "no executor 'local=0'; there are local"),
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
    def run(pages, out, *, timeout, anew):
        defect()

    monkeypatch.setattr(publish, "run", run)
    with pytest.raises((TypeError, ValueError, IndexError)):
        cli.main(["report", notebook])


@pytest.fixture
def of_the_study(tmp_path, monkeypatch):
    """The path of a notebook that says it belongs to a study, and fails a test if it is run."""
    monkeypatch.chdir(tmp_path)

    def write(name="own", default=0.8, study="icl"):
        source = f"preset: str = 'quick'\nalpha: float = {default}\ndevice: str = 'cpu'"
        made = new_notebook(cells=[new_code_cell(source, metadata={"tags": ["parameters"]})])
        if study:
            made.metadata["tdlab"] = {"study": study}
        nbformat.write(made, tmp_path / f"{name}.ipynb")
        return f"{name}.ipynb"

    return write


REFUSED = [
    (["-p", "alpha", "1.5"], "alpha is 1.5, but must lie in (0, 1]"),
    (["--grid", "alpha", "0.4,0"], "alpha is 0.0, but must lie in (0, 1]"),  # the last of a grid
    (["-p", "preset", "papre"], "preset is 'papre', but must be one of paper, quick"),
]


@pytest.mark.parametrize(("arguments", "complaint"), REFUSED)
def test_a_value_that_the_study_refuses_is_refused_before_any_kernel_starts(
    of_the_study, monkeypatch, capsys, tmp_path, arguments, complaint
):
    monkeypatch.setattr(publish, "execute", lambda *_, **__: pytest.fail("a kernel started"))
    assert cli.main(["report", of_the_study(), *arguments, "--out", "out"]) == cli.bad_input
    assert capsys.readouterr().err.splitlines() == [f"tdlab: {complaint}"]
    assert [each.name for each in tmp_path.iterdir()] == ["own.ipynb"]


def test_an_earlier_report_stays_as_it_was_where_a_value_is_refused(of_the_study, tmp_path):
    (tmp_path / "out").mkdir()
    arguments = ["report", of_the_study(), "-p", "alpha", "-0.1", "--out", "out"]
    assert cli.main(arguments) == cli.bad_input
    assert not list((tmp_path / "out").iterdir())


def test_one_refused_notebook_keeps_the_others_from_starting_and_its_own_values_count(
    of_the_study, asked, capsys
):
    good, bad = of_the_study("good"), of_the_study("bad", default=7.0)
    assert cli.main(["report", good, bad]) == cli.bad_input
    assert capsys.readouterr().err == "tdlab: alpha is 7.0, but must lie in (0, 1]\n"
    assert not asked
    assert cli.main(["report", good]) == cli.done
    assert asked["pages"] == {"good": {}}


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in REFUSED])
def test_a_notebook_of_no_study_may_mean_what_it_likes(of_the_study, asked, arguments):
    assert cli.main(["report", of_the_study(study=None), *arguments]) == cli.done
    assert asked["pages"]


@pytest.fixture
def verified(monkeypatch):
    """What the command line asks the scorecard for."""
    asked = []

    def main(*given, **files):
        asked.append((*given, files))
        return cli.done

    monkeypatch.setattr(terminal, "main", main)
    return asked


def test_verify_passes_claims_and_changes(verified):
    changes = ["-p", "beta", "2", "-p", "lengths", "(3, 5)", "-p", "seeds", "many"]
    options = ["--preset", "paper", "--device", "cpu", "--json", "card.json"]
    options += ["--parquet", "rows", "--readme", "README.md"]
    assert cli.main(["verify", "icl.shift", *changes, *options]) == cli.done
    assert cli.main(["verify"]) == cli.done
    given = {"beta": 2, "lengths": (3, 5), "seeds": "many"}
    assert verified == [
        (
            ["icl.shift"],
            "paper",
            "cpu",
            given,
            {"file": Path("card.json"), "folder": Path("rows"), "readme": Path("README.md")},
        ),
        ([], None, None, {}, {"file": None, "folder": None, "readme": None}),
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-p", "beta", "2", "-p", "beta", "3"], "-p beta is given twice: 2 and 3"),
        (["icl.shift", "-p", "beta", "two"], "beta is 'two', but must be a number"),
        (["-p", "beta", "2"], "beta is no setting of the study cot; name the claims that "),
        (["-p", "seeds", "1"], "seeds is 1, but must be at least 2"),
        (["-p", "bta", "2"], "Setting has no field 'bta'; did you mean 'beta'? "),
        (["icl.shfit"], "there is no claim 'icl.shfit'; did you mean 'icl.shift'? "),
    ],
)
def test_verify_refuses_before_it_measures(monkeypatch, capsys, arguments, complaint):
    monkeypatch.setattr(icl, "Measurements", lambda *_: pytest.fail("it began to measure"))
    assert cli.main(["verify", *arguments]) == cli.bad_input
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tdlab: {complaint}")


LIBRARY = 'def fail(value):\n    raise ValueError(f"{value} is a library\'s business")\n'


@pytest.mark.parametrize("folder", ["tdlab", "synthetic_tasks", "tdlab/.venv/lib", "other"])
def test_an_error_of_a_library_is_no_refusal_wherever_it_is_installed(
    notebook, monkeypatch, tmp_path, folder
):
    path = tmp_path / folder / "library.py"
    path.parent.mkdir(parents=True)
    path.write_text(LIBRARY)
    library = ModuleType("library")
    SourceFileLoader("library", str(path)).exec_module(library)
    monkeypatch.setattr(publish, "run", lambda *_, **__: library.fail(3))
    with pytest.raises(ValueError, match=r"^3 is a library's business$"):
        cli.main(["report", notebook])


def test_our_own_errors_are_refusals_and_those_we_pass_on_are_not():
    def caught(call):
        with pytest.raises((ValueError, TypeError)) as error:
            call()
        return error.value

    assert cli._is_refusal(caught(lambda: icl.setting(alpha=2.0)))  # of synthetic_tasks
    assert cli._is_refusal(caught(lambda: icl.setting(zzz=2.0)))  # of tdlab
    assert not cli._is_refusal(caught(lambda: int("x")))
    assert not cli._is_refusal(caught(lambda: np.zeros(2) + np.zeros(3)))


def test_notebooks_are_listed_and_copied(notebook, capsys):
    assert cli.main(["notebooks", "list"]) == cli.done
    assert capsys.readouterr().out == "icl  (preset, seed)\n"
    assert cli.main(["notebooks", "copy", "mine"]) == cli.done
    assert capsys.readouterr().out == "mine/icl.ipynb\n"
    Path("mine/icl.ipynb").write_text("changed")
    assert cli.main(["notebooks", "copy", "mine"]) == cli.bad_input
    assert "not overwriting icl.ipynb, changed in mine" in capsys.readouterr().err


@pytest.mark.parametrize(
    "stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
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


def test_a_reader_that_has_read_enough_is_no_failure(tmp_path):
    command = [*COMMAND, "runs", "list", "--store", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate()
    assert (process.returncode, said) == (cli.done, b"")
