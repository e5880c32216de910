"""Pictures of a step draw the tables they are given, on axes that are the same at every step."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tdlab.figures.exploration import in_words, moment, moments
from tdlab.results import tidy

STEPS = (0, 3, 9)
HEADS = ("head 1",)
SEVERAL = ("layer 1, head 1", "layer 1, head 2")


def attention(heads: Any = HEADS, columns: int = 4, *, marked: bool = True) -> pd.DataFrame:
    """Uniform at first; then all the more on column 2, the only relevant one."""
    shape = (len(STEPS), len(heads), columns)
    values = np.full(shape, 1 / columns)
    for place, step in enumerate(STEPS):
        values[place, :, 1] += step / 20
    axes = {"step": STEPS, "head": heads, "column": range(1, columns + 1)}
    table = tidy(
        "attention", values, "step head column", source="measured", run="r", seed=0, **axes
    )
    return table.assign(relevant=(table.column == 2) if marked else None)


def curve(quantity: str, values: Any, axes: str = "step", **places: Any) -> pd.DataFrame:
    return tidy(quantity, values, axes, source="measured", run="r", seed=0, **places)


def loss() -> pd.DataFrame:
    return curve("loss", 1 / (1 + np.arange(9.0)), step=range(9), kind="token_squared")


def concentration(heads: Any = HEADS) -> pd.DataFrame:
    values = np.array(
        [[0.25 + 0.1 * head + step / 20 for head in range(len(heads))] for step in STEPS]
    )
    return curve("concentration", values, "step head", step=STEPS, head=heads)


def neurons() -> pd.DataFrame:
    """Two neurons that turn to 10 and 20 degrees and grow."""
    tables = []
    for part, factor in (("feature", 1), ("label", 2)):
        for quantity, start, end in (("angle", 90, [10, 20]), ("norm", 0.1, [0.5, 1.0])):
            ways = np.linspace(0, 1, len(STEPS))[:, None]
            values = start * (1 - ways) + np.array(end)[None] * ways * factor
            its = curve(quantity, values, "step neuron", step=STEPS, neuron=range(2), part=part)
            tables.append(its.assign(sign=np.tile([1.0, -1.0], len(STEPS))))
    return pd.concat(tables, ignore_index=True)


def everything() -> dict[str, pd.DataFrame]:
    tables = {"loss": loss(), "attention": attention(), "concentration": concentration()}
    return tables | {"neurons": neurons()}


def panel(figure: Any, name: str) -> Any:
    return next(ax for ax in figure.axes if ax.get_label() == name)


def cursors(ax: Any) -> list[float]:
    return [
        line.get_xdata()[0]
        for line in ax.lines
        if len(set(line.get_xdata())) == 1 < len(line.get_xdata())
    ]


def test_bars_are_attention_at_that_step_and_relevant_columns_stand_out():
    for place, step in enumerate(STEPS):
        ax = panel(moment(everything(), step), "attention")
        heights = [bar.get_height() for bar in ax.patches]
        assert heights == pytest.approx([0.25, 0.25 + STEPS[place] / 20, 0.25, 0.25])
        colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
        assert len(set(colours)) == 2
        assert colours[1] != colours[0] == colours[2] == colours[3]


def test_curves_are_those_of_the_tables_with_a_cursor_at_the_step():
    figure = moment(everything(), 3)
    for name, table in (("loss", loss()), ("concentration", concentration())):
        ax = panel(figure, name)
        drawn = ax.lines[0].get_xydata()
        np.testing.assert_allclose(drawn, table[["step", "value"]].to_numpy(dtype=float))
        assert cursors(ax) == [3]
        dot = ax.lines[1].get_xydata().tolist()
        assert dot == [pytest.approx([3, table[table.step == 3].value.iloc[0]])]


def test_after_the_last_update_the_cursor_has_the_last_loss():
    assert panel(moment(everything(), 9), "loss").lines[1].get_xydata().tolist() == [
        pytest.approx([8, 1 / 9])
    ]


def test_every_neuron_is_a_point_of_angle_and_norm_coloured_by_its_sign():
    figure = moment(everything(), 9)
    (feature,), (label,) = (panel(figure, part).collections for part in ("feature", "label"))
    np.testing.assert_allclose(feature.get_offsets(), [[10, 0.5], [20, 1.0]])
    np.testing.assert_allclose(label.get_offsets(), [[20, 1.0], [40, 2.0]])
    assert len({to_hex(colour) for colour in feature.get_facecolors()}) == 2
    (theory,) = panel(figure, "feature").lines
    assert theory.get_linestyle() == "--"
    assert set(theory.get_xdata()) == {0}


def test_axes_are_the_same_at_every_step():
    limits = [
        [(ax.get_label(), ax.get_xlim(), ax.get_ylim()) for ax in moment(everything(), step).axes]
        for step in STEPS
    ]
    assert limits[0] == limits[1] == limits[2]


def test_several_heads_are_a_map_with_relevant_columns_marked_above_it():
    tables = {
        "loss": loss(),
        "attention": attention(SEVERAL),
        "concentration": concentration(SEVERAL),
    }
    figure = moment(tables, 9)
    ax = panel(figure, "attention")
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.25, 0.7, 0.25, 0.25]] * 2)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(SEVERAL)
    assert ax.lines[0].get_xdata().tolist() == [2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "relevant column",
        *SEVERAL,
    ]
    assert len({line.get_color() for line in panel(figure, "concentration").lines[:4:2]}) == 2


def test_a_long_prompt_is_a_map_too():
    ax = panel(moment({"loss": loss(), "attention": attention(columns=65)}, 3), "attention")
    assert ax.images[0].get_array().shape == (1, 65)
    assert not ax.patches


def test_small_multiples_show_the_same_at_each_step_and_mark_them_on_the_curves():
    figure = moments(everything(), (0, 9))
    for step in (0, 9):
        one = moment(everything(), step)
        bars = [
            [b.get_height() for b in panel(f, n).patches]
            for f, n in ((one, "attention"), (figure, f"attention {step}"))
        ]
        assert bars[0] == bars[1]
        points = [
            panel(f, n).collections[0].get_offsets()
            for f, n in ((one, "feature"), (figure, f"feature {step}"))
        ]
        np.testing.assert_array_equal(*points)
    assert cursors(panel(figure, "loss")) == [0, 9]


def test_what_there_is_not_takes_no_room():
    bare = {"loss": loss().iloc[:0], "attention": attention(marked=False)}
    for figure in (moment(bare, 3), moments(bare, STEPS)):
        assert {str(ax.get_label()).split()[0] for ax in figure.axes} == {"attention"}
        assert not figure.legends


def test_words_say_what_the_picture_shows():
    assert in_words(everything(), 3) == (
        "Step 3 of 9; token squared loss 0.25; mean concentration 0.4; "
        "in this prompt 0.4 of the attention on the 1 relevant of 4 columns."
    )
    assert in_words({"loss": loss(), "attention": attention(marked=False)}, 9) == (
        "Step 9 of 9; token squared loss 0.111 at step 8."
    )
    assert moment(everything(), 3).alt.endswith(f"curves. {in_words(everything(), 3)}")
