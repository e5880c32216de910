"""What all figures have in common: words with numbers, labels, two kinds of file, and colours."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from tdlab.figures import icl_scaling, probes
from tdlab.figures.style import grid, plain, svg
from tdlab.figures.words import LIMIT
from tests.tdlab.figures import test_cot as cot
from tests.tdlab.figures import test_icl as icl
from tests.tdlab.figures import test_icl_scaling as scaling
from tests.tdlab.figures import test_kernels as kernels
from tests.tdlab.figures import test_multilayer as multilayer
from tests.tdlab.figures import test_probes as of_probes
from tests.tdlab.figures import test_small as claims

OTHERS: list[tuple[Any, Any]] = [
    (icl_scaling.rates, scaling.rates),
    (icl_scaling.test_lengths, scaling.lengths),
    (icl_scaling.training_lengths, scaling.training_lengths),
    (icl_scaling.batches, scaling.batches),
    (probes.heads, of_probes.heads),
    (probes.slices, of_probes.slices),
]


def drawn(draw: Callable[[pd.DataFrame], Figure], table: Callable[[], pd.DataFrame]) -> Figure:
    return draw(table())


def small(claim: str) -> Figure:
    figure: Any = claims.alone(claim).figure
    return figure


# Every figure function, by study and name, drawn from the planted tables of its own tests.
FIGURES: dict[str, Callable[[], Figure]] = {
    **{f"icl {name}": partial(icl.draw, name) for name in icl.DRAWN},
    **{f"cot {name}": partial(cot.draw, name) for name in cot.DRAWN},
    **{f"kernels {name}": partial(kernels.draw, name) for name in kernels.DRAWN},
    **{f"multilayer {name}": partial(multilayer.drawn, name) for name in multilayer.DRAWN},
    **{f"{draw.__module__} {draw.__name__}": partial(drawn, draw, t) for draw, t in OTHERS},
    **{f"small {claim}": partial(small, claim) for claim in claims.CLAIMS},
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_told_in_numbers_has_labels_and_colours_and_two_kinds_of_file(name):
    figure: Any = FIGURES[name]()
    with quickly(figure):
        data, metadata = figure._repr_mimebundle_(include=None, exclude=None)
    assert metadata["image/png"] == metadata["image/svg+xml"]
    assert_told(**metadata["image/png"])
    assert_labelled(figure)
    assert_told_apart(figure)
    pixels = imread(BytesIO(data["image/png"]))
    assert pixels.shape[:2] == tuple(int(n) for n in figure.bbox.size[::-1])
    assert pixels[..., :3].std() > 0.01  # something is on it
    tree = ElementTree.fromstring(data["image/svg+xml"])
    kinds = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert {"svg", "path"} <= kinds
    assert not {"text", "date"} & kinds  # no font, and no time, of this machine


@contextmanager
def quickly(figure: Any) -> Iterator[None]:
    """Draws a small picture without its ticks, which take most of the time."""
    figure.set_layout_engine("none")
    figure.set_dpi(30)
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    for axis in axes:
        axis.set_visible(False)
    yield
    for axis in axes:
        axis.set_visible(True)


def assert_told(title: str, alt: str) -> None:
    assert title.endswith(".")
    assert alt.startswith(f"{title} ")
    finding = alt.removeprefix(title)
    assert re.search(r"\d", finding)
    assert not re.search(r"[$\\\n]|nan|\bNone\b|  | [.,;:]", finding)
    assert len(alt) <= LIMIT


def assert_labelled(figure: Figure) -> None:
    for ax in figure.axes:
        place: Any = ax.get_subplotspec()
        words = [label.get_text() for label in ax.get_yticklabels()]
        bar = place is None or ax.get_label() == "<colorbar>"
        assert ax.get_xlabel() or bar or not place.is_last_row()
        assert ax.get_ylabel() or bar or any(words) or not place.is_first_col()
        assert ax.get_xlabel() or ax.get_ylabel() or not bar


def test_one_figure_is_always_the_same_svg_with_its_title():
    one, other = (svg(icl.figures.risk(icl.dynamics())) for _ in range(2))
    assert one == other
    title = ElementTree.fromstring(one).find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == icl.figures.risk.__doc__


def test_any_figure_of_ours_is_saved_as_any_other_is(tmp_path):
    figure = icl.draw("risk")
    figure.savefig(tmp_path / "x.svg")
    assert ElementTree.parse(tmp_path / "x.svg").getroot().tag.endswith("svg")


def test_an_axis_of_few_decades_is_counted_in_plain_numbers_and_one_of_many_in_powers():
    _, ((few, many),) = grid(1, 2)
    for ax, low in ((few, 0.02), (many, 1e-9)):
        ax.plot([1, 2], [low, 1])
        ax.set_yscale("log")
        plain(ax.yaxis)
    assert few.yaxis.get_major_formatter()(0.05) == "0.05"
    assert "10^" in many.yaxis.get_major_formatter()(1e-5)


# Colours, to who has two kinds of cone: Machado et al. 2009, severity 1.

CONES = {
    "all": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
APART = 20  # in CIELAB, where 2.3 can just be seen


def seen(colour: Any, cones: str) -> np.ndarray:
    """A colour in CIELAB."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    white = TO_XYZ.sum(axis=1)
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ np.clip(CONES[cones] @ linear, 0, 1) / white, 0.009))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def named_colours(figure: Figure) -> dict[str, Any]:
    """What each legend calls a colour; not what is dashed, which nothing else is."""
    pairs = [
        (text.get_text(), handle)
        for legend in figure.legends
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    ]
    its: list[tuple[str, Any]] = pairs
    return {name: handle.get_color() for name, handle in its if not handle.is_dashed()}


def assert_told_apart(figure: Figure) -> None:
    colours = named_colours(figure)
    assert [
        (one, other, cones)
        for one, other in combinations(colours, 2)
        for cones in CONES
        if np.linalg.norm(seen(colours[one], cones) - seen(colours[other], cones)) < APART
    ] == []
