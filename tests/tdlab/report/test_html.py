import re
from base64 import b64encode

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tdlab.mathml import mathml, typeset
from tdlab.report import html

PNG = b64encode(b"\x89PNG a picture").decode()
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="1"/></svg>'
MATHS = r"""# The margin is $y f = 2c - 1$

Inline $\alpha_i = \mathrm{softmax}(p_i^\top W p_{l+1})$ and \\(c < \frac{1}{2}\\), then

$$ \mathbb{E}[y f] = \begin{cases} 2c - 1 & t > 0 \\ 0 & \text{else} \end{cases} $$

\begin{align} a &= b \label{eq:one} \\ c &= d \end{align}
"""
FOREIGN = """See [the paper](https://arxiv.org/abs/2402.15607), <https://example.org/bare> and
[below](#below). ![tracked](https://example.org/pixel.png)
<script>alert(1)</script><img src="//example.org/x.png" onerror="alert(2)">
"""
FOREIGN_OUTPUT = """<style>@import url("https://e.org/a.css"); p {color: url(//e.org/b)}</style>
<link rel="stylesheet" href="https://example.org/c.css"><iframe src="https://e.org"></iframe>
<table><tr><td onclick="x()">wide</td></tr></table><a href="javascript:alert(3)">run</a>"""


def shown(**data):
    return new_output("display_data", data)


@pytest.fixture(scope="module")
def soup(tmp_path_factory):
    figure, described = shown(**{"image/png": PNG, "text/plain": "<Figure>"}), shown()
    described.data, described.metadata = {"image/png": PNG}, {"alt": "risk against step"}
    outputs = [
        figure,
        described,
        shown(**{"image/svg+xml": SVG}),
        shown(**{"text/latex": r"$\displaystyle \hat{\mu} = \sum_i p_i$"}),
        shown(**{"text/html": FOREIGN_OUTPUT, "text/plain": "table"}),
        shown(**{"application/javascript": "alert(4)"}),
        shown(**{"text/markdown": "found $c = 0.9$"}),
        new_output("stream", name="stdout", text="margin 0.8\n"),
        new_output("stream", name="stderr", text="SomeWarning: noise\n"),
        new_output("stream", name="stderr", text="training 9 runs\n"),
        new_output("stream", name="stdout", text="margin 0.9\n"),
    ]
    cells = [new_markdown_cell(MATHS), new_markdown_cell(FOREIGN)]
    cells += [new_code_cell("risk = 1 < 2", outputs=outputs), new_markdown_cell(r"Bad: $\foo{x}$")]
    text = html.page(
        new_notebook(cells=cells), {"parameters": "alpha = 0.4"}, tmp_path_factory.mktemp("empty")
    )
    return BeautifulSoup(text, "html.parser")


def test_nothing_runs_and_nothing_refers_to_another_host(soup):
    assert not soup.find_all(["script", "link", "iframe", "object", "embed"])
    for tag in soup.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on")]
        for name, value in tag.attrs.items():
            if not str(value).startswith("data:"):
                assert not re.search(r"//|javascript:", str(value)), f"{tag.name} {name}={value}"
    assert not re.search(r"@import|url\((?!data:)", "".join(map(str, soup.find_all("style"))))


def test_a_link_to_a_paper_is_spelled_out_and_one_within_the_page_stays(soup):
    assert "the paper (https://arxiv.org/abs/2402.15607), https://example.org/bare" in soup.text
    assert soup.find("a", href="#below")
    assert "[not embedded: tracked]" in soup.text
    assert "[not shown: application/javascript]" in soup.text


def test_every_formula_is_mathml_without_a_backslash_or_an_ampersand_left(soup):
    formulas = soup.find_all("math")
    assert len(formulas) == 7  # heading, two inline, two blocks, one output each of latex, markdown
    assert not [formula for formula in formulas if re.search(r"[\\&$]", formula.text)]
    assert len(soup.find_all("math", display="block")) == 3
    assert len(soup.find_all("mtable")) == 2
    assert soup.title.text == "The margin is yf=2c−1"


def test_a_faulty_formula_is_shown_as_such(soup):
    (bad,) = soup.find_all("code", class_="bad-maths")
    assert bad.text == r"\foo{x}"
    assert "unknown: \\foo" in bad["title"]


