"""An environment as a newcomer has it: its programs, in a folder of their own, and no source tree.

``$TDLAB_BIN`` names the folder of the programs; otherwise they are those of the clone. What runs
them is a test outside of it, so that the environment needs nothing but what tdlab installs.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALLED = "TDLAB_BIN" in os.environ  # from a wheel, and no clone
BIN = Path(os.environ.get("TDLAB_BIN", Path(sys.executable).parent)).absolute()


def run(program: str, *arguments: str, folder: Path, store: Path) -> str:
    """What a program of the environment prints, started in that folder with that store.

    Returns:
        Its output, which came without a warning and with status 0.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    answer = subprocess.run(
        [str(BIN / program), *arguments],
        env={**kept, "PATH": path, "TDLAB_STORE": str(store)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Warning" not in answer.stderr, answer.stderr
    return answer.stdout


def home(folder: Path) -> Path:
    """Where the package of the environment is; in a clone it must be the one that is tested."""
    found = run("python", "-c", "import tdlab; print(tdlab.__file__)", folder=folder, store=folder)
    package = Path(found.strip()).parent
    of_clone = package.is_relative_to(ROOT) and not package.is_relative_to(BIN.parent)
    assert of_clone is not INSTALLED, (
        f"{BIN / 'python'} imports {package}, but what is tried is "
        + ("an installed wheel" if INSTALLED else f"{ROOT}: `make test` there has an environment")
    )
    return package
