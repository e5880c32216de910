"""Compiled programs as shared libraries: built by torch's compiler, called without Python's lock.

torch's own way of calling such a library holds the lock all the while, so that two threads take
turns; ``ctypes`` lets it go. The functions are those of ``aoti_runtime/interface.h``.
"""

import ctypes
import os
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_char_p, c_size_t, c_void_p
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule

_KEPT = 64  # (ours) libraries on disk, a few megabytes each


class NotCompiled(RuntimeError):
    """Torch makes no library of a program, or none that C alone can run; the line says why."""


class Library:
    """A compiled program: tensors in, tensors out, from as many threads at once as there are."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._program = c_void_p()
        threads = c_size_t(os.cpu_count() or 1)
        create = self._library.AOTInductorModelContainerCreateWithDevice
        create.argtypes = [POINTER(c_void_p), c_size_t, c_char_p, c_char_p]
        self._check(create(byref(self._program), threads, b"cpu", None))
        self._inputs = self._number("Inputs")
        self._outputs = self._number("Outputs")
        self._run = self._library.AOTInductorModelContainerRun
        tensors = POINTER(c_void_p)
        self._run.argtypes = [
            *(c_void_p, tensors, c_size_t, tensors, c_size_t),  # inputs and outputs
            *(c_void_p, c_void_p),  # a stream of a GPU, and what runs operations that C cannot call
        ]

    def __call__(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """What the program makes of these tensors."""
        if len(leaves) != self._inputs:
            raise ValueError(f"{len(leaves)} tensors, but the program takes {self._inputs}")
        # The library takes the tensors over, and hands over those that it makes.
        given = [_address(handle) for handle in _handles(list(leaves))]
        inputs, outputs = (c_void_p * len(given))(*given), (c_void_p * self._outputs)()
        self._check(
            self._run(self._program, inputs, len(given), outputs, self._outputs, None, None)
        )
        return _tensors([_capsule(handle, None, None) for handle in outputs])

    def _number(self, what: str) -> int:
        count = c_size_t()
        number = getattr(self._library, f"AOTInductorModelContainerGetNum{what}")
        self._check(number(self._program, byref(count)))
        return count.value

    def _check(self, failed: int) -> None:
        if failed:
            last = self._library.AOTInductorGetLastError
            last.restype = c_char_p
            raise RuntimeError(f"a compiled program failed: {(last() or b'').decode()}")


def build(
    path: Path, graph: GraphModule, examples: Sequence[Tensor], options: Mapping[str, object]
) -> None:
    """Compiles a graph for arguments like ``examples``, so that ``path`` is whole or absent.

    Raises:
        NotCompiled: where torch's compiler fails, or the graph has an operation that C cannot call.
    """
    from torch._inductor.exc import CppCompileError, InductorError  # takes a second to load

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of its own structures
        exported = torch.export.export(graph, tuple(examples))
        package_path = f"{directory}/program.pt2"
        try:
            package = torch._inductor.aoti_compile_and_package(
                exported, package_path=package_path, inductor_configs=dict(options)
            )
        except (CppCompileError, InductorError) as error:
            raise NotCompiled(str(error).splitlines()[0]) from error
        with zipfile.ZipFile(package) as parts:
            (library,) = [name for name in parts.namelist() if name.endswith(".so")]
            others = [name for name in parts.namelist() if name.endswith("wrapper.json")]
            if others:
                raise NotCompiled(f"an operation has no function in C: {parts.read(others[0])!r}")
            Path(parts.extract(library, directory)).replace(path)
    for old in sorted(path.parent.glob("*.so"), key=_last_used)[:-_KEPT]:
        old.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has removed it
        return 0.0


_handles = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors
_tensors = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs
_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_char_p, c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _address(capsule: object) -> int:
    return _pointer(capsule, None)
