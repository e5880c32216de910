"""A function of tensors as a program: traced into straight-line code, compiled where that pays.

A trace is what the function did with examples of its arguments, operation by operation: the same
bits without the maps, the derivatives and the models that led to them, and without Python, so that
traces run side by side in threads. Compiled, it is a library of its own, kept on disk under a hash
of all that it was made of.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from tdlab.train.library import Library, NotCompiled, build

# Takes the leaves of a function's arguments, and returns those of its result.
Program = Callable[[Sequence[Tensor]], list[Tensor]]

_OPTIONS = {
    "cpp.threads": 1,  # ensembles side by side use the cores better than the loops of one
    # The code around the kernels does nothing but call them, and takes longest to optimize.
    "aot_inductor.compile_wrapper_opt_level": "O0",
}
# Neither tracing nor compiling is made for several threads.
_one_at_a_time = Lock()


def direct(function: Callable[..., Any], *examples: Any) -> Program:
    """``function`` itself as a program, for arguments of the structure of ``examples``."""
    structure = tree_flatten(examples)[1]
    return lambda leaves: tree_leaves(function(*tree_unflatten(leaves, structure)))


class _AsWritten:
    """While any thread is inside, torch's interpreter rewrites no trace: that could change bits."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:  # torch knows one setting for all threads
                self._before = torch._C._get_graph_executor_optimize()
                torch._C._set_graph_executor_optimize(False)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch._C._set_graph_executor_optimize(self._before)


_as_written = _AsWritten()


class Traced:
    """What ``function`` does with arguments of the shapes of ``examples``, as a program."""

    def __init__(self, function: Callable[..., Any], *examples: Any) -> None:
        # Each is a tensor of its own: one that stands for two arguments would make them one.
        self._examples = [leaf.detach() for leaf in tree_leaves(examples)]
        of_leaves = direct(function, *examples)
        with _one_at_a_time:
            self._graph = make_fx(lambda *leaves: tuple(of_leaves(leaves)))(*self._examples)
        self._graph.graph.eliminate_dead_code()
        self._graph.recompile()

    def __call__(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """The leaves of the result."""
        with _as_written:
            return list(self._run(*leaves))

    @cached_property
    def _run(self) -> Callable[..., tuple[Tensor, ...]]:
        """The trace for torch's interpreter, whose threads do not take turns."""
        with _one_at_a_time, warnings.catch_warnings():
            # Deprecated in favour of compilers. Torch has nothing else that takes no time to make,
            # calls the operations themselves, and needs no Python between one and the next.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.trace(self._graph, tuple(self._examples), check_trace=False)

    @property
    def most_bytes(self) -> int:
        """The most that its arguments and what it computes take at once."""
        last: dict[Node, int] = {}
        for place, node in enumerate(self._graph.graph.nodes):
            last |= dict.fromkeys(map(_held, (node, *node.all_input_nodes)), place)
        now = most = 0
        for place, node in enumerate(self._graph.graph.nodes):
            now += _bytes(node)
            most = max(most, now)
            held = {_held(each) for each in (node, *node.all_input_nodes)}
            now -= sum(_bytes(each) for each in held if last[each] == place)
        return most

    def compiled(self, once: int) -> Program:
        """The same as machine code for one thread, taken from disk where it is there.

        Args:
            once: Expressions of more operations are computed once, and not again wherever they are
                read.

        Returns:
            A program for arguments of the shapes and strides of the examples; this trace, with a
            warning that says why, where there can be none.
        """
        if self._examples[0].is_cuda:
            return self._with_cuda_graphs()
        try:
            with _one_at_a_time:
                return self._library(_OPTIONS | {"realize_opcount_threshold": once})
        except NotCompiled as error:
            warnings.warn(f"a program is not compiled: {error}", RuntimeWarning, stacklevel=2)
            return self

    def _library(self, options: Mapping[str, object]) -> Library:
        path = programs() / f"{self._key(options)}.so"
        try:
            return _loaded(path)
        except OSError:  # it is not there, or cannot be read
            build(path, self._graph, self._examples, options)
            return _loaded(path)

    def _key(self, options: Mapping[str, object]) -> str:
        """A hash of all that the machine code is made of."""
        constants = [
            (name, leaf.dtype, leaf.shape, leaf.tolist())
            for name, leaf in self._graph.named_buffers()
        ]
        shapes = [(leaf.dtype, leaf.shape, leaf.stride()) for leaf in self._examples]
        where = (torch.__version__, torch.backends.cpu.get_cpu_capability())
        made_of = (self._graph.code, constants, shapes, where, options)
        return sha256(repr(made_of).encode()).hexdigest()[:32]

    def _with_cuda_graphs(self) -> Program:
        fast = torch.compile(self._graph.forward, mode="reduce-overhead", dynamic=False)

        def run(leaves: Sequence[Tensor]) -> list[Tensor]:
            torch.compiler.cudagraph_mark_step_begin()
            return [leaf.clone() for leaf in fast(*leaves)]  # the next call writes over them

        return run


def _held(node: Node) -> Node:
    """What a result keeps in memory: itself, or what it is a view of."""
    while isinstance(node.target, OpOverload) and node.target.is_view:
        node = node.all_input_nodes[0]
    return node


def _bytes(node: Node) -> int:
    """What the result of an operation takes; a view takes nothing."""
    made = node.meta.get("val")
    if not isinstance(made, Tensor) or _held(node) is not node:
        return 0
    return made.numel() * made.element_size()


def _loaded(path: Path) -> Library:
    os.utime(path)  # those unused for longest go first
    return Library(path)


def programs() -> Path:
    """Where compiled programs are kept: below ``$TDLAB_CACHE``, or else the user's cache."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdlab"
    return Path(os.environ.get("TDLAB_CACHE") or users) / "programs"
