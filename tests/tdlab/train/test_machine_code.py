"""Machine code of programs: what it is known by, where it is kept, and what it computes.

One small program is compiled for all the slow tests.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tdlab.train.library import NotCompiled
from tdlab.train.program import Program, Traced, programs
from tests.tdlab.train.tensors import Pair, arguments, assert_same, numbers

SIZE, DEPTH = 240, 12  # a call takes long enough to see what Python does meanwhile
ONCE = 30


# What machine code is known by. Keys are compared by the files that they name.


class Whole(Exception):
    """Instead of a library that could be loaded."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TDLAB_CACHE", str(tmp_path))
    return tmp_path / "programs"


@pytest.fixture
def keys(cache, monkeypatch):
    """The name under which a function's machine code would be kept."""
    asked: list[str] = []

    def noting(path: Path, *_: Any) -> None:
        asked.append(path.name)
        raise Whole

    monkeypatch.setattr("tdlab.train.program.build", noting)

    def key(function: Callable[..., Any], *examples: Any, once: int = ONCE) -> str:
        with pytest.raises(Whole):
            Traced(function, *examples).compiled(once)
        return asked[-1]

    return key


def test_what_torch_does_not_compile_stays_a_trace_and_a_warning_says_why(cache, monkeypatch):
    def build(*_: object) -> None:
        raise NotCompiled("InductorError: no such operation")

    monkeypatch.setattr("tdlab.train.program.build", build)
    traced = Traced(torch.sin, x3())
    with pytest.warns(RuntimeWarning, match="^a program is not compiled: InductorError: no such"):
        assert traced.compiled(ONCE) is traced


def scaled_by(*constant: float, dtype: torch.dtype = torch.float64) -> Callable[..., Tensor]:
    return lambda x: x * torch.tensor(constant, dtype=dtype)


def test_the_key_is_the_same_for_the_same(keys):
    first = keys(scaled_by(1, 2, 3), numbers(1, 3))
    assert first == keys(scaled_by(1, 2, 3), numbers(1, 3))
    assert first == keys(scaled_by(1, 2, 3), numbers(2, 3))  # examples count by their shape
    # What it is called, and what it leaves unread, is no part of what it does.
    assert first == keys(lambda other: (other.exp(), scaled_by(1, 2, 3)(other))[1], x3())


def x3(dtype: torch.dtype = torch.float64) -> Tensor:
    return numbers(5, 3, dtype=dtype)


def test_the_key_differs_wherever_the_machine_code_may(keys):
    made = [
        keys(scaled_by(1, 2, 3), x3()),
        keys(scaled_by(1, 2, 3), x3(), once=8),
        keys(scaled_by(1, 2, 4), x3()),
        keys(scaled_by(1, 2, 3, dtype=torch.float32), x3()),
        keys(scaled_by(1, 2, 3), x3(torch.float32)),
        keys(scaled_by(1, 2, 3, dtype=torch.float32), x3(torch.float32)),
        keys(scaled_by(1, 2, 3), numbers(1, 2, 3)),
        keys(scaled_by(1, 2, 3), numbers(1, 3, 2).T),  # other strides
        keys(lambda x: x * 2, x3()),
        keys(lambda x: x * 2.5, x3()),
        keys(lambda x: x + 2.5, x3()),
        keys(lambda x: (x + 2.5, x), x3()),
    ]
    assert len(set(made)) == len(made)
    assert all(name.endswith(".so") for name in made)


def test_the_key_names_versions_and_processors(keys, monkeypatch):
    made = [keys(scaled_by(1, 2, 3), x3())]
    monkeypatch.setattr(torch, "__version__", "3.0")
    made.append(keys(scaled_by(1, 2, 3), x3()))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    made.append(keys(scaled_by(1, 2, 3), x3()))
    assert len(set(made)) == 3


# Where machine code is kept.


