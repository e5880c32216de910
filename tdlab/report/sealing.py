"""HTML without anything that runs, loads or leads to another host."""

import re

from bs4 import BeautifulSoup, Tag

from tdlab.report.tables import legible

_active = ("script", "link", "iframe", "object", "embed", "base", "form", "noscript")
_loading = ("src", "srcset", "poster", "background", "action", "xlink:href")
_no_alt = "No description has been provided for this image"  # nbconvert's words for none
_elsewhere = re.compile(r"@import[^;]*;?|url\(\s*['\"]?(?!data:|#)[^)]*\)", re.IGNORECASE)


def seal(html: str) -> str:
    """Return the document without scripts and frames, links to other hosts spelled out.

    Such a link becomes its text followed by the address, so that it can still be read and copied.
    Tables become legible on the way.
    """
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup.find_all(_active) + soup.find_all("meta", attrs={"http-equiv": True}):
        tag.decompose()
    for tag in soup.find_all(True):
        _seal(tag)
    for sheet in soup.find_all("style"):
        sheet.string = _elsewhere.sub("", sheet.get_text())
    legible(soup)
    return str(soup)


def _seal(tag: Tag) -> None:
    for name in [name for name in tag.attrs if name.lower().startswith("on") or name == "xmlns"]:
        del tag[name]
    if "style" in tag.attrs:
        tag["style"] = _elsewhere.sub("", str(tag["style"]))
    if tag.name == "a" and _leads_away(str(tag.get("href", ""))):
        _spell_out(tag)
    elif "href" in tag.attrs and _leads_away(str(tag["href"])):
        del tag["href"]
    if any(_leads_away(str(tag.get(name, "data:"))) for name in _loading):
        _leave_out(tag)


def _leads_away(address: str) -> bool:
    """Whether an address names another host, or runs something; data in place does neither."""
    address = address.strip().lower()
    return bool(re.match(r"[a-z][a-z0-9+.-]*:|//", address)) and not address.startswith("data:")


def _spell_out(link: Tag) -> None:
    text, address = link.get_text(), str(link["href"]).strip()
    if re.match(r"(https?:)?//", address) and address not in text:
        link.append(f" ({address})")
    link.name, link.attrs = "span", {"class": "address"}


def _leave_out(tag: Tag) -> None:
    alt = "" if tag.get("alt") == _no_alt else tag.get("alt")
    text = alt or tag.get("src") or tag.name
    tag.name, tag.attrs = "em", {}
    tag.string = f"[not embedded: {text}]"
