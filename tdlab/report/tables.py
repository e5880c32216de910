"""Tables that can be read by ear, and on a screen that is narrower than they are."""

import re

from bs4 import BeautifulSoup, Tag

_number = re.compile(r"[-−+]?\d[\d.,]*(e[-+]?\d+)?\s?%?")


def legible(soup: BeautifulSoup) -> None:
    """Gives each table a box of its own to scroll in, and each of its headers what it heads.

    The box can be reached by the keyboard, which scrolls it. A header without words heads nothing.
    """
    for table in soup.find_all("table"):
        scopes = [(header, _scope(header)) for header in table.find_all("th")]
        _measure(table)
        for header, scope in scopes:
            header["scope"] = scope
            if not header.get_text(strip=True):
                header.name = "td"
                del header["scope"]
        table.wrap(_box(soup, "table"))
    for text in soup.select("pre:not(.highlight pre)"):
        text["tabindex"] = "0"


def _measure(table: Tag) -> None:
    """Notes how many columns there are, for paper, and which cells are numbers, never broken."""
    columns = max((len(row.find_all(["th", "td"])) for row in table.find_all("tr")), default=0)
    table["style"] = f"{table.get('style', '')};--columns: {columns}".removeprefix(";")
    for cell in table.find_all("td"):
        if _number.fullmatch(cell.get_text(strip=True)):
            cell["class"] = " ".join([*filter(None, cell.get_attribute_list("class")), "number"])


def _scope(header: Tag) -> str:
    """What it says itself, else its column where it is in the head or in a row of headers alone."""
    if own := header.get("scope"):
        return str(own)
    row = header.find_parent("tr")
    alone = row is None or row.find("td") is None
    return "col" if alone or header.find_parent("thead") is not None else "row"


def _box(soup: BeautifulSoup, label: str) -> Tag:
    reached = {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": label}
    return soup.new_tag("div", attrs=reached)