def test_programs_are_below_tdlab_cache_or_else_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TDLAB_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert programs() == tmp_path / "ours" / "programs"
    monkeypatch.setenv("TDLAB_CACHE", "")
    assert programs() == tmp_path / "xdg" / "tdlab" / "programs"
    monkeypatch.delenv("TDLAB_CACHE")
    assert programs() == tmp_path / "xdg" / "tdlab" / "programs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert programs() == tmp_path / "home" / ".cache" / "tdlab" / "programs"


# Compiled code.


class Built(NamedTuple):
    """One program on disk."""

    traced: Traced
    program: Program
    path: Path


def long(pair: Pair, rest: dict[str, Tensor]) -> Any:
    """Products and loops that take a while, and results of several kinds."""
    x = pair.matrix
    for _ in range(DEPTH):
        x = (pair.matrix @ x / SIZE**0.5 + rest["bias"]).sin()
    constant = torch.tensor([0.5, 1.5], dtype=torch.float64)
    return {"x": x, "y": [pair.scalar * constant, rest["count"] + 1], "first": x[0].mean()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Iterator[Built]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        traced = Traced(long, *arguments(1, SIZE))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's own
            program = traced.compiled(ONCE)
        (path,) = programs().iterdir()
        yield Built(traced, program, path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 7])
def test_a_compiled_program_is_the_traced_one_to_rounding(built, seed):
    leaves = tree_leaves(arguments(seed, SIZE))
    before = [leaf.clone() for leaf in leaves]
    got, wanted = built.program(leaves), built.traced(leaves)
    # Rounding of 1e-16 in sums of 240 numbers, passed on through twelve products of norm 2.
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-8)
    assert [leaf.dtype for leaf in got] == [leaf.dtype for leaf in wanted]
    assert_same(leaves, before)


@pytest.mark.slow
def test_results_are_the_callers_own(built):
    """The next call neither writes over them nor gives their memory away."""
    calls = [built.program(tree_leaves(arguments(seed, SIZE))) for seed in (1, 7, 1)]
    assert_same(calls[0], calls[2])
    assert not calls[0][0].equal(calls[1][0])
    calls[2][0].zero_()
    assert calls[0][0].abs().sum() > 0


@pytest.mark.slow
def test_a_program_is_built_once_and_then_read(built, monkeypatch):
    monkeypatch.setattr(
        "tdlab.train.program.build", lambda *_: pytest.fail("it was built a second time")
    )
    os.utime(built.path, (1e9, 1e9))
    before = built.path.stat()
    again = Traced(long, *arguments(5, SIZE)).compiled(ONCE)
    leaves = tree_leaves(arguments(7, SIZE))
    assert_same(again(leaves), built.program(leaves))
    after = built.path.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert after.st_mtime > 1e9 + 1  # used just now
    assert [path.name for path in programs().iterdir()] == [built.path.name]


@pytest.mark.slow
def test_two_threads_run_one_library_at_once(built):
    gate = threading.Barrier(2)

    def calls(seed: int) -> list[list[Tensor]]:
        leaves = tree_leaves(arguments(seed, SIZE))
        gate.wait()
        return [built.program(leaves) for _ in range(5)]

    with ThreadPoolExecutor(2) as pool:
        for seed, each in zip((1, 7), pool.map(calls, (1, 7)), strict=True):
            alone = built.program(tree_leaves(arguments(seed, SIZE)))
            for one in each:
                assert_same(one, alone)


@pytest.mark.slow
def test_python_goes_on_while_a_library_runs(built):
    leaves, ticks, done = tree_leaves(arguments(1, SIZE)), [0], threading.Event()

    def count() -> None:
        while not done.is_set():
            time.sleep(1e-4)
            ticks[0] += 1

    built.program(leaves)
    counter = threading.Thread(target=count)
    counter.start()
    before = sys.getswitchinterval()
    # A thread that holds the lock is not asked for it: who counts does so in a call or not at all.
    sys.setswitchinterval(60)
    try:
        during = []
        for _ in range(5):
            start = ticks[0]
            built.program(leaves)
            during.append(ticks[0] - start)
    finally:
        sys.setswitchinterval(before)
        done.set()
        counter.join()
    assert min(during) >= 5
