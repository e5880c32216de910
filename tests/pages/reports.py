"""A small folder of reports: a summary, a grid of two parameters, a wide page, one that failed.

What a kernel would have put out is put in its place; all that makes pages of it is the real thing.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tdlab import results
from tdlab.claims import verdicts
from tdlab.report import publish
from tdlab.report.execution import CellFailed
from tdlab.report.pages import plan
from tdlab.scorecard import page as scorecard
from tests.tdlab.scorecard.cards import FINDINGS, FOUND, claim

MATHS = r"""# How a formula with a raw & and $\alpha < \beta$ is shown

Inline $\alpha_i = \mathrm{softmax}_i(p_i^\top W p_{l+1})$, and a table, a case and a wide one:

\begin{align} a &= b + \tfrac{1}{2} \label{eq:one} \\ c &\le \text{5 \% of all} \end{align}

$$ \mathbb{E}[y f] = \begin{cases} 2c - 1 & t > 0 \\ 0 & \text{else} \end{cases} $$

$$ F(P) = a^\top \mathrm{relu}\Big( W_O \sum_{i=1}^{l} W_V p_i\,
\mathrm{softmax}_i\big((W_K p_i)^\top (W_Q p_{query})\big) \Big)
+ b^\top \mathrm{relu}\Big( W_O \sum_{j=1}^{l} W_V p_j \Big) + c_{total} $$
"""
CODE = "from tdlab import results  # a comment\n\nfound = results.keep('a', [1.5, 'word', None])"


def made(folder: Path) -> Path:
    """The folder with all pages in it."""
    notebooks = {
        "scorecard": _notebook("# What the papers say", ("front", True), None),
        "icl_dynamics": _notebook(MATHS, ("study", "icl"), "alpha: float = 0.2\nbeta: int = 1"),
        "wide": _notebook("# A page of wide things", ("study", "kernels"), "alpha: float = 0.5"),
        "broken": _notebook("# Never finished", ("study", "cot"), "alpha: float = 0.7"),
    }
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    of = {name: str(folder / f"{name}.ipynb") for name in notebooks}
    grid = plan([of["icl_dynamics"]], grid={"alpha": "0.2,0.4", "beta": "1,2"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "execute", _put_out)
        patch.setattr(scorecard, "small", lambda name, _: _figure(f"{name} falls below its bound."))
        pages = [*plan([of["icl_dynamics"], of["scorecard"], of["wide"], of["broken"]]), *grid]
        failures = publish.run(pages, folder / "out")
    assert len(failures) == 2
    return folder / "out"


def _notebook(text: str, said: tuple[str, object], parameters: str | None) -> NotebookNode:
    cells = [new_markdown_cell(text), new_code_cell(CODE)]
    if parameters:  # the summary has neither these nor a second heading
        cells[1:1] = [
            new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            new_markdown_cell("## What was found\n\nAs [it](https://example.org/abs) says."),
        ]
    return new_notebook(cells=cells, metadata={"tdlab": dict([said])})


def _put_out(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, object],
    *,
    keep: Path,
    timeout: float,
    on_cell: Callable[[int, int], None],
) -> None:
    """What executing the notebook would have come to."""
    executed = nbformat.read(notebook, as_version=4)
    fails = notebook.stem == "broken" or parameters == {"alpha": 0.4, "beta": 2}
    if not fails:
        executed.cells[-1].outputs = _OUTPUTS[notebook.stem](keep)
    nbformat.write(executed, output)
    if fails:
        raise CellFailed("cell [1] `found`: ValueError: it is < 0")


def _summary(keep: Path) -> list[NotebookNode]:
    for name, table in FOUND.files().items():
        results.write(keep / f"{name}.parquet", table)
    return [_shown("text/html", scorecard.page(FOUND))]


def _curves(keep: Path) -> list[NotebookNode]:
    results.write(keep / "verdicts.parquet", FINDINGS_TABLE)
    return [
        _shown("text/html", verdicts.summary(FINDINGS_TABLE).to_html()),
        *(_pictured(f"The risk falls to {value} within the steps of theory.") for value in (1, 2)),
        _shown("text/latex", r"$\displaystyle \begin{aligned} \mu &= \sum_i p_i \end{aligned}$"),
        _shown("text/latex", r"\begin{equation} \ddot{x} + \omega^2 x = 0 \end{equation}"),
    ]


def _wide(keep: Path) -> list[NotebookNode]:
    columns = [f"a column with a long name {number}" for number in range(14)]
    table = pd.DataFrame(0.123456789, index=range(3), columns=columns)
    return [
        _shown("text/html", table.to_html()),
        new_output("stream", name="stdout", text=f"{table}\n{'a line without an end ' * 20}\n"),
        new_output("stream", name="stderr", text="SomeWarning: noise\n"),
        _shown("text/html", '<p>not there: <img src="https://example.org/pixel.png"></p>'),
        _pictured("One curve on a plane, drawn far wider than a screen of a phone.", inches=14),
    ]


def _shown(kind: str, data: str) -> NotebookNode:
    return new_output("display_data", {kind: data})


def _pictured(alt: str, inches: float = 4) -> NotebookNode:
    file = BytesIO()
    _figure(alt, inches).savefig(file, format="png")
    output = _shown("image/png", b64encode(file.getvalue()).decode())
    output.metadata = {"alt": alt}
    return output


def _figure(alt: str, inches: float = 4) -> Figure:
    figure = Figure(figsize=(inches, 2))
    figure.subplots().plot([3, 2, 1])
    figure.set_label(alt)
    return figure


FINDINGS_TABLE = verdicts.table([(claim("icl.one"), FINDINGS)], FOUND.cards["icl"].setting)
_OUTPUTS = {"scorecard": _summary, "icl_dynamics": _curves, "wide": _wide}
