"""The checks of the pages notice what is wrong with one, each thing by its name."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.pages.visits import visit

pytestmark = pytest.mark.slow  # `make pages` runs these

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
PAGE = """<!DOCTYPE html><html lang="en"><head><title>Reports</title><style>{style}</style></head>
<body><main><h1>A page</h1><p>Words.</p>{body}</main></body></html>"""

WRONG = {
    "<script>fetch('https://example.org/x').catch(() => 0)</script>": "example.org/x",
    '<img src="//example.org/x.png" alt="Risk falls to zero.">': "not drawn: //example.org/x.png",
    '<img src="missing.png" alt="Risk falls to zero.">': "not drawn: missing.png",
    '<img src="data:image/png;base64,AAAA" alt="Risk falls to zero.">': "not drawn: data:image",
    '<img src="../outside.gif" alt="Risk falls to zero.">': "outside.gif",
    f'<img src="{PIXEL}" alt="Figure 1">': "a picture says only 'Figure 1'",
    "<script>console.warn('old')</script>": "the console says: old",
    "<script>console.error('bad')</script>": "the console says: bad",
    "<script>setTimeout(() => { throw new Error('boom') })</script>": "a script fails: boom",
    '<a href="gone.html">there</a>': "leads nowhere: gone.html",
    '<a href="#gone">there</a>': "no such place: page.html#gone",
    '<a href="other.html#gone">there</a>': "no such place: other.html#gone",
    '<a href="https://example.org">there</a>': "leads out of the folder: https://example.org",
    r"<math><mtext>\foo</mtext></math>": r"TeX left in \foo",
    "<math><mtext>a &amp; b</mtext></math>": "TeX left in a & b",
    "<math></math>": "a formula is not drawn",
    '<code class="bad-maths">x_</code>': "refused: x_",
    "<h1>Again</h1>": "2 headings of the first level",
    "<h3>Too deep</h3>": "heading 3 follows 1: Too deep",
    '<div style="width: 420px">wide</div>': "px wide on a screen of 390",
    '<div style="width: 99%; overflow: auto" tabindex="0"><p style="width: 700px">wide</div>': (
        "cut on paper: <div"
    ),
    '<p style="width: 800px">wide': "cut on paper: <p",
    "<details><summary>code</summary>x</details>": "of no use on paper: <details",
    '<form><label>Study <input name="x"></label></form>': "of no use on paper: <form",
    '<p style="color: #999; background: #fff">pale</p>': "color-contrast at 1280 px, light",
    '<p class="night">pale</p>': "color-contrast at 390 px, dark",
    '<input name="x">': "label at 1280 px",
    "<table><tr><th></th><th>a</th></tr></table>": "empty-table-header",
    f'<pre style="overflow: auto">{"a long line " * 50}</pre>': "scrollable-region-focusable",
}
STYLE = "@media (prefers-color-scheme: dark) { .night { color: #555; background: #333 } }"


def faults(browser: Browser, folder: Path, html: str) -> list[str]:
    (folder / "page.html").write_text(html)
    found = visit(browser, folder / "page.html", folder)
    return [*found.external, *found.faults]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "outside.gif").write_bytes(b"GIF89a")
    (folder / "in").mkdir()
    (folder / "in" / "other.html").write_text('<p id="here">')
    return folder / "in"


@pytest.fixture(scope="module")
def found(browser: Browser, folder: Path) -> list[str]:
    """What is found on a page on which everything is wrong."""
    return faults(browser, folder, PAGE.format(style=STYLE, body="\n".join(WRONG)))


def test_a_page_without_a_fault_has_none(browser: Browser, folder: Path):
    right = '<h2 id="x">In <a href="#x">it</a></h2><p><a href="other.html#here">other</a></p>'
    right += f'<img src="{PIXEL}" alt="Risk falls to zero."><math><mi>x</mi></math>'
    assert not faults(browser, folder, PAGE.format(style=STYLE, body=right))


@pytest.mark.parametrize("told", WRONG.values())
def test_a_fault_is_found(found: list[str], told: str):
    assert any(told in fault for fault in found), found


def test_a_page_may_be_too_wide_for_the_smallest_phone_alone(browser: Browser, folder: Path):
    page = PAGE.format(style=STYLE, body='<div style="width: 350px">wide</div>')
    (told,) = faults(browser, folder, page)
    assert told.endswith("px wide on a screen of 320")


@pytest.mark.parametrize(
    ("html", "told"),
    [
        ("<title>t</title><h1>x</h1>", "no language"),
        ('<html lang="en"><h1>x</h1>', "no title"),
        ('<html lang="en"><title>t</title><p>x', "0 headings of the first level"),
        (PAGE.format(style="", body=f"<!-- {'x' * 3_100_000} -->"), "3.1 MB; at most 3"),
    ],
)
def test_a_faulty_document_is_found(browser: Browser, folder: Path, html: str, told: str):
    assert told in faults(browser, folder, html)
