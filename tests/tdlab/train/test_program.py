"""Programs: a trace has the bits of its function, and a compiled one its numbers to rounding.

One small program is compiled for all the slow tests.
"""

import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._pytree import tree_leaves, tree_map

from synthetic_tasks.threefry import normals, stream
from tdlab.train import program
from tdlab.train.library import NotCompiled
from tdlab.train.program import Program, Traced, direct, programs

SIZE, DEPTH = 240, 12  # a call takes long enough to see what Python does meanwhile
ONCE = 30


class Pair(NamedTuple):
    """Two tensors."""

    matrix: Tensor
    scalar: Tensor


def numbers(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return normals(stream(seed, "probe"), shape, torch.float64).to(dtype)


def arguments(seed: int, size: int = 3) -> tuple[Pair, dict[str, Tensor]]:
    """A named tuple, and a dict with a list in it."""
    pair = Pair(numbers(seed, size, size), numbers(seed + 1, 1)[0])
    return pair, {"bias": numbers(seed + 2, size), "count": torch.tensor(seed)}


def function(pair: Pair, rest: dict[str, Tensor]) -> dict[str, Any]:
    """Maps, a derivative, a branch in data, a constant; named tuples, dicts and lists."""

    def each(row: Tensor) -> Tensor:
        return (pair.matrix @ row + rest["bias"]).tanh().square().sum() * pair.scalar

    slope = vmap(grad(each))(pair.matrix)
    size = torch.where(slope.sum() > 0, slope.norm(), rest["count"])
    constant = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64)
    return {"pair": Pair(slope, size), "list": [slope[0] * constant, rest["count"] + 1]}


def assert_same(one: Sequence[Tensor], other: Sequence[Tensor]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.dtype == right.dtype
        assert left.equal(right)


# Tracing.


def test_direct_takes_leaves_and_returns_leaves():
    got = direct(function, *arguments(1))(tree_leaves(arguments(7)))
    assert_same(got, tree_leaves(function(*arguments(7))))


@pytest.mark.parametrize("seed", [1, 7, 40])
def test_a_trace_has_the_bits_of_its_function_at_other_values_too(seed):
    traced = Traced(function, *arguments(1))
    got = traced(tree_leaves(arguments(seed)))
    assert_same(got, tree_leaves(function(*arguments(seed))))
    # Both branches were taken, neither by what the examples took.
    taken = {float(function(*arguments(each))["pair"].scalar) == each for each in range(40)}
    assert taken == {True, False}


def test_a_trace_calls_its_function_no_more():
    calls = []

    def counting(x: Tensor) -> Tensor:
        calls.append(x)
        return 2 * x

    traced = Traced(counting, torch.ones(2))
    before = len(calls)
    assert traced([torch.tensor([3.0, 4.0])])[0].tolist() == [6, 8]
    assert len(calls) == before


def test_arguments_whose_examples_are_one_tensor_are_two_arguments():
    """Adam's two moments begin as the same zeros."""
    zeros = torch.zeros(3)
    traced = Traced(lambda first, second: first - 2 * second, zeros, zeros)
    (got,) = traced([torch.full((3,), 5.0), torch.full((3,), 1.0)])
    assert got.tolist() == [3, 3, 3]


def test_a_trace_leaves_its_arguments_and_its_examples_alone():
    examples, given = arguments(1), arguments(7)
    before = tree_map(Tensor.clone, (examples, given))
    traced = Traced(function, *examples)
    traced(tree_leaves(given))
    assert_same(tree_leaves((examples, given)), tree_leaves(before))


def operations(traced: Traced) -> list[str]:
    nodes = traced._graph.graph.nodes
    return [str(node.target) for node in nodes if node.op == "call_function"]


def test_a_trace_keeps_no_operation_that_nobody_reads():
    def wasteful(x: Tensor) -> tuple[Tensor]:
        spectrum = torch.linalg.eigvalsh(x @ x.T)
        _ = (spectrum.sum() + x.exp()).sin()
        return (2 * x,)

    assert operations(Traced(wasteful, numbers(1, 4, 4))) == ["aten.mul.Tensor"]
    assert operations(Traced(lambda x: x.exp().sin(), numbers(1, 4, 4))) == [
        "aten.exp.default",
        "aten.sin.default",
    ]


def test_a_trace_has_no_python_between_its_operations():
    """Python is what threads take turns in."""

    def events(operations: int) -> int:
        def chain(x: Tensor) -> Tensor:
            for _ in range(operations):
                x = x.sin()
            return x

        traced, x, seen = Traced(chain, torch.ones(2)), torch.zeros(2), []
        traced([x])  # made for the interpreter when it is first called
        gc.disable()  # a collection calls what other libraries hang on it
        sys.setprofile(lambda *event: seen.append(event))
        try:
            traced([x])
        finally:
            sys.setprofile(None)
            gc.enable()
        return len(seen)

    assert events(300) == events(3)


def test_torch_rewrites_no_trace():
    """Left to itself it makes one product of many, which rounds otherwise."""

    def products(*pairs: Tensor) -> Tensor:
        total = pairs[0] @ pairs[1]
        for left, right in zip(pairs[2::2], pairs[3::2], strict=True):
            total = total + left @ right
        return total

    given = [numbers(place, 50, 50).float() for place in range(16)]
    traced = Traced(products, *given)
    for _ in range(4):
        assert_same(traced(given), [products(*given)])


def test_torch_rewrites_again_once_no_trace_runs(monkeypatch):
    said: list[bool] = []
    settings = {
        "_get_graph_executor_optimize": lambda: (said or [True])[-1],
        "_set_graph_executor_optimize": said.append,
    }
    for name, setting in settings.items():
        monkeypatch.setattr(torch._C, name, setting)
    with program._as_written:  # as in another thread
        assert Traced(torch.sin, torch.zeros(2))([torch.zeros(2)])[0].tolist() == [0, 0]
        assert said == [False]
    assert said == [False, True]


def test_functions_are_traced_in_several_threads_at_once():
    def task(place: int) -> tuple[list[Tensor], list[Tensor]]:
        def scaled(pair: Pair, rest: dict[str, Tensor]) -> Any:
            return tree_map(lambda leaf: (place + 1) * leaf, function(pair, rest))

        traced = Traced(scaled, *arguments(place))
        there = arguments(place + 20)
        return traced(tree_leaves(there)), tree_leaves(scaled(*there))

    with ThreadPoolExecutor(8) as pool:
        for got, wanted in pool.map(task, range(16)):
            assert_same(got, wanted)


def test_most_bytes_counts_what_is_held_at_once():
    x = numbers(1, 10, 100)  # 8000 bytes
    assert Traced(lambda x: x.sum(), x).most_bytes == 8008
    # What is read again at the end is held until then; of a chain, two links are held at a time.
    assert Traced(lambda x: x.exp().sin() + x, x).most_bytes == 24000
    assert Traced(lambda x: x.exp().sin().cos().exp() + x, x).most_bytes == 24000
    assert Traced(lambda x: x.exp() + x.sin() + x.float(), x).most_bytes == 32000


def test_most_bytes_counts_no_view_but_what_it_is_a_view_of():
    x = numbers(1, 1)
    views = Traced(lambda x: (x.expand(1000), x.expand(10, 10, 10), x[None]), x)
    assert views.most_bytes == 8
    # A thousand numbers are held for as long as a view of them is read.
    of_a_view = Traced(lambda x: x.repeat(1000).reshape(10, 100).T.exp().sum(), x)
    assert of_a_view.most_bytes in (16000, 16008)


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
