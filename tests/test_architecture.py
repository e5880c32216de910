"""Imports run one way, notebooks stay thin, and a few things are written nowhere.

Each rule is a function from a tree of files to the places where the tree breaks it, so that it can
be tried on a tree that is wrong.
"""

import ast
import json
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
THIS_FILE = Path(__file__).relative_to(ROOT)

Rule = Callable[[Path], Iterator[str]]

# "B": "A ..." reads: B may import A. A word is a folder or file of tdlab/, `synthetic_tasks`, or
# `notebook` (a file of notebooks/). A new module is a new line here, so that growth is a decision.
IMPORTS = {
    "synthetic_tasks": "",
    # Its __init__: `tdlab --help` answers before anything heavy is loaded.
    "tdlab": "machine exploration",
    "machine": "",
    "theory": "",
    "files": "",
    "results": "files",
    "mathml": "",
    "symbols": "",
    "progress": "",
    "losses": "synthetic_tasks",
    "statistics": "synthetic_tasks",
    "optimisers": "synthetic_tasks",
    "schedule": "synthetic_tasks",
    "models": "synthetic_tasks",
    "run": "synthetic_tasks models losses optimisers schedule",
    "trajectory": "models run",
    "train": "synthetic_tasks machine models losses optimisers schedule run trajectory progress",
    "records": "files results run",
    "store": "files results run trajectory records",
    "listed": "run trajectory records",
    "executors": "machine",
    "sweep": "synthetic_tasks machine models schedule run trajectory listed train records store"
    " executors progress",
    "tables": "results run records store",
    "probes": "synthetic_tasks losses",
    "baselines": "synthetic_tasks losses",
    "studies": "synthetic_tasks machine theory losses models optimisers schedule run trajectory"
    " train sweep probes baselines statistics results",
    "claims": "synthetic_tasks studies theory statistics results files mathml symbols",
    "figures": "results statistics",
    "exploration": "synthetic_tasks models run trajectory listed sweep probes studies results"
    " figures",
    "scorecard": "synthetic_tasks studies claims figures results files run records report mathml"
    " symbols",
    "notebook": "exploration synthetic_tasks studies claims figures scorecard results sweep probes",
    "grid": "synthetic_tasks run listed",
    "runs": "records store",
    "report": "results records mathml symbols",
    "bench": "synthetic_tasks machine models optimisers schedule run train store sweep",
    "cli": "synthetic_tasks run train store sweep studies claims statistics results progress"
    " report scorecard bench grid runs records executors tables",
    "__main__": "cli",
}

# synthetic_tasks is used without tdlab, so what it needs is short (scikit-learn for its digits).
NEEDS_OF_TASKS = {"torch", "numpy", "jaxtyping", "sklearn"}

TOP_LEVEL = {
    *("pyproject.toml", "README.md", "Makefile", "constraints.txt", "CHANGELOG.md", "LICENSE"),
    *(".ci", ".gitignore", "synthetic_tasks", "tdlab", "notebooks", "reports", "tests"),
}

CELLS_IN_A_NOTEBOOK = 12
LINES_IN_A_CELL = 18
LINES_IN_A_DEFINITION = 3


# Which file imports what.


