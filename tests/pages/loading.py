"""A page comes from the disk whole: nothing else is asked for, and its links lead somewhere."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup
from playwright.sync_api import ConsoleMessage, Error, Page, Request

MEGABYTES = 3.0  # what may be mailed

_UNDRAWN = """async () => {
    const images = [...document.images];
    for (const image of images) image.loading = "eager";
    await Promise.allSettled(images.map(image => image.decode()));
    return images.filter(image => !image.complete || !image.naturalWidth)
        .map(image => image.getAttribute("src").slice(0, 80));
}"""
_LINKS = "() => [...document.querySelectorAll('[href]')].map(link => link.href)"


class Ear:
    """Hears what a page asks for and complains of, from before it is loaded."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.folder = folder
        self.external: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._asked)
        page.on("console", self._said)
        page.on("pageerror", self._failed)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith("data:") and place(request.url, self.folder) is None:
            self.external.append(request.url[:200])

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"the console says: {message.text}")

    def _failed(self, error: Error) -> None:
        self.complaints.append(f"a script fails: {error.message}")


def place(address: str, folder: Path) -> Path | None:
    """The file that an address names, if it lies in ``folder``."""
    parts = urlsplit(address)
    path = Path(unquote(parts.path))
    here = parts.scheme == "file" and not parts.netloc
    return path if here and path.is_relative_to(folder) else None


def too_large(file: Path) -> Iterator[str]:
    """More than one wants in a mail."""
    if (size := megabytes(file)) > MEGABYTES:
        yield f"{size:.1f} MB; at most {MEGABYTES:g}"


def megabytes(file: Path) -> float:
    """The size of a file."""
    return file.stat().st_size / 1e6


def not_drawn(page: Page) -> Iterator[str]:
    """Pictures that did not come out, wherever on the page they are."""
    yield from (f"not drawn: {source}" for source in page.evaluate(_UNDRAWN))


def dead_links(page: Page, folder: Path) -> Iterator[str]:
    """Links to files that are not there, and to places that a page does not have."""
    for address in page.evaluate(_LINKS):
        file, fragment = place(address, folder), unquote(urlsplit(address).fragment)
        if file is None:
            yield f"leads out of the folder: {address}"
        elif not file.is_file():
            yield f"leads nowhere: {file.relative_to(folder)}"
        elif fragment and fragment not in _anchors(file):
            yield f"no such place: {file.relative_to(folder)}#{fragment}"


@cache
def _anchors(file: Path) -> set[str]:
    soup = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
    return {str(tag["id"]) for tag in soup.find_all(id=True)}
