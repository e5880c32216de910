"""The front of the index: a page that sums up the others comes first, and its verdicts count."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup

from tdlab.report import index
from tdlab.report.record import claims, decisive

NEARER = "nearer the theorem"


def finding(claim: str, verdict: str, **more: Any) -> dict[str, Any]:
    lacking = dict.fromkeys(("statement", "prediction", "measurement", "low", "high"))
    row = {"claim": claim, "verdict": verdict, "quantity": f"{claim} {verdict}", **lacking}
    return {**row, "regime": "ours", "page": "study", **more}


def put(folder: Path, name: str, verdicts: list[dict[str, Any]], **more: Any) -> None:
    record = {"page": name, "title": f"Page {name}", "parameters": {}, "seconds": 1.0}
    record |= {"started": "2026-01-01T00:00:00+00:00", "versions": {"tdlab": "0"}, "commit": None}
    record |= {"thumbnails": [], "tables": [], "verdicts": verdicts, **more}
    (folder / name).mkdir()
    (folder / name / "page.json").write_text(json.dumps(record))


def shown(folder: Path) -> BeautifulSoup:
    index.write(folder)
    return BeautifulSoup((folder / "index.html").read_text(), "html.parser")


ROWS = [
    finding("one", "agrees", statement="Risk is small.", measurement="0.1 [0, 0.2]"),
    finding("one", "disagrees", regime=NEARER),
    finding("two", "agrees"),
    finding("two", "disagrees", measurement="2 [1, 3]", prediction="< 1"),
]


def test_a_front_page_comes_first_with_a_line_a_claim(tmp_path):
    put(tmp_path, "a_study", [finding("one", "agrees")])
    put(tmp_path, "sums_up", ROWS, front=True)
    soup = shown(tmp_path)
    headings = [each.text for each in soup.find_all("h2")]
    assert headings == ["Page sums_up", "Page a_study"]
    _, one, two = soup.select(".front tr")
    assert [each.find_all("td")[0].text for each in (one, two)] == ["✓ agrees", "✗ disagrees"]
    links = [a["href"] for a in one.find_all("a")]
    assert links == ["sums_up/sums_up.html#one", "study/study.html"]
    assert "Risk is small." in one.text
    assert "0.1 [0, 0.2]" in one.text
    assert "two disagrees" in two.text
    assert "2 [1, 3]" in two.text
    assert "< 1" in two.text


def test_a_front_page_counts_and_those_that_it_sums_up_do_not(tmp_path):
    put(tmp_path, "a_study", [finding("one", "agrees")])
    assert "Claims tested so far: ✓ 1 agrees." in shown(tmp_path).text
    put(tmp_path, "sums_up", ROWS, front=True)
    assert "Claims tested so far: ✓ 1 agrees, ✗ 1 disagrees." in shown(tmp_path).text


def test_a_card_has_a_link_to_each_file_of_each_figure(tmp_path):
    put(tmp_path, "a_study", [])
    path = tmp_path / "a_study" / "page.json"
    old, new = {"file": "figure-1.png"}, {"files": ["figure-2.svg", "figure-2.png"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"figures": [old, new]}))
    (entry,) = shown(tmp_path).select("dt:-soup-contains('figures') + dd")
    assert entry.text == "1 (png), 2 (svg, png)"
    links = [f"a_study/{name}" for name in ("figure-1.png", "figure-2.svg", "figure-2.png")]
    assert [a["href"] for a in entry.find_all("a")] == links


def test_the_first_regime_of_a_claim_is_the_one_that_counts():
    assert claims(ROWS) == {"one": "agrees", "two": "disagrees"}
    assert claims([*reversed(ROWS)]) == {"two": "disagrees", "one": "disagrees"}
    without = [{"claim": "one", "verdict": "agrees"}, {"claim": "one", "verdict": "inconclusive"}]
    assert claims(without) == {"one": "inconclusive"}  # somebody's own table


def test_the_finding_that_decides_is_the_first_with_the_verdict_of_its_claim():
    assert [row["quantity"] for row in decisive(ROWS)] == ["one agrees", "two disagrees"]


def test_one_page_alone_needs_no_filter(tmp_path):
    put(tmp_path, "a_study", [])
    assert not shown(tmp_path).select("form, script")
    put(tmp_path, "sums_up", ROWS, front=True)
    assert not shown(tmp_path).select("form, script")  # what comes first is not filtered
    put(tmp_path, "b_study", [])
    assert shown(tmp_path).select("form[hidden] output")[0].text == "2 of 2 pages"


def test_the_filter_offers_what_there_is_numbers_in_order_and_older_pages_are_among_them(tmp_path):
    put(tmp_path, "older", [])
    put(tmp_path, "a", [], study="kernels", parameters={"alpha": 10, "lr": None, "preset": "quick"})
    put(tmp_path, "b", [], study="icl", parameters={"alpha": 9.5, "flag": True, "preset": "paper"})
    put(tmp_path, "c", [], study="icl", parameters={"alpha": "0.2, 10"}, axes={"alpha": [0.2, 10]})
    soup = shown(tmp_path)
    (study, parameter) = soup.select("form select")
    assert [each.text for each in study.select("option")] == ["all", "icl", "kernels"]
    assert {
        group["label"]: [each.text for each in group.select("option")]
        for group in parameter.select("optgroup")
    } == {
        "alpha": ["alpha = 0.2", "alpha = 9.5", "alpha = 10"],
        "flag": ["flag = True"],
        "preset": ["preset = paper", "preset = quick"],
    }
    names = [each.text for each in soup.select(".card .name")]
    of = dict(zip(names, soup.select(".card"), strict=True))
    assert str(of["c"]["data-parameters"]) == "alpha = 0.2\nalpha = 10\n"
    assert [of[name]["data-study"] for name in "abc"] == ["kernels", "icl", "icl"]
    assert of["older"]["data-study"] == of["older"]["data-parameters"] == ""


def test_a_value_that_looks_like_html_stays_a_value(tmp_path):
    odd = '"><script>alert(1)</script>'
    put(tmp_path, "a", [], parameters={"x": odd}, study=odd)
    put(tmp_path, "b", [])
    soup = shown(tmp_path)
    assert len(soup.find_all("script")) == 1
    assert [each.text for each in soup.select("optgroup option")] == [f"x = {odd}"]
    assert [each["data-study"] for each in soup.select(".card")] == [odd, ""]


def test_thumbnails_are_inside_the_index_and_say_what_they_show(tmp_path):
    figures = [{"file": "figure-1.svg", "alt": "Risk falls to zero."}]
    put(tmp_path, "a", [], thumbnails=["thumbnail-1.png"], figures=figures)
    put(tmp_path, "older", [], thumbnails=["figure-1.png"])
    put(tmp_path, "removed", [], thumbnails=["thumbnail-1.png"], figures=figures)
    for file in ("a/thumbnail-1.png", "older/figure-1.png"):
        (tmp_path / file).write_bytes(b"of " + file.encode())
    images = shown(tmp_path).select(".thumbnails img")
    assert [image["alt"] for image in images] == ["Risk falls to zero.", "Figure 1 of Page older"]
    data = [b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) for image in images]
    assert data == [b"of a/thumbnail-1.png", b"of older/figure-1.png"]


def test_claims_are_told_in_symbols_and_their_names_may_stand_in_two_lines(tmp_path):
    more = {"statement": "Risk <= eps, and $\\beta$.", "quantity": "in alpha", "prediction": ">= 1"}
    row = {**finding("a_study.one", "agrees"), **more}
    put(tmp_path, "sums_up", [row], front=True)
    put(tmp_path, "a", [row])
    soup = shown(tmp_path)
    cells = [each.text for each in soup.select(".front td")]
    assert cells[1:5] == ["a_study.one", "Risk ≤ ε, and β.", "in α", "≥ 1"]
    assert soup.select_one(".front math") is not None
    assert str(soup.select(".front td a")[0]).count("<wbr/>") == 2
    assert [each.text for each in soup.select("details td")][1:3] == ["in α", "≥ 1"]