def sources(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Every file of the two packages, and the code of every notebook as one module."""
    for path in sorted(chain(root.glob("synthetic_tasks/**/*.py"), root.glob("tdlab/**/*.py"))):
        yield path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(root.glob("notebooks/*.ipynb")):
        yield path.relative_to(root), ast.parse("\n".join(code_cells(path)))


def code_cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names, wherever the import stands; ``from tdlab import run`` is ``tdlab.run``."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from (f"{module}.{name.name}" for name in names)
            case ast.ImportFrom(names=names, level=level):
                yield from ("." * level + name.name for name in names)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value), *_]):
                yield str(value)


def part_of_name(name: str) -> str | None:
    """The word of the map that a dotted name belongs to; None for what is not ours."""
    match name.split("."):
        case ["synthetic_tasks", *_]:
            return "synthetic_tasks"
        case ["tdlab"]:
            return "tdlab"
        case ["tdlab", "explore"]:  # which the package hands on
            return "exploration"
        case ["tdlab", word, *_]:
            return "tdlab" if word.startswith("__") else word
        case _:
            return None


def part_of_file(path: Path) -> str:
    match path.parts:
        case ["tdlab", "__init__.py"]:
            return "tdlab"
        case ["tdlab", word, *_]:
            return word.removesuffix(".py")
        case ["notebooks", *_]:
            return "notebook"
        case _:
            return "synthetic_tasks"


# The rules.


def against_the_map(root: Path) -> Iterator[str]:
    for path, tree in sources(root):
        part = part_of_file(path)
        if part not in IMPORTS:
            yield f"{path}: {part} is not in the import map; add it to IMPORTS in {THIS_FILE}"
            continue
        for name in imported(tree):
            if name.startswith("."):
                yield f"{path}: relative import of {name}; write the module out"
            target = part_of_name(name)
            if target not in {None, "tdlab", part, *IMPORTS[part].split()}:
                yield f"{path}: {part} may not import {name}; it may import: {IMPORTS[part] or '-'}"


def circles(root: Path) -> Iterator[str]:
    """Files that import each other, by whatever way; the map knows folders only."""
    of_file = {".".join(path.with_suffix("").parts): tree for path, tree in sources(root)}
    of_file = {name.removesuffix(".__init__"): tree for name, tree in of_file.items()}

    def file_of(name: str) -> str:
        """``tdlab.run.Run`` is in the file ``tdlab.run``."""
        return name if name in of_file else name.rpartition(".")[0]

    arrows = {name: {*map(file_of, imported(tree))} & {*of_file} for name, tree in of_file.items()}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        yield " imports ".join(reversed(error.args[1]))


def beyond_the_needs_of_tasks(root: Path) -> Iterator[str]:
    allowed = {*sys.stdlib_module_names, "synthetic_tasks", *NEEDS_OF_TASKS}
    for path, tree in sources(root):
        if part_of_file(path) == "synthetic_tasks":
            for name in imported(tree):
                if name.partition(".")[0] not in allowed:
                    yield f"{path}: imports {name}; synthetic_tasks stands alone"


def habits_broken(root: Path) -> Iterator[str]:
    """What our packages never do, and why."""
    for path, tree in sources(root):
        for name in imported(tree):
            if name.partition(".")[0] in {"pickle", "cloudpickle", "dill"}:
                yield f"{path}: {name}; reading a pickle runs whatever is in it"
            if name.startswith("torch.nn.utils.prune"):
                yield f"{path}: {name} renames parameters; masks are pure functions here"
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr="manual_seed" | "manual_seed_all"):
                    yield f"{path}:{node.lineno}: manual_seed; randomness is a key, an argument"
                case ast.Attribute(attr="prune", value=ast.Attribute(attr="utils")):
                    yield f"{path}:{node.lineno}: nn.utils.prune; masks are pure functions here"
                case ast.ExceptHandler(body=[*_, ast.Raise(exc=None)]):
                    pass  # cleans up and passes everything on
                case ast.ExceptHandler(type=None | ast.Name(id="Exception" | "BaseException")):
                    yield f"{path}:{node.lineno}: catches everything; name what can go wrong"


def notebooks_not_thin(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("notebooks/*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
        kernel = notebook["metadata"].get("kernelspec", {}).get("name")
        if kernel != "python3":
            yield f"{path.name}: kernelspec {kernel!r}; papermill needs 'python3'"
        if tags.count("parameters") != 1:
            yield f"{path.name}: {tags.count('parameters')} cells tagged 'parameters'; must be 1"
        if len(cells) > CELLS_IN_A_NOTEBOOK:
            yield f"{path.name}: {len(cells)} cells; at most {CELLS_IN_A_NOTEBOOK}"
        if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
            yield f"{path.name}: holds outputs; they belong in reports/"
        for number, code in enumerate(code_cells(path)):
            yield from (
                f"{path.name}, code cell {number}: {fault}" for fault in cell_too_long(code)
            )


def cell_too_long(code: str) -> Iterator[str]:
    if (lines := len(code.splitlines())) > LINES_IN_A_CELL:
        yield f"{lines} lines; at most {LINES_IN_A_CELL}"
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                if (lines := len(ast.unparse(node).splitlines())) > LINES_IN_A_DEFINITION:
                    yield f"a definition of {lines} lines; above {LINES_IN_A_DEFINITION} in tdlab/"


def strangers_at_the_top(root: Path) -> Iterator[str]:
    """Entries that are neither agreed nor ignored by git."""
    patterns = (root / ".gitignore").read_text(encoding="utf-8").split()
    ignored = [".git", *(pattern.rstrip("/") for pattern in patterns)]
    for name in sorted(path.name for path in root.iterdir()):
        if name not in TOP_LEVEL and not any(fnmatch(name, pattern) for pattern in ignored):
            yield f"{name}: not an agreed entry of the top level"


# They hold here.


@pytest.mark.parametrize(
    "rule",
    [
        against_the_map,
        circles,
        beyond_the_needs_of_tasks,
        habits_broken,
        notebooks_not_thin,
        strangers_at_the_top,
    ],
)
def test_this_tree_keeps(rule: Rule):
    assert not list(rule(ROOT))


def test_imports_run_one_way():
    TopologicalSorter({part: words.split() for part, words in IMPORTS.items()}).prepare()
    assert {word for words in IMPORTS.values() for word in words.split()} <= set(IMPORTS)


def test_training_and_probes_cannot_see_each_other():
    def seen_from(part: str) -> set[str]:
        words = IMPORTS[part].split()
        return set(words).union(*map(seen_from, words))

    assert "train" not in seen_from("probes")
    assert "probes" not in seen_from("train")
    assert "models" not in seen_from("probes") | seen_from("baselines")


# And each of them notices a tree that breaks it.


def plant(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("tdlab/train.py", "import tdlab.probes.attention"),
        ("tdlab/train.py", "from tdlab import probes"),
        ("tdlab/probes/shift.py", "def later():\n    from tdlab.models.li2024 import OneLayer"),
        ("tdlab/theory/li2024.py", "import synthetic_tasks"),
        ("tdlab/figures.py", "import importlib\nimportlib.import_module('tdlab.studies.icl')"),
        ("tdlab/models/li2024.py", "from ..train import fit"),
        ("tdlab/__init__.py", "from tdlab.run import Run"),
        ("tdlab/utils.py", ""),
        ("synthetic_tasks/icl.py", "from tdlab import losses"),
    ],
)
def test_a_forbidden_import_is_reported(tmp_path: Path, name: str, code: str):
    plant(tmp_path, name, code)
    assert [report for report in against_the_map(tmp_path) if report.startswith(name)]


def test_an_allowed_import_is_not_reported(tmp_path: Path):
    plant(tmp_path, "tdlab/studies/icl.py", "import torch\nfrom tdlab.probes import attention")
    plant(tmp_path, "tdlab/report/pages.py", "from tdlab import __version__, results")
    assert not list(against_the_map(tmp_path))


def test_files_that_import_each_other_are_reported(tmp_path: Path):
    plant(tmp_path, "tdlab/train/__init__.py", "from tdlab.train.training import Training")
    plant(tmp_path, "tdlab/train/training.py", "from tdlab.train import engine")
    plant(tmp_path, "tdlab/train/engine.py", "def later():\n    import tdlab.run")
    plant(tmp_path, "tdlab/run.py", "import torch")
    assert not list(circles(tmp_path))
    plant(tmp_path, "tdlab/train/engine.py", "def later():\n    from tdlab.train import Training")
    (circle,) = circles(tmp_path)
    names = circle.split(" imports ")
    assert names[0] == names[-1]
    assert {*pairwise(names)} == {
        ("tdlab.train", "tdlab.train.training"),
        ("tdlab.train.training", "tdlab.train.engine"),
        ("tdlab.train.engine", "tdlab.train"),
    }


def test_tasks_that_need_more_are_reported(tmp_path: Path):
    plant(tmp_path, "synthetic_tasks/icl.py", "import math, torch\nimport seaborn")
    assert len(list(beyond_the_needs_of_tasks(tmp_path))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from torch.nn.utils import prune",
        "torch.nn.utils.prune.l1_unstructured(layer, 'weight', 0.1)",
        "torch.manual_seed(0)",
        "try:\n    pass\nexcept Exception:\n    pass",
        "try:\n    pass\nexcept:\n    pass",
    ],
)
def test_a_broken_habit_is_reported(tmp_path: Path, code: str):
    plant(tmp_path, "tdlab/bench.py", code)
    assert len(list(habits_broken(tmp_path))) == 1


def test_cleaning_up_after_anything_is_not_reported(tmp_path: Path):
    plant(tmp_path, "tdlab/bench.py", "try:\n    pass\nexcept BaseException:\n    f()\n    raise")
    assert not list(habits_broken(tmp_path))


def notebook(cells: list[dict[str, object]], kernel: str = "python3") -> str:
    return json.dumps({"cells": cells, "metadata": {"kernelspec": {"name": kernel}}})


def cell(code: str, *tags: str, **more: object) -> dict[str, object]:
    return {"cell_type": "code", "source": code, "metadata": {"tags": tags}, **more}


PARAMETERS = cell("seeds: int = 4", "parameters")


@pytest.mark.parametrize(
    "text",
    [
        notebook([PARAMETERS], kernel="conda-env"),
        notebook([cell("seeds: int = 4")]),
        notebook([PARAMETERS, PARAMETERS]),
        notebook([PARAMETERS, *[cell("1")] * CELLS_IN_A_NOTEBOOK]),
        notebook([PARAMETERS, cell("1", outputs=[{"output_type": "stream"}])]),
        notebook([PARAMETERS, cell("1", execution_count=3)]),
        notebook([PARAMETERS, cell("1\n" * (LINES_IN_A_CELL + 1))]),
        notebook([PARAMETERS, cell("def f():\n    a = 1\n    b = 2\n    return a + b")]),
    ],
)
def test_a_notebook_that_is_not_thin_is_reported(tmp_path: Path, text: str):
    plant(tmp_path, "notebooks/claim.ipynb", text)
    assert len(list(notebooks_not_thin(tmp_path))) == 1


def test_a_thin_notebook_is_not_reported_and_its_imports_are_read(tmp_path: Path):
    plant(tmp_path, "notebooks/claim.ipynb", notebook([PARAMETERS, cell("import tdlab.train")]))
    assert not list(notebooks_not_thin(tmp_path))
    assert len(list(against_the_map(tmp_path))) == 1


def test_a_stranger_at_the_top_is_reported(tmp_path: Path):
    plant(tmp_path, ".gitignore", "# caches\n.*_cache/\n")
    plant(tmp_path, ".mypy_cache/x", "")
    plant(tmp_path, "helpers.py", "")
    assert list(strangers_at_the_top(tmp_path)) == [
        "helpers.py: not an agreed entry of the top level"
    ]
