"""Libraries on disk: whole or absent, and told apart from what is none.

A stand-in for torch's compiler writes them; ``test_program`` calls what the compiler makes.
"""

import os
import zipfile
from inspect import currentframe
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.exc import CppCompileError, InductorError
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from tdlab.train import library
from tdlab.train.library import Library, NotCompiled, build


def graph() -> tuple[GraphModule, list[Tensor]]:
    examples = [torch.tensor([0.3, -1.2])]
    return make_fx(lambda x: 2 * x)(*examples), examples


@pytest.fixture
def compiler(monkeypatch):
    """Stands in for torch's compiler: writes these parts of a package, then does as it is told."""

    def stand_in(parts: dict[str, str], then: Exception | None = None) -> None:
        def compile_and_package(exported: Any, *, package_path: str, inductor_configs: Any) -> str:
            Path(package_path).with_suffix(".cpp").write_text("half of it")
            with zipfile.ZipFile(package_path, "w") as package:
                for name, text in parts.items():
                    package.writestr(name, text)
            if then is not None:
                raise then
            return package_path

        monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile_and_package)

    return stand_in


def left(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_build_leaves_the_library_and_nothing_else(compiler, tmp_path):
    compiler({"program/data/aotinductor/model/c1.so": "code", "program/archive_format": "pt2"})
    path = tmp_path / "programs" / "key.so"
    build(path, *graph(), {})
    assert left(tmp_path / "programs") == ["key.so"]
    assert path.read_text() == "code"


@pytest.mark.parametrize("failure", [RuntimeError("no space left"), KeyboardInterrupt()])
def test_a_build_that_fails_half_way_leaves_nothing(compiler, tmp_path, failure):
    compiler({"program/model/c1.so": "half"}, then=failure)
    with pytest.raises(type(failure)):
        build(tmp_path / "key.so", *graph(), {})
    assert left(tmp_path) == []


def test_a_program_that_needs_python_is_refused_and_nothing_is_left(compiler, tmp_path):
    compiler({"model/c1.so": "code", "model/c1.wrapper.json": '{"op": "aten::strange"}'})
    with pytest.raises(NotCompiled, match=r"no function in C: .*aten::strange"):
        build(tmp_path / "key.so", *graph(), {})
    assert left(tmp_path) == []


def test_what_torch_refuses_is_an_error_of_one_line(compiler, tmp_path):
    refused = CppCompileError(["c++", "half.cpp"], "no such header")
    for then, line in (
        (refused, "^C\\+\\+ compile error$"),
        (InductorError(refused, currentframe()), "^CppCompileError: C\\+\\+ compile error$"),
    ):
        compiler({"model/c1.so": "half"}, then=then)
        with pytest.raises(NotCompiled, match=line):
            build(tmp_path / "key.so", *graph(), {})
        assert left(tmp_path) == []


def test_a_build_that_fails_leaves_what_was_built_before(compiler, tmp_path):
    compiler({"model/c1.so": "code"})
    build(tmp_path / "old.so", *graph(), {})
    compiler({"model/c1.so": "half"}, then=RuntimeError("no space left"))
    with pytest.raises(RuntimeError, match="no space left"):
        build(tmp_path / "new.so", *graph(), {})
    assert left(tmp_path) == ["old.so"]


def test_the_libraries_unused_for_longest_go_first(compiler, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "_KEPT", 3)
    compiler({"model/c1.so": "code"})
    (tmp_path / "notes.txt").write_text("not ours to remove")
    for place, name in enumerate("abcde"):
        build(tmp_path / f"{name}.so", *graph(), {})
        os.utime(tmp_path / f"{name}.so", (1e9 + place, 1e9 + place))
        if name == "c":  # a was used just now
            os.utime(tmp_path / "a.so", (2e9, 2e9))
    assert left(tmp_path) == ["a.so", "d.so", "e.so", "notes.txt"]


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF and nothing more"])
def test_what_is_no_library_is_reported_with_its_path(tmp_path, content):
    path = tmp_path / "key.so"
    path.write_bytes(content)
    with pytest.raises(OSError, match=str(path)):
        Library(path)
