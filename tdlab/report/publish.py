"""Pages executed into a folder, each whole or not at all, and what is recorded about them."""

import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import nbformat
import pyarrow.parquet as pq
from nbformat import NotebookNode
from PIL import UnidentifiedImageError

from tdlab import results
from tdlab.report import fingerprint, grid, html, index, notebooks, record
from tdlab.report.execution import CellFailed, execute
from tdlab.report.pages import Page, failed, joined
from tdlab.report.thumbnails import thumbnail

_THUMBNAILS = 2  # figures that stand for a page
_finding = [
    *("claim", "statement", "quantity", "prediction", "measurement", "low", "high", "verdict"),
    *("regime", "page"),
]


def run(
    pages: Sequence[Page], out: Path, *, timeout: float = 3600.0, anew: bool = False
) -> list[str]:
    """Execute the pages into ``out``, one after the other, and then join those of each grid.

    A page that is there, whose notebook, parameters, sources and runs are what they were, is not
    executed again, unless ``anew``. A failing notebook leaves the earlier page of that name as it
    was, and what it came to is kept under ``failed``; the others still run. The index shows every
    page that is in ``out``.

    Returns:
        One line for each page that failed.

    Raises:
        ValueError: ``out`` cannot be written to, or holds something else under a page's name.
    """
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout is {timeout:g}; it must be a positive number of seconds")
    grids = joined(pages)
    for name in (*grids, *(page.name for page in pages)):
        if (out / name).exists() and not (out / name / "page.json").is_file():
            raise ValueError(f"{out / name} is not a page of ours; move it away")
    failures = []
    for page in pages:
        line = _Line(page.name, out / failed)
        if not anew and (since := _unchanged(page, out)):
            _forget_failed(page.name, out / failed)
            line.skip(since)
            continue
        with notebooks.staging(out) as staged:
            failure = _make(page, staged, out, timeout, line)
        index.write(out)
        line.end(failure)
        failures += [f"{page.name}: {failure}"] if failure else []
    index.write(out)  # also where nothing was made anew
    for name, points in grids.items():
        with notebooks.staging(out) as staged:
            (folder := staged / name).mkdir()
            if grid.join(name, points, out, folder):
                _swap_in(folder, out / name, staged / "former")
        index.write(out)
    return failures


def _unchanged(page: Page, out: Path) -> str:
    """When the page was made, if it would come out the same again."""
    path = out / page.name / "page.json"
    if not path.is_file():
        return ""
    former = record.read(path)
    return record.facts(former)["date"] if fingerprint.unchanged(page, former) else ""


def _make(page: Page, staged: Path, out: Path, timeout: float, line: "_Line") -> str:
    """Execute one page and move what came of it into ``out``; return why it failed, if it did."""
    folder = staged.resolve() / page.name
    folder.mkdir()
    file = folder / f"{page.name}.ipynb"
    started, failure = datetime.now(UTC), ""
    sources = fingerprint.of(page)  # before it runs: what changes meanwhile makes it another page
    try:
        execute(page.notebook, file, page.given, keep=folder, timeout=timeout, on_cell=line.cell)
    except CellFailed as error:
        failure = str(error)
    executed = _without_paths(notebooks.read(file))
    nbformat.write(executed, file)
    origin = {**sources, "runs": results.runs_read(folder)}
    results.forget_runs_read(folder)
    made = _record(page, executed, origin, started, line.seconds)
    if failure:
        record.write(folder / f"{page.name}.json", made | {"failure": failure})
        _keep_failed(folder, page.name, out / failed)
        return failure
    _illustrate(made, executed, folder)
    record.write(folder / "page.json", made)
    text = html.page(executed, record.facts(made), page.notebook.parent)
    (folder / f"{page.name}.html").write_text(text, encoding="utf-8")
    _swap_in(folder, out / page.name, staged / "former")
    _forget_failed(page.name, out / failed)
    return ""


def _record(
    page: Page,
    executed: NotebookNode,
    origin: Mapping[str, object],
    started: datetime,
    seconds: float,
) -> dict[str, Any]:
    return {
        "page": page.name,
        "notebook": page.notebook.stem,
        "title": html.title(executed) or page.name,
        "front": page.front,
        "study": page.study,
        "preset": page.parameters.get("preset"),
        "parameters": page.parameters,
        "point": dict(page.point),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "commit": results.provenance()["commit"],
        "versions": fingerprint.versions(),
        "fingerprint": origin,
    }


