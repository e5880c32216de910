"""A page can be read: by eye in both modes, by ear, and with every formula typeset."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

WORDS_OF_A_PICTURE = 4  # fewer name it and do not say what it shows

_KINDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
_COLOURS = ["color-contrast", "link-in-text-block"]  # all that a dark page can break alone
_LOOKS: list[tuple[Literal["light", "dark"], list[str]]] = [("light", _KINDS), ("dark", _COLOURS)]
_FORMULAS = """() => [...document.querySelectorAll("math")].map(formula => {
    const {width, height} = formula.getBoundingClientRect();
    return {text: formula.textContent, drawn: width > 0 && height > 0};
})"""
_HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
    .map(heading => [Number(heading.tagName[1]), heading.textContent])"""
_UNNAMED = f"""() => [...document.images].map(image => image.alt)
    .filter(alt => alt.trim().split(/\\s+/).length < {WORDS_OF_A_PICTURE}
        || alt.startsWith("No description"))"""


def unnamed(page: Page) -> Iterator[str]:
    """What a screen reader starts with: a language, a title, and one heading above all others."""
    if page.locator("html").get_attribute("lang") is None:
        yield "no language"
    if not page.title().strip():
        yield "no title"
    headings = page.evaluate(_HEADINGS)
    if (first := [level for level, _ in headings].count(1)) != 1:
        yield f"{first} headings of the first level"
    for (above, _), (level, text) in pairwise(headings):
        if level > above + 1:
            yield f"heading {level} follows {above}: {text}"


def wordless_pictures(page: Page) -> Iterator[str]:
    """Pictures whose alternative text cannot be saying what they show."""
    yield from (f"a picture says only {alt!r}" for alt in page.evaluate(_UNNAMED))


def damaged_formulas(page: Page) -> Iterator[str]:
    """TeX that was left over, formulas that were refused, and those that take no room.

    Every ``details`` must be open, because what is folded away takes none.
    """
    for formula in page.evaluate(_FORMULAS):
        if any(left in formula["text"] for left in "\\&$"):
            yield f"TeX left in {formula['text']}"
        if not formula["drawn"]:
            yield f"a formula is not drawn: {formula['text']}"
    yield from (f"refused: {each}" for each in page.locator(".bad-maths").all_inner_texts())


def barriers(page: Page, widths: Sequence[int]) -> Iterator[str]:
    """What axe-core finds at these widths in the light, and then of colours in the dark."""
    page.evaluate(AXE_SCRIPT)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme, rules in _LOOKS:
            page.emulate_media(color_scheme=scheme)
            options = {"runOnly": rules, "resultTypes": ["violations"]}
            found = page.evaluate("options => axe.run(options)", options)
            for rule in found["violations"]:
                yield f"{rule['id']} at {width} px, {scheme}: {_told(rule['nodes'])}"


def _told(nodes: Sequence[Mapping[str, Any]]) -> str:
    """The first place that breaks a rule, and how many others do."""
    first = nodes[0]
    why = "; ".join(each["message"] for each in first["any"] + first["none"])
    others = f", and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    return f"{first['html'][:120]} ({why[:200]}){others}"
