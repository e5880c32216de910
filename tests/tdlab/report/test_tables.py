"""Tables that say which of their cells head what."""

from bs4 import BeautifulSoup

from tdlab.report.tables import legible


def made(table: str) -> BeautifulSoup:
    soup = BeautifulSoup(f"<table>{table}</table>", "html.parser")
    legible(soup)
    return soup


def scopes(soup: BeautifulSoup) -> dict[str, str]:
    return {each.text: str(each["scope"]) for each in soup.find_all("th")}


def test_headers_of_a_data_frame_head_columns_in_its_head_and_rows_below():
    soup = made(
        "<thead><tr><th></th><th>a</th></tr><tr><th>claim</th><th>&nbsp;</th></tr></thead>"
        "<tbody><tr><th>one</th><td>1</td></tr></tbody>"
    )
    assert scopes(soup) == {"a": "col", "claim": "col", "one": "row"}
    assert [each.attrs for each in soup.select("thead td")] == [{}, {}]  # nothing is headed by it


def test_without_a_head_a_row_of_headers_heads_columns_even_if_one_is_empty():
    soup = made("<tr><th></th><th>a</th><th></th></tr><tr><th>b</th><td>1</td><td>2</td></tr>")
    assert scopes(soup) == {"a": "col", "b": "row"}


def test_numbers_are_not_broken_and_paper_knows_how_many_columns_there_are():
    cells = ["0.25", "-1.5e-03", "1,200", "50 %", "nan", "0.1 [0, 0.2]", "3 runs", ""]
    row = "".join(f'<td class="data">{each}</td>' for each in cells)
    soup = made(f'<tr>{row}</tr><tr><td style="color: red">7</td></tr>')
    assert [each.text for each in soup.select("td.number")] == [*cells[:4], "7"]
    assert len(soup.select("td.data")) == len(cells)
    assert [each["style"] for each in soup.select("table, td[style]")] == [
        "--columns: 8",
        "color: red",
    ]


def test_what_a_header_says_itself_stays():
    assert scopes(made('<tr><th scope="rowgroup">a</th><th>b</th></tr>')) == {
        "a": "rowgroup",
        "b": "col",
    }
