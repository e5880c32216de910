"""What the figures of probes show is read back off them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.contour import QuadContourSet

from tdlab.figures import probes as figures
from tdlab.results import tidy

MODELS = ("one", "another")
HEADS = {name: np.arange(6).reshape(2, 3) / 10 + 0.01 * (name == "one") for name in MODELS}


def heads() -> pd.DataFrame:
    """Layers and heads out of order: a place is found by its number."""
    where: dict[str, Any] = {"source": "measured", "layer": (2, 1), "head": (3, 1, 2)}
    return pd.concat(
        tidy(quantity, factor * HEADS[name], "layer head", model=name, **where)
        for quantity, factor in (("concentration", 1.0), ("change", 2.0))
        for name in MODELS
    )


def slices() -> pd.DataFrame:
    at = (-1.0, 0.0, 1.0)
    surface = np.add.outer(np.array(at) ** 2, 2 * np.array(at) ** 2)
    return pd.concat(
        tidy("change", surface, "y x", source="measured", y=at, x=at, model=name) for name in MODELS
    )


def test_each_head_stands_in_its_layers_row_by_quantity_and_model():
    figure = figures.heads(heads())
    axes = np.array(figure.axes).reshape(2, 2)
    for row, factor in zip(axes, (100, 200), strict=True):
        for ax, name in zip(row, MODELS, strict=True):
            assert ax.get_title() == name
            shown = [text.get_text() for text in ax.texts]
            placed = HEADS[name][::-1][:, [1, 2, 0]]
            assert shown == [f"{factor * value:.0f}%" for value in placed.flatten()]
    assert "on tokens of its kind" in axes[0, 0].get_xlabel()
    assert "when the head is pruned" in axes[1, 0].get_xlabel()


def test_a_slice_is_a_panel_a_model_with_a_star_where_it_is_now():
    figure = figures.slices(slices())
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == list(MODELS)
    for ax in panels:
        (star,) = ax.lines
        assert star.get_marker() == "*"
        assert np.array(star.get_xydata()).tolist() == [[0, 0]]
        assert ax.get_xlim() == pytest.approx((-1, 1))
        # From the star the surface rises by 1 along y and by 2 along x.
        (filled,) = (each for each in ax.collections if isinstance(each, QuadContourSet))
        level, lowest = list(filled.levels)[1], np.abs(filled.get_paths()[0].vertices)
        assert lowest.max(axis=0) == pytest.approx([level / 2, level])


@pytest.mark.parametrize("figure", [figures.heads(heads()), figures.slices(slices())])
def test_a_figure_can_be_read_aloud(figure):
    assert str(figure.get_label()).endswith(".")