def _illustrate(made: dict[str, Any], executed: NotebookNode, folder: Path) -> None:
    """Store the pictures beside the notebook; list them, the tables and the verdicts."""
    made["figures"] = []
    for number, picture in enumerate(html.pictures(executed), start=1):
        names = [f"figure-{number}{suffix}" for suffix in picture.files]
        said = {"title": picture.title, "alt": picture.alt}
        made["figures"].append({"file": names[0], "files": names, **said})
        for name, content in zip(names, picture.files.values(), strict=True):
            (folder / name).write_bytes(content)
    for figure, heading in zip(made["figures"], html.headings(executed), strict=True):
        figure["heading"] = heading
    shown = enumerate(made["figures"][:_THUMBNAILS], start=1)
    made["thumbnails"] = [_thumbnail(figure, number, folder) for number, figure in shown]
    kept = (path for path in folder.iterdir() if path.suffix in {".parquet", ".safetensors"})
    made["tables"] = sorted(path.name for path in kept)
    made["verdicts"] = _verdicts(folder / "verdicts.parquet")


def _thumbnail(figure: dict[str, Any], number: int, folder: Path) -> str:
    """The name of a small picture of the figure, or of itself where none can be made of it."""
    pngs = [name for name in figure["files"] if name.endswith(".png")]
    name = f"thumbnail-{number}.png"
    try:
        (folder / name).write_bytes(thumbnail((folder / pngs[0]).read_bytes()))
    except (IndexError, UnidentifiedImageError):
        return str(figure["file"])
    return name


def _verdicts(path: Path) -> list[dict[str, Any]]:
    """The rows of the table of verdicts, if the notebook kept one; what they lack is none."""
    if not path.is_file():
        return []
    return [{name: row.get(name) for name in _finding} for row in pq.read_table(path).to_pylist()]


def _without_paths(notebook: NotebookNode) -> NotebookNode:
    """The notebook with nothing in its metadata that tells of the machine it ran on."""
    kept = {"kernelspec", "language_info"}
    about = notebook.metadata.get("papermill", {})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = NotebookNode(
        {key: value for key, value in notebook.metadata.items() if key in kept}
        | {"kernelspec": kernel}
        | {"papermill": {key: about[key] for key in ("parameters", "duration") if key in about}}
    )
    for cell in notebook.cells:
        kept = {"tags", "papermill", "collapsed", "slideshow"}
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in kept})
    return notebook


def _keep_failed(folder: Path, name: str, shelf: Path) -> None:
    shelf.mkdir(exist_ok=True)
    for suffix in (".ipynb", ".json"):
        (folder / f"{name}{suffix}").replace(shelf / f"{name}{suffix}")


def _forget_failed(name: str, shelf: Path) -> None:
    for suffix in (".ipynb", ".json"):
        (shelf / f"{name}{suffix}").unlink(missing_ok=True)


def _swap_in(finished: Path, target: Path, former: Path) -> None:
    """Put the finished page in the place of the former one; on an interruption, that one back."""
    try:
        if target.exists():
            target.rename(former)
        finished.rename(target)
    except BaseException:
        if former.exists() and not target.exists():
            former.rename(target)
        raise


class _Line:
    """One progress line a page: redrawn in place on a terminal, now and then in a log."""

    def __init__(self, name: str, shelf: Path) -> None:
        self.name, self.shelf = name, shelf
        self.done = self.total = 0
        self.started = self.spoken = monotonic()

    @property
    def seconds(self) -> float:
        return monotonic() - self.started

    def cell(self, done: int, total: int) -> None:
        """The next of ``total`` code cells starts, ``done`` are finished."""
        self.done, self.total = done, total
        if sys.stderr.isatty():
            bar = ("#" * round(20 * done / total)).ljust(20, ".")
            self._say(f"\r\x1b[K{self}  [{bar}]", end="")
        elif monotonic() - self.spoken > 30:
            self._say(str(self))

    def end(self, failure: str) -> None:
        """The page is finished, or ``failure`` says why not."""
        if not failure:
            self.done = self.total
        rewind = "\r\x1b[K" if sys.stderr.isatty() else ""
        where = f" (kept: {self.shelf / self.name}.ipynb)"
        self._say(f"{rewind}{self}" + (f"  failed in {failure}{where}" if failure else ""))

    def skip(self, since: str) -> None:
        """Nothing was done, because nothing has changed since then."""
        self._say(f"{self.name}  unchanged since {since}")

    def __str__(self) -> str:
        return f"{self.name}  {self.done}/{self.total} cells  {self.seconds:.0f} s"

    def _say(self, text: str, end: str = "\n") -> None:
        self.spoken = monotonic()
        print(text, file=sys.stderr, end=end, flush=True)
