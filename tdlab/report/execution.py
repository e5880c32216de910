"""One notebook in one kernel: a limit on every cell, and no process left behind."""

import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import nbformat
import papermill
import psutil
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

keep_variable = "TDLAB_KEEP"

# What papermill logs about a failing cell we say ourselves, in one line.
logging.getLogger("papermill").addHandler(logging.NullHandler())


class CellFailed(Exception):
    """A cell raised, hung or took its kernel with it; the message is one line that says which."""


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, object],
    *,
    keep: Path,
    timeout: float,
    on_cell: Callable[[int, int], None],
) -> None:
    """Run a notebook with these parameters in its own folder; ``output`` holds whatever ran.

    ``on_cell`` hears of each code cell when it starts: how many are finished, and of how many.
    What the notebook keeps goes to the folder ``keep``.

    Raises:
        CellFailed: a cell did not finish.
    """
    started = _Started(output, on_cell)
    try:
        papermill.execute_notebook(
            _literally(notebook),
            _literally(output),
            dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            execution_timeout=math.ceil(timeout),
            kernel_manager_class=_kernel(keep),
            resources={"metadata": {"path": str(notebook.parent)}},
            on_cell_start=started,
        )
    except PapermillExecutionError as error:
        raise CellFailed(f"{started.cell}: {_one_line(error.ename, error.evalue)}") from error
    except CellTimeoutError as error:
        raise started.stopped(f"still running after {timeout:g} s, stopped") from error
    except RuntimeError as error:
        # nbclient's DeadKernelError is one, and a kernel that never answered is a bare one
        if "kernel" not in str(error).lower():
            raise
        raise started.stopped("its kernel died") from error
    finally:
        _kill(keep)
    if started.number < started.total:  # papermill takes sys.exit() for a wish to stop here
        raise CellFailed(f"{started.cell}: SystemExit, the cells after it did not run")


class _Started:
    """Remembers the code cell that is running and passes the count on."""

    def __init__(self, output: Path, on_cell: Callable[[int, int], None]) -> None:
        self.output = output
        self.on_cell = on_cell
        self.number = self.total = 0
        self.index = 0
        self.source = ""

    def __call__(self, cell: NotebookNode, cell_index: int) -> None:
        if not _runs(cell):
            return
        self.number, self.index, self.source = self.number + 1, cell_index, cell.source
        if self.number == 1:
            executed = nbformat.read(self.output, as_version=4)
            self.total = sum(_runs(other) for other in executed.cells)
        self.on_cell(self.number - 1, self.total)

    @property
    def cell(self) -> str:
        """The running cell as a reader of the executed notebook finds it: number, first line."""
        lines = [line for line in self.source.splitlines() if line.strip()]
        return f"cell [{self.number}] `{lines[0].strip()}`" if lines else "before the first cell"

    def stopped(self, reason: str) -> CellFailed:
        """The failure of a cell that could not speak for itself, also noted below the cell."""
        if self.number:
            executed = nbformat.read(self.output, as_version=4)
            note = nbformat.v4.new_output(
                "error", ename="Stopped", evalue=reason, traceback=[f"Stopped: {reason}"]
            )
            executed.cells[self.index].outputs.append(note)
            nbformat.write(executed, self.output)
        return CellFailed(f"{self.cell}: {reason}")


def _runs(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def _one_line(name: str, value: str) -> str:
    lines = [line for line in value.splitlines() if line.strip()]
    return f"{name}: {lines[0].strip()}" if lines else name


def _literally(path: Path) -> str:
    """A path that survives papermill, which fills in braces as in a format string."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel(keep: Path) -> type[AsyncKernelManager]:
    """A kernel of the Python that runs now, whatever kernelspecs this machine's users have."""
    environment = os.environ | {
        keep_variable: str(keep),
        # figures appear in the notebook even where the caller's shell asks for another backend
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }

    class PageKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

        def start_kernel(self, *arguments: Any, **options: Any) -> Any:
            # what the kernel itself says while it is being stopped is no news to anybody
            options |= {"env": environment, "stdout": DEVNULL, "stderr": DEVNULL}
            return super().start_kernel(*arguments, **options)

    return PageKernel


def _kill(keep: Path) -> None:
    """Kill the kernel and all that its cells started, also what detached itself from it.

    Every such process inherited the environment with this page's own folder in it.
    """
    marked = [process for process in psutil.process_iter() if _marker(process) == str(keep)]
    for process in marked:
        process.kill()
    psutil.wait_procs(marked, timeout=5)


def _marker(process: psutil.Process) -> str | None:
    if process.pid == os.getpid():
        return None
    try:
        return process.environ().get(keep_variable)
    except (psutil.Error, OSError):  # gone meanwhile, or somebody else's
        return None
