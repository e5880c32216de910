"""The pages of a folder of reports, loaded from the disk with the network cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.pages.visits import pages_of, visit

pytestmark = pytest.mark.slow  # `make pages` runs these

# One of each kind; the other points of the grid are made as the first is.
KINDS = [
    "index.html",
    "scorecard/scorecard.html",
    "wide/wide.html",
    "icl_dynamics-alpha=0.2-beta=1/icl_dynamics-alpha=0.2-beta=1.html",
    "icl_dynamics-over-alpha-beta/icl_dynamics-over-alpha-beta.html",
]


@contextmanager
def opened(browser: Browser, file: Path, *, scripts: bool = True) -> Iterator[Page]:
    context = browser.new_context(offline=True, java_script_enabled=scripts)
    try:
        page = context.new_page()
        page.goto(file.as_uri())
        yield page
    finally:
        context.close()


def shown(page: Page) -> list[str]:
    """The names of the pages that the index shows."""
    cards = page.locator(".card")
    return [card.locator(".name").inner_text() for card in cards.all() if card.is_visible()]


def test_there_is_a_page_of_every_kind(folder: Path):
    pages = {str(file.relative_to(folder)) for file in pages_of(folder)}
    assert pages > set(KINDS)
    assert len(pages) == len(KINDS) + 3


@pytest.mark.parametrize("name", KINDS)
def test_a_page_needs_nothing_and_can_be_read_on_a_phone_in_the_dark_and_on_paper(
    browser: Browser, folder: Path, name: str
):
    found = visit(browser, folder / name, folder)
    assert not found.external, str(found)
    assert not found.faults, str(found)


def test_a_card_says_which_point_of_a_grid_it_is(browser: Browser, folder: Path):
    with opened(browser, folder / "index.html") as page:
        titles = page.locator(".card h2").all_inner_texts()
    assert titles[1].endswith("is shown, alpha = 0.2, beta = 1")
    assert titles[4].endswith("is shown, over alpha and beta")


def test_the_filter_narrows_by_study_and_by_parameter_and_back(browser: Browser, folder: Path):
    points = [f"icl_dynamics-alpha={at}" for at in ("0.2-beta=1", "0.2-beta=2", "0.4-beta=1")]
    joined = "icl_dynamics-over-alpha-beta"
    with opened(browser, folder / "index.html") as page:
        everything = shown(page)
        assert everything == sorted(["icl_dynamics", *points, joined, "wide"])
        assert page.get_by_role("status").inner_text() == "6 of 6 pages"

        page.get_by_label("Study").select_option("kernels")
        assert shown(page) == ["wide"]
        assert page.get_by_role("status").inner_text() == "1 of 6 pages"

        page.get_by_label("Study").select_option("icl")
        assert shown(page) == [name for name in everything if name != "wide"]
        page.get_by_label("Parameter").select_option("alpha = 0.4")
        assert shown(page) == [points[2], joined]  # the page of the grid has this value as well
        assert page.get_by_role("status").inner_text() == "2 of 6 pages"

        page.get_by_label("Study").select_option("kernels")
        assert shown(page) == []
        page.get_by_role("button", name="show all").click()
        page.get_by_text("6 of 6 pages").wait_for()
        assert shown(page) == everything


def test_the_filter_offers_each_value_that_a_parameter_has(browser: Browser, folder: Path):
    with opened(browser, folder / "index.html") as page:
        offered = page.get_by_label("Parameter").locator("option").all_inner_texts()
        studies = page.get_by_label("Study").locator("option").all_inner_texts()
    values = ["alpha = 0.2", "alpha = 0.4", "alpha = 0.5", "beta = 1", "beta = 2"]
    assert offered == ["any", *values]
    assert studies == ["all", "icl", "kernels"]


def test_the_filter_can_be_used_from_the_keyboard(browser: Browser, folder: Path):
    with opened(browser, folder / "index.html") as page:
        page.get_by_label("Study").focus()
        page.keyboard.type("k")  # the browser chooses the option that begins so
        assert shown(page) == ["wide"]
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.name") == "parameter"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text("6 of 6 pages").wait_for()


def test_whoever_comes_back_finds_the_choice_as_it_was(browser: Browser, folder: Path):
    with opened(browser, folder / "index.html") as page:
        page.get_by_label("Study").select_option("kernels")
        page.locator(".card:visible h2 a").click()
        page.get_by_role("link", name="all reports").wait_for()
        page.go_back()
        page.get_by_text("1 of 6 pages").wait_for()
        assert page.get_by_label("Study").input_value() == "kernels"
        assert shown(page) == ["wide"]


def test_without_scripts_everything_is_shown_and_no_control_is(browser: Browser, folder: Path):
    with opened(browser, folder / "index.html", scripts=False) as page:
        assert len(shown(page)) == 6
        assert not page.locator(".filter").is_visible()


def test_only_the_index_holds_a_script_and_a_short_one(folder: Path):
    scripted = [file for file in pages_of(folder) if "<script" in file.read_text()]
    assert scripted == [folder / "index.html"]
    _, _, rest = scripted[0].read_text().partition("<script>")
    script, _, after = rest.partition("</script>")
    assert len(script.strip().splitlines()) < 20
    assert "<script" not in after
