"""A function of tensors as a program: traced into straight-line code, compiled where that pays.

A trace is what the function did with examples of its arguments, operation by operation: the same
bits without the maps, the derivatives and the models that led to them. Compiled, it is a library of
its own, kept on disk under a hash of all that it was made of.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

# Takes the leaves of a function's arguments, and returns those of its result.
Program = Callable[[Sequence[Tensor]], list[Tensor]]

_KEPT = 64  # (ours) compiled programs, a few megabytes each
_OPTIONS = {
    "cpp.threads": 1,  # ensembles side by side use the cores better than the loops of one
    # The code around the kernels does nothing but call them, and takes longest to optimize.
    "aot_inductor.compile_wrapper_opt_level": "O0",
    # Expressions of more operations are computed once and not again wherever they are read: random
    # words, of which each depends twice on the ones before, would take minutes to compile.
    "realize_opcount_threshold": 8,
}
# Neither tracing nor compiling is made for several threads.
_one_at_a_time = Lock()


def direct(function: Callable[..., Any], *examples: Any) -> Program:
    """``function`` itself as a program, for arguments of the structure of ``examples``."""
    structure = tree_flatten(examples)[1]
    return lambda leaves: tree_leaves(function(*tree_unflatten(leaves, structure)))


class Traced:
    """What ``function`` does with arguments of the shapes of ``examples``, as a program."""

    def __init__(self, function: Callable[..., Any], *examples: Any) -> None:
        self._examples = tree_leaves(examples)
        of_leaves = direct(function, *examples)
        with _one_at_a_time:
            self._graph = make_fx(lambda *leaves: of_leaves(leaves))(*self._examples)
        self._graph.graph.eliminate_dead_code()
        self._graph.recompile()

    def __call__(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """The leaves of the result."""
        return self._graph.forward(*leaves)

    def compiled(self) -> Program:
        """The same as machine code for one thread, taken from disk where it is there."""
        if self._examples[0].is_cuda:
            return self._with_cuda_graphs()
        path = programs() / f"{self.key}.pt2"
        with _one_at_a_time:
            if not path.exists():
                _write(path, torch.export.export(self._graph, tuple(self._examples)))
            return _read(path)

    @cached_property
    def key(self) -> str:
        """A hash of all that the machine code is made of."""
        constants = [(name, leaf.tolist()) for name, leaf in self._graph.named_buffers()]
        shapes = [(leaf.dtype, leaf.shape, leaf.stride()) for leaf in self._examples]
        where = (torch.__version__, torch.backends.cpu.get_cpu_capability())
        made_of = (self._graph.code, constants, shapes, where, _OPTIONS)
        return sha256(repr(made_of).encode()).hexdigest()[:32]

    def _with_cuda_graphs(self) -> Program:
        fast = torch.compile(self._graph.forward, mode="reduce-overhead", dynamic=False)

        def run(leaves: Sequence[Tensor]) -> list[Tensor]:
            torch.compiler.cudagraph_mark_step_begin()
            return [leaf.clone() for leaf in fast(*leaves)]  # the next call writes over them

        return run


def programs() -> Path:
    """Where compiled programs are kept: below ``$TDLAB_CACHE``, or else the user's cache."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdlab"
    return Path(os.environ.get("TDLAB_CACHE") or users) / "programs"


def _write(path: Path, exported: torch.export.ExportedProgram) -> None:
    """Compiles into a file beside it first, so that ``path`` is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        made = torch._inductor.aoti_compile_and_package(
            exported, package_path=f"{directory}/program.pt2", inductor_configs=_OPTIONS
        )
        Path(made).replace(path)
    by_age = sorted(path.parent.glob("*.pt2"), key=lambda kept: kept.stat().st_mtime)
    for old in by_age[:-_KEPT]:
        old.unlink(missing_ok=True)


def _read(path: Path) -> Program:
    from torch._inductor.package import load_package

    path.touch()  # those unused for longest go first
    loader = load_package(str(path), "model", num_runners=os.cpu_count() or 1).loader
    return lambda leaves: loader.boxed_run(list(leaves))
