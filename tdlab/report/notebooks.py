"""Where the notebooks are: in an installed wheel, beside the source tree, or at a path."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode, ValidationError

_staging, _young = ".staging-", 60.0  # seconds
_package = Path(__file__).parents[1]
_homes = (_package / "_notebooks", _package.parent / "notebooks")


def available() -> dict[str, Path]:
    """The notebooks that come with tdlab, by name."""
    home = next((home for home in _homes if home.is_dir()), None)
    if home is None:
        return {}
    return {path.stem: path for path in sorted(home.glob("*.ipynb"))}


def find(wanted: str) -> Path:
    """Return the notebook of that name, or at that path.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    known = available()
    if wanted in known:
        return known[wanted]
    path = Path(wanted)
    if path.suffix == ".ipynb" and path.is_file():
        return path.resolve()
    close = get_close_matches(path.stem, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"no notebook {wanted!r}{guess} (there are: {', '.join(known) or 'none'})")


def read(path: Path) -> NotebookNode:
    """Return the notebook at ``path``.

    Raises:
        ValueError: the file is not a notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
        # nbformat answers each kind of damage with an exception of its own
        raise ValueError(f"{path} is not a notebook") from error
    if not isinstance(notebook.get("cells"), list):
        raise ValueError(f"{path} is not a notebook")
    return notebook


def copy(directory: Path) -> list[Path]:
    """Write all notebooks into ``directory``; those that are there unchanged stay.

    Returns:
        Where each of them is.

    Raises:
        ValueError: one there differs from ours, and then nothing is written; or there are none.
    """
    if not available():
        raise ValueError("there are no notebooks: they came neither with tdlab nor lie beside it")
    wanted = {directory / path.name: path.read_bytes() for path in available().values()}
    missing = {target: text for target, text in wanted.items() if not target.exists()}
    changed = [
        target.name
        for target, text in wanted.items()
        if target not in missing and not (target.is_file() and target.read_bytes() == text)
    ]
    if changed:
        raise ValueError(
            f"not overwriting {', '.join(changed)}, changed in {directory}: "
            "move it away or name another directory"
        )
    with staging(directory) as staged:
        for target, text in missing.items():
            (staged / target.name).write_bytes(text)
        for target in missing:
            (staged / target.name).replace(target)
    return list(wanted)


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A folder inside ``directory`` for unfinished files, so that finishing one is a rename.

    What killed processes have left of theirs is removed.

    Raises:
        ValueError: the directory cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob(f"{_staging}*"):
            _remove_if_left(left)
        folder = TemporaryDirectory(prefix=_staging, dir=directory)
    except OSError as error:
        raise ValueError(f"cannot write to {directory}: {error.strerror}") from error
    with folder as name, _held(Path(name)):
        yield Path(name)


def _remove_if_left(folder: Path) -> None:
    """Removes a folder that nobody holds, and that is too old for somebody to be about to."""
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > _young:
            with _held(folder):
                shutil.rmtree(folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds a folder as long as this process lives; ``OSError`` where another one does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
