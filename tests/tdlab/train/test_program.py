"""Programs: a trace has the bits of its function, and no Python between its operations."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._pytree import tree_leaves, tree_map

from tdlab.train import program
from tdlab.train.program import Traced, direct
from tests.tdlab.train.tensors import Pair, arguments, assert_same, numbers


def function(pair: Pair, rest: dict[str, Tensor]) -> dict[str, Any]:
    """Maps, a derivative, a branch in data, a constant; named tuples, dicts and lists."""

    def each(row: Tensor) -> Tensor:
        return (pair.matrix @ row + rest["bias"]).tanh().square().sum() * pair.scalar

    slope = vmap(grad(each))(pair.matrix)
    size = torch.where(slope.sum() > 0, slope.norm(), rest["count"])
    constant = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64)
    return {"pair": Pair(slope, size), "list": [slope[0] * constant, rest["count"] + 1]}


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
