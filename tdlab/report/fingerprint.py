"""Whether a page would come out as it did: the same notebook, parameters, sources and runs."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tdlab import records, results
from tdlab.report import record
from tdlab.report.pages import Page

_package = Path(__file__).parents[1]
_sources = (_package, _package.parent / "synthetic_tasks")
_versions = ("tdlab", "python", "torch", "numpy")


def versions() -> dict[str, str]:
    """What a page was made with, in the order in which it is shown."""
    origin = results.provenance()
    return {name: origin[name] for name in _versions}


def of(page: Page) -> dict[str, str]:
    """Hashes of what a page is made of: its notebook, and all sources."""
    return {
        "notebook": sha256(page.notebook.read_bytes()).hexdigest(),
        "sources": _hash_of_sources(page.notebook.parent),
    }


def unchanged(page: Page, made: Mapping[str, Any]) -> bool:
    """Whether a page with this record would come out the same again."""
    former = made.get("fingerprint")
    return (
        former is not None
        and record.is_of(page.parameters, made)
        and made["versions"] == versions()
        and former == {**of(page), "runs": former["runs"]}
        and all(content in _contents(run) for run, content in former["runs"].items())
    )


def _contents(run: str) -> set[str]:
    """What is in a run, and what was when it had fewer steps or snapshots: a page may know that."""
    try:
        its = records.read(records.root(), run)
    except records.Damaged:
        return set()
    return set() if its is None else its.contents


def _hash_of_sources(beside: Path) -> str:
    """Of all files of our packages, and of the modules that lie beside a notebook."""
    found = [
        path
        for package in _sources
        for path in package.rglob("*")
        if path.is_file() and not _is_made(path)
    ]
    return _hash([*found, *beside.glob("*.py")])


def _is_made(path: Path) -> bool:
    return any(part in {"__pycache__", "_notebooks"} for part in path.parts)


def _hash(paths: Iterable[Path]) -> str:
    total = sha256()
    for path in sorted(paths):
        total.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return total.hexdigest()
