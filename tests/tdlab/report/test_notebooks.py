import os
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tdlab.report import notebooks
from tdlab.report.pages import plan
from tdlab.report.parameters import Parameter, check, declared

CELL = """from typing import Optional
preset: str = "quick"  # quick or paper
seed: int = 3  # of the first member
alpha: Optional[float] = None  # fraction of relevant examples
sizes: list = [1, 2]
plot: bool = True
"""


def with_parameters(source=CELL):
    return new_notebook(cells=[new_code_cell(source, metadata={"tags": ["parameters"]})])


@pytest.fixture
def known():
    return declared(with_parameters(), "icl")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A source tree of two notebooks that share only `preset` and `seed`."""
    folder = tmp_path / "home"
    folder.mkdir()
    nbformat.write(with_parameters(), folder / "icl_dynamics.ipynb")
    nbformat.write(with_parameters('preset: str = "quick"\nseed: int = 0'), folder / "cot.ipynb")
    monkeypatch.setattr(notebooks, "_homes", (tmp_path / "absent", folder))
    return folder


def test_a_declaration_has_name_type_default_and_meaning(known):
    assert known["alpha"] == Parameter(
        name="alpha", type=float, optional=True, meaning="fraction of relevant examples"
    )
    assert {name: parameter.default for name, parameter in known.items()} == {
        "preset": "quick", "seed": 3, "alpha": None, "sizes": [1, 2], "plot": True,
    }  # fmt: skip


def test_an_unknown_parameter_is_refused_with_the_nearest_name(known):
    with pytest.raises(ValueError, match=r"'sedd' for icl; did you mean 'seed'\? \(it has: pre"):
        check({"sedd": 3}, known, "icl")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("seed", "7", 7),
        ("seed", np.int64(7), 7),
        ("alpha", 1, 1.0),
        ("alpha", "1", 1.0),
        ("alpha", np.float32(0.5), 0.5),
        ("alpha", "none", None),
        ("alpha", None, None),
        ("sizes", (1, np.int64(2)), [1, 2]),
        ("sizes", "3,4", [3, 4]),
        ("sizes", np.array([1, 2]), [1, 2]),
        ("plot", "false", False),
        ("preset", "none", "none"),
        ("preset", "7", "7"),
    ],
)
def test_a_value_arrives_as_the_declared_type(known, name, given, value):
    (arrived,) = check({name: given}, known, "icl").values()
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "right"),
    [
        ("seed", "abc", "takes int, such as 3; got 'abc'"),
        ("seed", 1.0, "takes int, such as 3; got 1.0"),
        ("seed", True, "takes int, such as 3; got True"),
        ("seed", None, "takes int, such as 3; got None"),
        ("seed", "none", "takes int, such as 3; got 'none'"),
        ("alpha", "x", "takes float or none, such as 0.5; got 'x'"),
        ("sizes", "3", "takes list, such as [1, 2]; got '3'"),
        ("plot", 1, "takes bool, such as True; got 1"),
        ("preset", 7, "takes str, such as 'quick'; got 7"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_would_be_right(known, name, given, right):
    with pytest.raises(TypeError) as refusal:
        check({name: given}, known, "icl")
    assert str(refusal.value) == f"parameter {name!r} {right}"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("seed = 3", "'seed = 3' is not 'name: type = literal'"),
        ("seed: int | None = None", "is not 'name: type = literal'"),
        ("seed: int = 1.5", "the default in 'seed: int = 1.5' is not a literal int"),
        ("seed: int = '3'", "is not a literal int, such as 3"),
        ("seed: int = len([])", "is not a literal int, such as 3"),
        ("seed: int", "is not 'name: type = literal'"),
        ("seed: int =", "invalid syntax"),
    ],
)
def test_a_line_that_declares_no_parameter_is_refused(line, complaint):
    with pytest.raises(ValueError, match="icl: parameters cell, line 2") as refusal:
        declared(with_parameters(f"# comment\n{line}"), "icl")
    assert complaint in str(refusal.value)


def test_a_notebook_without_a_parameters_cell_has_no_parameters():
    bare = new_notebook(cells=[new_markdown_cell("# Title"), new_code_cell("seed: int = 3")])
    assert declared(bare, "bare") == {}
    with pytest.raises(ValueError, match="unknown parameter 'seed' for bare \\(it has: none\\)"):
        check({"seed": 3}, {}, "bare")


def test_a_notebook_is_found_by_name_and_by_path(home, tmp_path):
    assert notebooks.find("icl_dynamics") == home / "icl_dynamics.ipynb"
    own = tmp_path / "own.ipynb"
    nbformat.write(with_parameters(), own)
    assert notebooks.find(str(own)) == own
    with pytest.raises(ValueError, match=r"did you mean 'icl_dynamics'.*there are: cot, icl_dyn"):
        notebooks.find("icl_dynamic")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nbformat": 4}', "print('hello')"])
def test_a_file_that_is_no_notebook_is_refused(tmp_path, text):
    (tmp_path / "x.ipynb").write_text(text)
    with pytest.raises(ValueError, match=r"x\.ipynb is not a notebook"):
        notebooks.read(tmp_path / "x.ipynb")


def test_copy_leaves_changed_notebooks_alone_and_then_writes_nothing(home, tmp_path):
    target = tmp_path / "mine"
    assert sorted(notebooks.copy(target)) == [target / "cot.ipynb", target / "icl_dynamics.ipynb"]
    notebooks.copy(target)  # the same again is no change
    (target / "cot.ipynb").write_text("changed")
    (target / "icl_dynamics.ipynb").unlink()
    with pytest.raises(ValueError, match=r"not overwriting cot\.ipynb, changed in"):
        notebooks.copy(target)
    assert [path.name for path in target.iterdir()] == ["cot.ipynb"]
    assert (target / "cot.ipynb").read_text() == "changed"


def test_a_grid_is_one_page_a_point(home):
    pages = plan(["icl_dynamics"], {"seed": "5"}, grid={"alpha": "0.4,0.8", "sizes": "[1],[2,3]"})
    assert [page.name for page in pages][::3] == [
        "icl_dynamics-alpha=0.4-sizes=1", "icl_dynamics-alpha=0.8-sizes=2_3",
    ]  # fmt: skip
    assert pages[3].given == {"seed": 5, "alpha": 0.8, "sizes": [2, 3]}
    assert pages[3].parameters["preset"] == "quick"


def test_without_a_name_all_notebooks_are_planned(home):
    assert [page.name for page in plan(preset="paper")] == ["cot", "icl_dynamics"]
    assert {page.parameters["preset"] for page in plan(preset="paper")} == {"paper"}


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        ({"given": {"alpha": 1}}, "unknown parameter 'alpha' for cot; name the .* it: icl_dyn"),
        ({"given": {"sedd": 1}}, "unknown parameter 'sedd' for cot; did you mean 'seed'"),
        ({"grid": {"sedd": "1,2"}}, "unknown parameter 'sedd' for cot; did you mean 'seed'"),
        ({"given": {"seed": 1}, "grid": {"seed": "1,2"}}, "parameter 'seed' is asked for twice"),
        ({"given": {"preset": "quick"}, "preset": "paper"}, "'preset' is asked for twice"),
        ({"grid": {"seed": "1,01"}}, "parameter 'seed' takes int"),
        (
            {"wanted": ["icl_dynamics"], "grid": {"sizes": "[1,2"}},
            "'sizes' takes list.*got '\\[1,2'",
        ),
        ({"grid": {"seed": [1, 1]}}, "page 'cot-seed=1' is asked for twice"),
        ({"wanted": ["cot", "cot"]}, "notebook 'cot' is asked for twice"),
        ({"device": "tpu"}, "no device 'tpu'; there are cpu and"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(home, request_: dict[str, Any], complaint):
    with pytest.raises((ValueError, TypeError), match=complaint):
        plan(**request_)


def test_a_missing_gpu_is_refused_before_anything_runs(home, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda' is not there: torch sees no GPU"):
        plan(device="cuda")


def test_what_a_killed_process_left_unfinished_is_removed_and_what_is_in_use_is_not(tmp_path):
    left = tmp_path / ".staging-left"
    left.mkdir()
    (left / "half").touch()
    young = tmp_path / ".staging-young"
    young.mkdir()
    os.utime(left, (0, 0))
    with notebooks.staging(tmp_path) as mine:
        os.utime(mine, (0, 0))
        with notebooks.staging(tmp_path):
            assert mine.exists()
    assert {path.name for path in tmp_path.iterdir()} == {".staging-young"}
