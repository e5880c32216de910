"""An executed notebook as one HTML file that opens anywhere: pictures inside, maths as MathML."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

from tdlab.mathml import mathml
from tdlab.report.record import breakable, claims, decisive, facts, given, settings
from tdlab.report.sealing import seal
from tdlab.symbols import MARKS, in_symbols

_templates = Path(__file__).parent / "templates"
# In this order they are preferred: an SVG is as sharp on any screen and on paper.
_suffixes = {"image/svg+xml": ".svg", "image/png": ".png", "image/jpeg": ".jpg"}

# The first of these that an output offers is shown: a figure before its description.
_priority = [*_suffixes, "text/html", "text/latex", "text/markdown", "text/plain"]


def page(notebook: NotebookNode, facts: Mapping[str, str], folder: Path) -> str:
    """The notebook as HTML, with ``facts`` at its head; pictures in ``folder`` are embedded."""
    exporter = HTMLExporter(
        config=Config(NbConvertBase={"display_data_priority": _priority}),
        template_name="page",
        extra_template_basedirs=[str(_templates)],
        exclude_output_prompt=True,
    )
    exporter.register_filter("markdown2html", _markdown)
    exporter.register_filter("latex", _latex)
    head = {
        "title": bare(title(notebook)) or "tdlab report",
        "facts": dict(facts),
        "style": _style(),
    }
    resources = {"metadata": {"path": str(folder)}, "page": head}
    html, _ = exporter.from_notebook_node(_described(notebook), resources)
    return _title_first(seal(html))


def _title_first(html: str) -> str:
    """The page with its facts below its first heading of the first level, if it has one."""
    head, facts, rest = re.split(r'(<dl class="facts">.*?</dl>)', html, maxsplit=1, flags=re.DOTALL)
    title, end, text = rest.partition("</h1>")
    return f"{head}{title}{end}{facts}{text}" if end else html


def rendered(template: str, **values: object) -> str:
    """A document of ours that is made of records."""
    environment = Environment(
        loader=FileSystemLoader(_templates), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"claims": claims, "decisive": decisive}
    environment.filters |= {"given": given, "settings": settings}
    environment.filters |= {"markdown": _as_markup, "number": _number, "symbols": in_symbols}
    environment.filters["breakable"] = lambda name: Markup(breakable(name))
    shared = {"style": Markup(_style()), "facts": facts, "marks": MARKS}
    return environment.get_template(f"{template}.html.j2").render(**shared | values)


def _style() -> str:
    return (_templates / "style.css").read_text(encoding="utf-8")


def _as_markup(text: object) -> Markup:
    return Markup(inline(str(text)))


def _number(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def title(notebook: NotebookNode) -> str:
    """The first heading of the notebook, as Markdown; empty where it has none."""
    return next(_headings(notebook.cells), "")


def inline(markdown: str) -> str:
    """One line of Markdown, maths included, as sealed HTML without a paragraph around it."""
    html = MarkdownWithMath(renderer=_Renderer(escape=True)).render(markdown).strip()
    return seal(html.removeprefix("<p>").removesuffix("</p>"))


def bare(markdown: str) -> str:
    """One line of Markdown as text alone, for places that show no maths."""
    return BeautifulSoup(inline(markdown), "html.parser").get_text()


class Picture(NamedTuple):
    """A picture among the outputs of a notebook."""

    files: Mapping[str, bytes]  # what it is in each kind of file, by suffix; first the page's own
    alt: str  # what it shows, in words
    title: str  # what it is of, in short


def pictures(notebook: NotebookNode) -> list[Picture]:
    """Every picture among the outputs, in order."""
    found = []
    for cell in _described(notebook).cells:
        for output in cell.get("outputs", ()):
            if _picture(output):
                kinds = (kind for kind in _suffixes if kind in output.data)
                files = {_suffixes[kind]: _bytes(kind, output.data[kind]) for kind in kinds}
                found.append(Picture(files, output.metadata["alt"], output.metadata["title"]))
    return found


def headings(notebook: NotebookNode) -> list[str]:
    """For every picture among the outputs, in order, the heading above it, as Markdown."""
    heading, found = "", []
    for cell in notebook.cells:
        heading = [heading, *_headings([cell])][-1]
        shown = sum(bool(_picture(output)) for output in cell.get("outputs", ()))
        found += [heading] * shown
    return found


def _bytes(kind: str, data: str) -> bytes:
    return data.encode() if kind == "image/svg+xml" else b64decode(data)


def embedded(picture: Path) -> str:
    """A picture as an address that holds it."""
    kind = next(kind for kind, suffix in _suffixes.items() if suffix == picture.suffix)
    return f"data:{kind};base64,{b64encode(picture.read_bytes()).decode()}"


class _Renderer(IPythonRenderer):
    """Markdown whose formulas become MathML."""

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)


@pass_context
def _markdown(context: Context, source: str) -> str:
    """Do what the filter of this name in nbconvert does, with our renderer."""
    renderer = _Renderer(
        escape=False,
        attachments=context.get("cell", {}).get("attachments", {}),
        embed_images=True,
        exclude_anchor_links=True,
        path=context["resources"]["metadata"]["path"],
    )
    return MarkdownWithMath(renderer=renderer).render(source)


def _latex(tex: str) -> str:
    """An output of kind text/latex, with or without delimiters around the formula."""
    tex = tex.strip()
    for left, right in (("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)")):
        if tex.startswith(left) and tex.endswith(right) and len(tex) > len(left + right):
            return mathml(tex[len(left) : -len(right)], block=True)
    return mathml(tex, block=True)


def _headings(cells: list[NotebookNode]) -> Iterator[str]:
    for cell in cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"(?ms)^(```|~~~).*?^\1", "", cell.source)
            yield from re.findall(r"(?m)^ {0,3}#{1,6}[ \t]+(.+?)[ \t#]*$", prose)


def _picture(output: NotebookNode) -> str:
    """The kind of picture this output is shown as, or nothing."""
    return next((kind for kind in _suffixes if kind in output.get("data", {})), "")


def _joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """What a cell printed in pieces as one output: pieces of one stream that follow each other."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" and output.name == last.get("name"):
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def _described(notebook: NotebookNode) -> NotebookNode:
    """A copy in which every picture says what it shows: its own words, else the heading above.

    An output that needs a script, and offers nothing else, says so.

    Returns:
        A notebook to make HTML of.
    """
    described = deepcopy(notebook)
    heading = "this notebook"
    for cell in described.cells:
        heading = [heading, *_headings([cell])][-1]
        if cell.cell_type != "code":
            continue
        cell.outputs = _joined(cell.get("outputs", ()))
        for output in cell.outputs:
            if kind := _picture(output):
                said = {**output.metadata, **output.metadata.get(kind, {})}
                output.metadata["alt"] = said.get("alt") or f"Figure: {bare(heading)}"
                output.metadata["title"] = said.get("title") or output.metadata["alt"]
            elif output.get("data") and not set(_priority).intersection(output.data):
                output.data["text/plain"] = f"[not shown: {', '.join(output.data)}]"
    return described