@pytest.mark.parametrize(
    ("tex", "same"),
    [
        (
            r"\begin{aligned} a &= b \\ c &= d \end{aligned}",
            r"\begin{align*} a &= b \\ c &= d \end{align*}",
        ),
        (r"\begin{aligned}[t] a &= b \end{aligned}", r"\begin{align*} a &= b \end{align*}"),
        (r"\begin{alignedat}{2} a &= b \end{alignedat}", r"\begin{align*} a &= b \end{align*}"),
        (r"\begin{eqnarray} a &=& b \end{eqnarray}", r"\begin{align*} a &=& b \end{align*}"),
        (
            r"\left\{ \begin{aligned} a \end{aligned} \right.",
            r"\left\{ \begin{align*} a \end{align*} \right.",
        ),
        (r"\lbrace x \rbrace", r"\{ x \}"),
        ("a &lt; b", "a < b"),
        (r"\begin{matrix} a &amp; b \end{matrix}", r"\begin{matrix} a & b \end{matrix}"),
    ],
)
def test_what_means_the_same_is_typeset_the_same(tex, same):
    assert typeset(tex) == typeset(same)


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"\text{5 \% of R\&D, a\_b}", "5\xa0%\xa0of\xa0R&D,\xa0a_b"),
        (r"\text{if a < b}", "if\xa0a\xa0<\xa0b"),
        (r"\begin{cases} 1 & \text{a & b} \\ 0 & x < 1 \end{cases}", "{1a\xa0&\xa0b0x<1"),
    ],
)
def test_words_in_a_formula_may_hold_any_sign(tex, text):
    assert BeautifulSoup(typeset(tex), "html.parser").text == text


@pytest.mark.parametrize(
    "tex", [r"\frac{1", "x_", "a & b", "}", r"\begin{aligned} a", r"\left(", ""]
)
def test_a_formula_that_would_come_out_damaged_is_refused(tex):
    with pytest.raises(ValueError, match="not a formula"):
        typeset(tex)
    assert "bad-maths" in mathml(tex)


def test_figures_are_embedded_and_say_what_they_show(soup):
    pictures = [(image["src"][:22], image["alt"]) for image in soup.find_all("img")]
    assert pictures == [
        ("data:image/png;base64,", "Figure: The margin is yf=2c−1"),
        ("data:image/png;base64,", "risk against step"),
        ("data:image/svg+xml;bas", "Figure: The margin is yf=2c−1"),
    ]


def test_code_and_messages_are_folded_away_and_outputs_are_not(soup):
    folded = " ".join(tag.text for tag in soup.find_all("details"))
    assert "risk" in folded
    assert "SomeWarning" in folded
    assert "margin 0.8" not in folded
    (messages,) = soup.find_all("details", class_="messages")  # printed in two pieces
    assert messages.find("pre").text == "SomeWarning: noise\ntraining 9 runs\n"
    assert "margin 0.8" in soup.text


def test_a_wide_table_scrolls_in_a_box_of_its_own(soup):
    assert soup.find("table").parent["class"] == ["scroll"]


def test_what_scrolls_can_be_reached_by_the_keyboard_and_has_a_name(soup):
    boxes = soup.select(".scroll, .maths")
    assert {(box["tabindex"], box["role"], box["aria-label"]) for box in boxes} == {
        ("0", "group", "table"),
        ("0", "group", "formula"),
        ("0", "group", "figure"),
    }
    assert soup.find("pre", string="margin 0.8\n")["tabindex"] == "0"
    assert "tabindex" not in soup.select_one(".highlight pre").attrs  # code is broken into lines


def test_below_its_title_a_page_says_how_it_was_made(soup):
    facts = soup.find("dl", class_="facts")
    assert "alpha = 0.4" in facts.text
    assert facts.find_previous_sibling().name == "h1"


def test_a_page_without_a_title_says_so_at_its_top(tmp_path):
    notebook = new_notebook(cells=[new_markdown_cell("## Smaller")])
    page = BeautifulSoup(html.page(notebook, {"commit": "x"}, tmp_path), "html.parser")
    assert [each.name for each in page.find_all(["dl", "h2"])] == ["dl", "h2"]


def test_what_cannot_be_embedded_is_named_by_its_address_where_it_has_no_words(tmp_path):
    output = shown(**{"text/html": '<img src="https://e.org/a.png">'})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[output])])
    page = BeautifulSoup(html.page(notebook, {"commit": "x"}, tmp_path), "html.parser")
    assert "[not embedded: https://e.org/a.png]" in page.text


def test_a_heading_inside_a_code_fence_is_no_title():
    notebook = new_notebook(cells=[new_markdown_cell("```\n# no\n```\n## Yes *it is* ##")])
    assert html.title(notebook) == "Yes *it is*"
    assert html.bare(html.title(notebook)) == "Yes it is"
