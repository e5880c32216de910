"""Every page of a folder of reports as a browser without a network finds it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.pages import fitting, loading, reading

_OPEN_ALL = "() => document.querySelectorAll('details').forEach(each => { each.open = true; })"


@dataclass(frozen=True)
class Visit:
    """What one page asked for from outside its folder, and what is wrong with it."""

    page: str
    megabytes: float
    external: Sequence[str]
    faults: Sequence[str]

    def __str__(self) -> str:
        asked = [f"asks for {address}" for address in self.external]
        return "\n".join(f"{self.page}: {fault}" for fault in (*asked, *self.faults))


def pages_of(folder: Path) -> list[Path]:
    """The index and every page below it."""
    return sorted([*folder.glob("index.html"), *folder.glob("*/*.html")])


def visit(browser: Browser, file: Path, folder: Path) -> Visit:
    """Load a page from the disk and look at it from all sides."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    try:
        page = context.new_page()
        ear = loading.Ear(page, folder.resolve())
        page.goto(file.resolve().as_uri(), wait_until="load")
        faults = [*loading.too_large(file), *_faults(page, folder.resolve()), *ear.complaints]
    finally:
        context.close()
    name = str(file.relative_to(folder))
    return Visit(name, loading.megabytes(file), tuple(ear.external), tuple(faults))


def _faults(page: Page, folder: Path) -> Iterator[str]:
    yield from loading.not_drawn(page)
    yield from loading.dead_links(page, folder)
    yield from fitting.badly_printed(page)  # before what is folded away is unfolded
    page.evaluate(_OPEN_ALL)
    yield from reading.unnamed(page)
    yield from reading.wordless_pictures(page)
    yield from reading.damaged_formulas(page)
    for width in fitting.PHONES:
        yield from fitting.sideways(page, width)
    yield from reading.barriers(page, (1280, fitting.PHONES[0]))
