"""The pages of a grid as one."""

import json
import shutil
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tdlab import results
from tdlab.report import grid, publish
from tdlab.report.pages import joined, plan

# Draws one picture and keeps a table and a verdict, at every point but one; there is a second
# picture where alpha is large.
CODE = """import pandas as pd
from IPython.display import Image, display
from tdlab import results
if alpha == 0.9:
    raise ValueError("no such alpha")
table = results.tidy("margin", [alpha, 2.0], "point", source="measured", point=[0, 1])
results.keep("margins", table)
results.keep("verdicts", table.assign(claim="icl.shift", verdict="agrees" if alpha < 0.5 else
    "disagrees", statement="", prediction=0.0, measurement=0.0, low=0.0, high=0.0))
display(Image(data=b"\\x89PNG one", format="png"),
    metadata={"alt": "Margins over training: from 0 to 1.", "title": "Margins over training."})
if alpha > 0.5:
    display(Image(data=b"\\x89PNG two", format="png"))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    cells = [
        new_markdown_cell("# Margins $x$"),
        new_code_cell("alpha: float = 0.5\nbeta: int = 1", metadata={"tags": ["parameters"]}),
        new_code_cell(CODE),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "margins.ipynb")
    pages = plan([str(folder / "margins.ipynb")], {"beta": 3}, grid={"alpha": "0.4,0.6,0.9"})
    failures = publish.run(pages, folder / "out")
    assert [line.partition(":")[0] for line in failures] == ["margins-alpha=0.9"]
    return folder / "out"


@pytest.fixture(scope="module")
def soup(out) -> BeautifulSoup:
    text = (out / "margins-over-alpha" / "margins-over-alpha.html").read_text()
    return BeautifulSoup(text, "html.parser")


def test_verdicts_stand_at_their_points_and_what_is_missing_is_named(soup):
    rows = [[cell.text for cell in row.find_all(["th", "td"])] for row in soup.find_all("tr")]
    assert rows == [
        ["alpha", "icl.shift", "report"],
        ["0.4", "✓ agrees", "margins-alpha=0.4"],
        ["0.6", "✗ disagrees", "margins-alpha=0.6"],
        ["0.9", "did not finish"],
    ]
    links = [link["href"] for link in soup.select("table a")]
    assert links == [f"../margins-alpha%3D{at}/margins-alpha%3D{at}.html" for at in (0.4, 0.6)]


def test_the_same_figure_of_all_points_stands_side_by_side_inside_the_file(soup):
    shown = [
        (row.find_previous("h2").text, [each.text.strip() for each in row.find_all("figcaption")])
        for row in soup.select(".side-by-side")
    ]
    each = "Margins over training."
    assert shown == [
        ("Margins x", [f"alpha = 0.4 {each}", f"alpha = 0.6 {each}"]),
        ("Margins x", ["alpha = 0.6 Figure: Margins x"]),
    ]
    assert len(soup.find_all("h2")) == 2  # one heading for both, and that of the verdicts
    words = [image["alt"] for image in soup.find_all("img")]
    assert words[0] == "alpha = 0.4: Margins over training: from 0 to 1."
    assert {image["src"][:22] for image in soup.find_all("img")} == {"data:image/png;base64,"}
    assert not soup.find_all(["script", "link"])


def test_each_parameter_of_a_grid_has_a_column_before_those_of_the_claims(out, tmp_path):
    """Also where pages are older, and say neither their study nor what stood above a figure."""
    notebook = str(out.parent / "margins.ipynb")
    pages = plan([notebook], grid={"alpha": "0.4,0.6", "beta": "1,2"})
    known = json.loads((out / "margins-alpha=0.4" / "page.json").read_text())
    for at, page in enumerate(pages[:3]):
        (tmp_path / page.name).mkdir()
        (tmp_path / page.name / "figure-1.png").write_bytes(b"")
        claims = [
            {**known["verdicts"][0], "claim": claim} for claim in ("one", "two")[: 1 + at % 2]
        ]
        figures = [{"file": "figure-1.png", "alt": "Margins."}]
        record = {**known, "parameters": page.parameters, "verdicts": claims, "figures": figures}
        del record["study"]
        (tmp_path / page.name / "page.json").write_text(json.dumps(record))
    (tmp_path / "all").mkdir()
    assert grid.join("all", pages, tmp_path, tmp_path / "all")
    soup = BeautifulSoup((tmp_path / "all" / "all.html").read_text(), "html.parser")
    head, *rows = soup.select("table tr")
    assert [(each.text, each["scope"]) for each in head.find_all("th")] == [
        (name, "col") for name in ("alpha", "beta", "one", "two", "report")
    ]
    assert [[each.text for each in row.find_all(["th", "td"])][:-1] for row in rows] == [
        ["0.4", "1", "✓ agrees", "–"],
        ["0.4", "2", "✓ agrees", "✓ agrees"],
        ["0.6", "1", "✓ agrees", "–"],
        ["0.6", "2"],
    ]
    assert {each["scope"] for row in rows for each in row.find_all("th")} == {"row"}
    assert [each.text for each in soup.find_all("h2")] == ["Verdicts", "Figure 1"]
    record = json.loads((tmp_path / "all" / "page.json").read_text())
    assert record["axes"] == {"alpha": [0.4, 0.6], "beta": [1, 2]}
    assert record["study"] is None


def test_joined_tables_say_from_which_point_each_row_is(out):
    table = results.read(out / "margins-over-alpha" / "margins.parquet")
    expected = pd.DataFrame({"page.alpha": [0.4, 0.4, 0.6, 0.6], "value": [0.4, 2.0, 0.6, 2.0]})
    assert table[["page.alpha", "value"]].equals(expected)


def test_the_index_lists_the_joined_page_and_counts_no_verdict_twice(out):
    soup = BeautifulSoup((out / "index.html").read_text(), "html.parser")
    assert "Claims tested so far: ✓ 1 agrees, ✗ 1 disagrees." in soup.text
    (card,) = [card for card in soup.select(".card") if "Joins" in card.text]
    (link,) = card.select("h2 a")
    assert link["href"] == "margins-over-alpha/margins-over-alpha.html"
    assert link.text == "Margins x, over alpha"
    assert "Joins 3 pages: alpha = 0.4; alpha = 0.6; alpha = 0.9 (did not finish)." in card.text
    assert "executed notebook" not in card.text
    assert all((out / unquote(str(link["href"]))).is_file() for link in soup.select("a"))
    record = json.loads((out / "margins-over-alpha" / "page.json").read_text())
    assert record["parameters"] == {"alpha": "0.4, 0.6, 0.9", "beta": 3}


def test_a_page_of_other_parameters_is_not_joined(out, tmp_path):
    """What fails must not be stood in for by what an earlier request made of it."""
    notebook = str(out.parent / "margins.ipynb")
    grids = {"alpha": "0.4,0.6"}
    assert grid.join("all", plan([notebook], {"beta": 3}, grid=grids), out, tmp_path)
    (tmp_path / "other").mkdir()
    other = plan([notebook], {"beta": 4}, grid=grids)
    assert not grid.join("all", other, out, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


def test_one_point_alone_is_not_joined(out):
    notebook = str(out.parent / "margins.ipynb")
    assert joined(plan([notebook], grid={"alpha": "1"})) == {}
    assert list(joined(plan([notebook], grid={"alpha": "1", "beta": "1,2"}))) == [
        "margins-over-alpha-beta"
    ]


def test_a_page_made_before_figures_had_titles_is_joined_under_their_words(out, tmp_path):
    pages = plan([str(out.parent / "margins.ipynb")], {"beta": 3}, grid={"alpha": "0.4,0.6"})
    shutil.copytree(out, tmp_path / "old")
    for path in (tmp_path / "old").glob("margins-alpha=*/page.json"):
        old = json.loads(path.read_text())
        old["figures"] = [{key: its[key] for key in ("file", "alt")} for its in old["figures"]]
        path.write_text(json.dumps(old))
    (tmp_path / "joined").mkdir()
    assert grid.join("all", pages, tmp_path / "old", tmp_path / "joined")
    text = (tmp_path / "joined" / "all.html").read_text()
    soup = BeautifulSoup(text, "html.parser")
    assert [heading.text for heading in soup.find_all("h2")] == ["Verdicts", "Figure 1", "Figure 2"]
    captions = [caption.text for caption in soup.find_all("figcaption")]
    assert captions[0] == "alpha = 0.4 Margins over training: from 0 to 1."
