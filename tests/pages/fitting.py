"""A page fits: a phone scrolls it one way only, and nothing of it is cut on paper."""

from collections.abc import Iterator

from playwright.sync_api import Page

PHONES = (390, 320)
PAPER = 680  # A4 between margins of 15 mm, in CSS pixels

# Points of a path and the like have no width of their own; the picture around them counts.
_TOO_WIDE = """() => {
    const room = document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll("body *")].filter(element => {
        if (element.closest("svg") || element.parentElement.closest("math")) return false;
        const box = element.getBoundingClientRect(), {overflowX} = getComputedStyle(element);
        const scrolls = overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
        return box.width > 0 && (box.right > room + 1 || box.left < -1 || scrolls);
    });
    return wide.filter(element => !wide.includes(element.parentElement))
        .map(element => element.outerHTML.slice(0, 80));
}"""
_ON_SCREEN_ONLY = """() => [...document.querySelectorAll(
        "nav, form, input, select, button, details:not([open])")]
    .filter(element => element.getClientRects().length)
    .map(element => element.outerHTML.slice(0, 80))"""


def sideways(page: Page, width: int) -> Iterator[str]:
    """Whether a screen of this width has to be scrolled sideways; boxes on it may be."""
    page.set_viewport_size({"width": width, "height": 844})
    needed = page.evaluate("() => document.documentElement.scrollWidth")
    room = page.evaluate("() => document.documentElement.clientWidth")
    if needed > room:
        yield f"{needed} px wide on a screen of {room}"


def badly_printed(page: Page) -> Iterator[str]:
    """What paper cuts off, and what is of no use on it."""
    page.set_viewport_size({"width": PAPER, "height": 960})
    page.emulate_media(media="print", color_scheme="light")
    yield from (f"cut on paper: {each}" for each in page.evaluate(_TOO_WIDE))
    yield from (f"of no use on paper: {each}" for each in page.evaluate(_ON_SCREEN_ONLY))
    if not page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF"):
        yield "cannot be printed"
    page.emulate_media(media="screen")
