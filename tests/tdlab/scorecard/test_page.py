"""The scorecard as HTML and as Markdown: what stands there, and where it leads."""

import math
import re
from html import unescape
from pathlib import Path

import matplotlib.figure
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tdlab.scorecard import page, readme
from tests.tdlab.scorecard.cards import FINDINGS, FOUND, OTHER, RUNS

WORDS = (
    "icl.one agrees: risk ≤ ε, measured 0.02 [0.01, 0.03], predicted ≤ 0.1."
    " What icl.one shows. Loss & more: up from 0 to 2."
)


@pytest.fixture(autouse=True)
def pictures(monkeypatch):
    """The small figure of each claim, and the tables that it was drawn from."""
    drawn = {}

    def small(claim, tables):
        drawn[claim] = tables
        figure = matplotlib.figure.Figure(figsize=(1, 1))
        figure.set_label(f"What {claim} shows.")
        ax = figure.subplots()
        ax.plot([0, 1], [0, 2])
        ax.set_ylabel("loss & more")
        return figure

    monkeypatch.setattr(page, "small", small)
    return drawn


@pytest.fixture
def soup(pictures):
    return BeautifulSoup(page.page(FOUND), "html.parser")


def verdicts(tags):
    return [tag.text.split()[-1] for tag in tags]


def test_the_overview_has_a_line_a_claim_with_the_finding_that_decides(soup):
    _, *lines = soup.select("table.overview tr")
    assert [line.a["href"] for line in lines] == ["#icl.one", "#cot.two"]
    assert verdicts(line.select_one(".chip") for line in lines) == ["agrees", "inconclusive"]
    # Nearer the theorem the first has a verdict of its own.
    assert [verdicts(line.select(".chip")[1:]) for line in lines] == [["disagrees"], []]
    assert str(FINDINGS[0].measured) in lines[0].text
    assert str(OTHER.measured) in lines[1].text


def test_a_block_says_all_of_its_claim(soup, pictures):
    block = soup.find(id="icl.one")
    assert "The risk ≤ ε & more." in block.text
    assert block.select("math")
    assert "Here 400 steps." in block.select_one(".regime").text
    assert "at most 0.1 (ours)" in block.text
    assert block.find("a", string="icl_dynamics")["href"] == "../icl_dynamics/icl_dynamics.html"
    assert block.img["alt"] == WORDS
    assert block.img["src"].startswith("data:image/svg+xml;base64,")
    assert [*pictures["icl.one"]] == ["first", "second"]
    _, *rows = block.select(".evidence tr")
    assert [row.td["title"] for row in rows] == ["agrees", "disagrees"]
    assert "(nearer the theorem)" in rows[1].text
    assert "a point is off" in rows[1].text


def test_a_verdict_leads_to_its_rows_and_these_to_their_runs(soup):
    links = [a["href"] for a in soup.find(id="icl.one").select("details a")]
    assert links == ["icl.first.parquet", "icl.second.parquet", "runs.parquet"]
    named = soup.find(id="cot.two").select_one("details .address").text.split()
    assert named == sorted(run.id for run in RUNS)


def test_what_could_not_be_measured_is_said(soup):
    assert soup.select_one(".missing").text == "icl.three could not be measured: nothing is large"


def numbers(svg):
    rect, line = svg.rect, svg.line
    left = float(rect["x"])
    ends = left, left + float(rect["width"]), float(line["x1"]), float(line["x2"])
    return (*ends, float(svg.circle["cx"]))


def test_an_interval_lies_inside_what_agrees_where_it_agrees(soup):
    first, second = soup.find(id="icl.one").select("svg.bar")
    left, right, low, high, at = numbers(first)
    assert left == 0  # no lower end
    assert 0 < low < at < high < right < 170
    left, right, low, high, at = numbers(second)
    assert 0 < left < right < low < at < high < 170
    assert "disagrees" in second["class"]
    assert second["aria-label"].endswith("-1: disagrees")


def test_an_interval_without_ends_fills_the_line_and_no_number_has_no_dot():
    row = FOUND.verdicts.iloc[2]
    (line,) = BeautifulSoup(page._bar(row), "html.parser").find_all("line")
    assert (line["x1"], line["x2"]) == ("0.0", "170.0")
    nothing = row.copy()
    nothing["value"] = math.nan
    assert "circle" not in page._bar(nothing)


def test_the_finding_that_decides_is_the_first_that_speaks_against():
    rows = FOUND.verdicts
    assert page.decisive(rows).quantity == "exponent"
    assert page.decisive(rows[rows.verdict != "disagrees"]).quantity == "mass"
    assert page.decisive(rows[rows.verdict == "agrees"]).quantity == "risk <= eps"


# As Markdown.


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "SHOWN", ("icl.one", "icl.never"))
    readme.write(tmp_path / "README.md", FOUND, 61.3)
    return tmp_path


def test_the_readme_has_the_table_its_provenance_and_figures(written):
    text = (written / "README.md").read_text()
    assert "1 agrees, 1 inconclusive" in text
    assert "Preset `quick`, beta = 2.0; seeds" in text
    assert re.search(r"Commit `.*`, python 3\.\d+.*, torch .*, numpy .*, \d+ threads, 61 s\.", text)
    assert "`icl.three` could not be measured: nothing is large." in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert "| ✓ agrees | ✗ disagrees | **icl.one** The risk ≤ ε & more. |" in text
    for finding in (*FINDINGS, OTHER):
        assert str(finding.measured) in text
    assert "- **icl.one**: Here 400 steps. at most 0.1 (ours)." in text
    images = re.findall(r'src="([^"]*)"', text)
    assert images == ["figures/icl.one.png"]
    assert unescape(*re.findall(r'alt="([^"]*)"', text)) == WORDS
    assert (written / "figures" / "scorecard.png").read_bytes().startswith(b"\x89PNG")
    assert all((written / image).is_file() for image in images)


def test_the_readme_of_the_repository_shows_figures_that_are_there():
    reports = Path(__file__).parents[3] / "reports"
    text = (reports / "README.md").read_text()
    images = re.findall(r'src="([^"]*)"', text)
    assert len(images) >= 6
    assert all((reports / image).is_file() for image in images)
    # The picture on the first page of the repository is of the same scorecard.
    with Image.open(reports / "figures" / "scorecard.png") as picture:
        said = str(picture.info["Description"])
    preset, seeds = re.findall(r"Preset `(\w+)`.*seeds of the studies: ([^;]*);", text)[0]
    assert f"at preset {preset}; seeds: {seeds}." in said
    counts = re.findall(r"(\d+) (agrees|disagrees|inconclusive)", text.splitlines()[2])
    assert re.findall(r"(agrees|disagrees|inconclusive): (\d+)", said) == [
        (verdict, count) for count, verdict in counts
    ]
