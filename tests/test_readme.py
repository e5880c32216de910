"""What the README says can be done, done or at least understood."""

import re
import shlex

import papermill
import pytest

from tdlab import cli, scorecard
from tdlab.claims.claim import VERDICTS
from tdlab.grid import grid
from tdlab.report import notebooks
from tdlab.report.pages import plan
from tdlab.studies import icl
from tests.first_use import environment
from tests.first_use.environment import ROOT
from tests.readme import COMMANDS, FENCED, INLINE, PYTHON, README, program

TDLAB = [line for line in COMMANDS if line.startswith("tdlab ")]
MAKE = sorted({line for line in COMMANDS if line.startswith("make ")})
PAPERMILL = [line for line in COMMANDS if line.startswith("papermill ")]
# How each of the four is written, by what its block begins to define.
HOW_TO = ("class Regression:", "class LinearAttention:", "def gain(", "claim = Claim(")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the Python of the README prints, in the environment that is tried."""
    folder, store = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("store")
    environment.home(folder)
    lines = environment.run("python", "-c", program(), folder=folder, store=store)
    assert [path.name for path in folder.iterdir()] == ["walk.png"]
    return lines


def test_every_block_of_python_runs_in_the_order_in_which_it_is_read(printed):
    losses, mass, *rest = printed.splitlines()
    assert len(re.findall(r"\d\.\d{4}", losses)) == 8
    assert re.fullmatch(r"tensor\(0\.\d*\)", mass)
    assert all(word in printed for word in ("measured", "theory", "concentration", "zero_one"))
    assert rest.count("0 were there, 8 were trained, 0 diverged, 0 failed") == 1
    rates = re.findall(r"^(?:[01]\.[01])? +(0\.0[25]) +\d", printed, re.MULTILINE)
    assert rates == ["0.02", "0.05"] * 2


def test_a_task_a_model_a_probe_and_a_claim_come_to_a_verdict(printed):
    (start, *_, end) = re.findall(r"^(\d+) +(\S+) +(0\.\d+)$", printed, re.MULTILINE)
    assert (start[0], end[0]) == ("0", "8")
    assert float(end[1]) > float(start[1])  # the head stretches more, and more evenly
    assert float(end[2]) < float(start[2])
    verdict = "|".join(VERDICTS)
    judged = re.findall(rf"\[\S+, \S+\] .* ({verdict}) +({verdict})$", printed, re.MULTILINE)
    assert judged == [("disagrees", "disagrees")] * 2  # so early


@pytest.mark.parametrize("begins", HOW_TO)
def test_each_of_the_four_takes_less_than_thirty_lines(begins):
    (block,) = [text for text in PYTHON if begins in text]
    assert len(block.splitlines()) < 30


def test_the_readme_has_the_blocks_that_are_looked_for():
    assert len(PYTHON) == 9
    assert {line.split()[1] for line in TDLAB} == {
        *("report", "verify", "notebooks", "bench", "sweep", "runs")
    }
    assert {"make report", "make test"} <= set(MAKE)
    assert "tdlab notebooks copy" in TDLAB
    assert len(PAPERMILL) == 1


@pytest.mark.parametrize("line", TDLAB)
def test_every_command_line_parses_and_names_what_there_is(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = cli._parser().parse_args(shlex.split(line)[1:])
    if arguments.command is cli.verify:
        assert scorecard.chosen(arguments.claims)
        changes = {name: cli._literal(text) for name, text in arguments.parameters}
        icl.setting(arguments.preset or "quick", **changes)
    elif arguments.command is cli.report:
        given, points = dict(arguments.parameters), dict(arguments.grid)
        pages = plan(arguments.notebooks, given, grid=points, preset=arguments.preset, device=None)
        assert pages
        cli._check_settings(pages)
    elif arguments.command is cli.sweep:
        assert arguments.study in ("icl", "cot", "kernels")
        given = {name: cli._values(text) for name, text in arguments.grid}
        assert grid(icl.setting("quick").runs(), given)
    elif arguments.command in (cli.copy_notebooks, cli.list_notebooks):
        assert notebooks.available()
    else:
        assert arguments.command in (cli.bench, cli.list_runs, cli.show_run, cli.merge_stores)


@pytest.mark.parametrize("line", PAPERMILL)
def test_papermill_is_given_a_notebook_and_parameters_that_it_has(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, notebook, _, *options = line.split()
    known = papermill.inspect_notebook(notebook)
    assert options[::3] == ["-p"] * (len(options) // 3)
    assert {*options[1::3]} <= {*known}


@pytest.mark.parametrize("path", notebooks.available().values(), ids=lambda path: path.stem)
def test_papermill_knows_every_parameter_of_a_notebook(path):
    from tdlab.report.parameters import declared

    known = papermill.inspect_notebook(path)
    assert [*known] == [*declared(notebooks.read(path), path.stem)]


@pytest.mark.parametrize("line", MAKE)
def test_every_make_target_is_in_the_makefile(line):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert line.split()[1] in targets


def test_every_file_and_page_that_is_named_is_there():
    pages = re.findall(r"^\| `(\w+)` \| [^|]*\|$", README, flags=re.MULTILINE)
    assert sorted(pages) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    named = re.findall(r"notebooks/\w+\.ipynb", README)
    named += re.findall(r"(?:\]\(|src=\")(reports/.*?)[)\"]", README)
    assert "reports/figures/scorecard.png" in named
    for name in named:
        assert (ROOT / name).is_file(), name


def test_every_module_that_is_named_is_there():
    for name in {name for name in INLINE if re.fullmatch(r"(tdlab|synthetic_tasks)(\.\w+)*", name)}:
        path = ROOT.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_the_citation_is_of_this_version():
    (entry,) = [text for language, text in FENCED if language == "bibtex"]
    (version,) = re.findall(
        r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert f"version = {{{version}}}" in entry
