"""What the README says can be done, done or at least understood."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tdlab import cli, scorecard
from tdlab.grid import grid
from tdlab.report import notebooks
from tdlab.report.pages import plan
from tdlab.studies import icl

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in FENCED if language == "python"]
TEXT = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
INLINE = re.findall(r"`([^`\n]+)`", TEXT)
# A command line, up to the two spaces before what it is for.
LINES = [
    line.split("  ")[0] for language, text in FENCED if not language for line in text.split("\n")
]
COMMANDS = [
    line.strip() for line in [*LINES, *INLINE] if re.match(r"(tdlab|make|\S*papermill) ", line)
]
TDLAB = [line for line in COMMANDS if line.startswith("tdlab ")]
MAKE = sorted({line for line in COMMANDS if line.startswith("make ")})

# The README trains for minutes' worth of insight, a test only as far as the lines run.
SHORTER = {
    "steps=200)": "steps=8)",
    'setting("quick", seeds=4, ': 'setting("quick", seeds=2, steps=8, ',
}


def test_every_block_of_python_runs_in_the_order_in_which_it_is_read(tmp_path):
    program = "\n".join(PYTHON)
    for wanted, shorter in SHORTER.items():
        assert program.count(wanted) == 1
        program = program.replace(wanted, shorter)
    store = str(tmp_path.parent / f"{tmp_path.name}-store")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TDLAB_STORE": store}
    command = [sys.executable, "-c", program]
    answer = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "Warning" not in answer.stderr
    losses, became, ending, *rest = answer.stdout.splitlines()
    assert became == "2 were there, 6 were trained, 0 diverged, 0 failed"
    assert ending == "Ending(step=8, reason='finished')"
    assert len(re.findall(r"\d\.\d{3}", losses)) == 8
    start = next(place for place, line in enumerate(rest) if line.startswith("tensor"))
    rates = re.findall(r"^(?:0\.[48])? +(0\.[12]) +\d", "\n".join(rest[:start]), re.MULTILINE)
    assert rates == ["0.1", "0.2"] * 2
    (error, mass), rest = rest[start : start + 2], rest[start + 2 :]
    assert all(re.fullmatch(r"tensor\([01]?\.\d*\)", line) for line in (error, mass))
    table = "\n".join(rest)
    assert all(word in table for word in ("measured", "theory", "concentration", "zero_one"))
    assert not list(tmp_path.iterdir())


def test_the_readme_has_the_blocks_that_are_looked_for():
    assert len(PYTHON) == 9
    assert len(TDLAB) >= 4
    assert {line.split()[1] for line in TDLAB} == {
        *("report", "verify", "notebooks", "bench", "sweep", "runs")
    }
    assert {"make report", "make test"} <= set(MAKE)


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
    elif arguments.command not in (cli.bench, cli.list_runs, cli.merge_stores):
        assert arguments.command is cli.copy_notebooks
        assert notebooks.available()


@pytest.mark.parametrize("line", MAKE)
def test_every_make_target_is_in_the_makefile(line):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert line.split()[1] in targets


def test_every_file_and_page_that_is_named_is_there():
    pages = re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE)
    assert sorted(pages) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    for name in re.findall(r"notebooks/\w+\.ipynb", README):
        assert (ROOT / name).is_file()


def test_every_module_that_is_named_is_there():
    for name in {name for name in INLINE if re.fullmatch(r"(tdlab|synthetic_tasks)(\.\w+)*", name)}:
        path = ROOT.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
