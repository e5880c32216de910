"""What is drawn is told in sentences that give its numbers, word by word."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.ticker import PercentFormatter

from tdlab.figures import icl, kernels, probes
from tdlab.figures.small import small
from tdlab.figures.style import THEORY, curves, grid, legend
from tdlab.figures.words import LIMIT, alt
from tests.tdlab.figures import test_probes
from tests.tdlab.figures.tables import icl as icl_tables
from tests.tdlab.figures.tables import kernels as kernel_tables
from tests.tdlab.figures.test_small import tables_of

SHADES = {"one": "red", "other": "blue"}


def told(figure: Any) -> str:
    figure.set_label("What it is.")
    text = alt(figure)
    assert text.startswith("What it is. ")
    return text.removeprefix("What it is. ")


@pytest.fixture
def panel() -> Any:
    figure, ((ax,),) = grid(1, 1)
    ax.set(xlabel="step", ylabel="loss")
    return figure, ax


def test_lines_lead_from_their_first_value_to_their_last_beside_the_theory():
    assert icl.risk(icl_tables.dynamics()).alt == (  # type: ignore[attr-defined]
        "Hinge risk and zero-one error on trained and unseen tasks over training."
        " Hinge risk against training step, 0 to 40: trained tasks up from 0.1 to 0.5,"
        " unseen tasks up from 0.12 to 0.52, theory 0.03."
        " Zero-one error: trained tasks up from 13 % to 53 %, unseen tasks up from 15 % to 55 %,"
        " theory 2 %. Dashed, the theory: to O(ε)."
    )


def test_points_are_told_by_the_median_at_each_word_of_an_axis():
    figure = small("icl.coverage", {"coverage": icl_tables.coverage()})
    assert told(figure) == (
        "Error on unseen tasks, a point a seed: nothing: 1 %; a pattern: 20 %; a label: 10 %;"
        " theory 0 %. Dashed, the theory: 0 where it leaves out nothing."
    )


def test_laws_beside_each_other_are_told_by_the_words_below_them():
    text = told(small("icl.prompt_length", tables_of("icl.prompt_length")))
    assert text == (
        "Needed l′ (leftmost: 1): hinge risk: 1/α′ × 5: our setting up from 1 to 4.25,"
        " nearer the theorem up from 1 to 4.25, theorem 1; error: 1/α′ × 5: our setting up from 1"
        " to 3.62, nearer the theorem up from 1 to 3.62, theorem 1."
    )


def test_estimates_are_told_by_category(panel):
    figure, ax = panel
    rows = pd.DataFrame(
        {"x": ["a", "b"] * 2, "y": [1.0, 2, 3, 4], "h": ["one"] * 2 + ["other"] * 2}
    )
    sns.pointplot(rows, x="x", y="y", hue="h", palette=SHADES, dodge=True, linestyle="none", ax=ax)
    legend(figure, ax)
    ax.get_legend().remove()
    assert told(figure) == "Loss: a: one 1, other 3; b: one 2, other 4."


def test_a_map_is_told_by_its_least_and_its_largest_field():
    figure = probes.heads(test_probes.heads())
    assert told(figure).startswith(
        "One: attention of the last token on tokens of its kind: from 1% to 51%"
        " (most at layer 1, head 2). Another: attention of the last token"
    )


def test_a_surface_is_told_by_its_range_in_the_words_of_its_bar():
    assert told(probes.slices(test_probes.slices())) == (
        "One: how far the answer moves: from 0 % to 300 %."
        " Another: how far the answer moves: from 0 % to 300 %."
    )
    assert "Gaussian: around its end: loss: from 0.0858" in told(
        kernels.surfaces(kernel_tables.surfaces())
    )


def test_bars_are_told_by_category(panel):
    figure, ax = panel
    ax.bar(["a", "b"], [1.0, 0.25], label="mass")
    assert told(figure) == "Loss: a: mass 1; b: mass 0.25."


def test_a_cloud_is_told_by_its_median(panel):
    figure, ax = panel
    ax.scatter([1, 2, 3], [5.0, 1.0, 2.0])
    assert told(figure) == "Loss: at a median of 2 (3 points)."


def test_numbers_in_categories_are_told_from_the_values_at_them(panel):
    figure, ax = panel
    rows = pd.DataFrame(
        {"x": [0.5, 2.0] * 2, "y": [1.0, 2, 3, 4], "h": ["one 1"] * 2 + ["two"] * 2}
    )
    look = {"palette": ["red", "blue"], "dodge": True, "linestyle": "none"}
    sns.pointplot(rows, x="x", y="y", hue="h", ax=ax, **look)
    ax.set(xlabel="noise", ylabel="loss")
    told_by = "Loss against noise, 0.5 to 2.0: 0.5: one 1 at 1, two 3; 2.0: one 1 at 2, two 4."
    assert told(figure) == told_by


def test_what_only_rounding_moves_stays(panel):
    figure, ax = panel
    ax.plot([0, 1, 2], [0.98201, 0.98199, 0.98201])
    assert told(figure) == "Loss against step, 0 to 2: stays at 0.982."


def test_what_a_line_does_on_the_way_is_told_where_it_is_much(panel):
    figure, ax = panel
    ax.plot([0, 5, 10], [1.0, 9.0, 3.0])
    assert told(figure) == "Loss against step, 0 to 10: up from 1 to 3 (at most 9 at 5)."
    ax.clear()
    ax.plot([0, 5, 10], [1.0, 3.4, 3.0])
    ax.set_ylabel("loss")
    assert told(figure) == "Loss against x, 0 to 10: up from 1 to 3.".replace(
        " against x, 0 to 10", ""
    )


def test_predictions_are_told_by_what_they_are_about_and_where_they_stand(panel):
    figure, ax = panel
    ax.plot([0, 4], [1, 1], color="red", label="one")
    ax.plot([0, 4], [2, 8], **THEORY | {"color": "red"})
    ax.axhline(0.5, **THEORY)
    ax.axvline(3, **THEORY)
    ax.plot([0, 4], [7, 7], color="0.6")  # a guide that has no name
    legend(figure, ax, theory=r"guess: $\to 0$")
    assert told(figure) == (
        "Loss against step, 0 to 4: one stays at 1, theory of one up from 2 to 8, guess 0.5,"
        " guess at 3. Dashed, the guess: to 0."
    )


def test_lines_of_the_same_ends_are_told_by_their_middles(panel):
    figure, ax = panel
    for colour, middle in (("red", 1.0), ("blue", 3.0), ("green", 2.0)):
        ax.plot([0, 5, 10], [0.0, middle, 4.0 + (colour == "green")], color=colour, label=colour)
    legend(figure, ax)
    assert told(figure) == (
        "Loss against step, 0 to 10: red up from 0 to 4 (1 at 5), blue up from 0 to 4 (3 at 5),"
        " green up from 0 to 5."
    )


def test_a_word_below_a_point_is_the_place_of_that_point_not_the_name_of_the_line(panel):
    figure, ax = panel
    ax.plot([0.4, 0.7, 1], [1.0, 2.0, 4.0], "-o", color="red", label="one")
    ax.set_xticks([0.4, 0.7, 1], ["0.4\nl = 40", "0.7\nl = 23", "1\nl = 16"])
    legend(figure, ax)
    assert told(figure) == "Loss: one up from 1 to 4."


def test_parts_for_which_there_is_no_room_are_counted(panel):
    figure, ax = panel
    ax.bar([f"a thing that has a long name {k}" for k in range(30)], np.arange(30.0), label="mass")
    text = told(figure)
    assert LIMIT - 80 < len(text) <= LIMIT
    assert text.startswith("Loss: a thing that has a long name 0: mass 0; a thing")
    assert text.endswith(f"; {30 - text.count('mass')} more.")


def test_of_the_last_panel_as_much_is_told_as_there_is_room_for():
    figure = many(5, 1)
    ax = figure.axes[-1]
    ax.clear()
    ax.bar([f"a thing that has a long name {k}" for k in range(30)], np.arange(30.0), label="mass")
    text = told(figure)
    assert LIMIT - 90 < len(text) <= LIMIT
    assert "Case 3: quantity 3: ours up from 3 % to 6 %" in text
    assert "long name 0: mass 0; a thing" in text
    assert text.endswith(f"; {30 - text.count('mass')} more.")


def test_what_is_missing_is_not_told(panel):
    figure, ax = panel
    ax.plot([0, 1, 2], [np.nan, 4, 2], "o", color="red", label="one")
    ax.plot([0, 1], [np.nan, np.nan], color="blue", label="other")
    legend(figure, ax)
    assert told(figure) == "Loss against step, 0 to 2: one down from 4 to 2."


def many(rows: int, columns: int) -> Any:
    figure, axes = grid(rows, columns)
    for k, ax in enumerate(axes.flat):
        lines = pd.DataFrame(
            {"x": [0, 1] * 2, "value": [k, 2 * k, 1, 1], "h": ["ours"] * 2 + ["random"] * 2}
        )
        curves(ax, lines, "x", "h")
        ax.set(title=f"case {k}", xlabel="step", ylabel=f"quantity {k // columns}")
        ax.yaxis.set_major_formatter(PercentFormatter(100))
    legend(figure, axes[0][0], theory="theory")
    return figure


def test_panels_of_the_same_labels_are_told_together_where_there_are_many():
    assert told(many(2, 5)) == (
        "5 panels, case 0 to case 4: quantity 0 against step, 0 to 1: ours from 0 %–4 % to"
        " 0 %–8 %, random stays at 1 %. 5 panels, case 5 to case 9: quantity 1: ours up from"
        " 5 %–9 % to 10 %–18 %, random stays at 1 %."
    )


def test_panels_for_which_there_is_no_room_are_counted():
    text = told(many(12, 1))
    assert len(text) <= LIMIT
    assert text.startswith("Case 0: quantity 0 against step, 0 to 1: ours stays at 0 %, random")
    assert text.endswith(" more panels.")
    shown = text.count("quantity")
    assert f" {12 - shown} more panels." in text


def test_what_moves_by_a_twentieth_hardly_moves(panel):
    figure, ax = panel
    ax.plot([0, 2], [1.0, 1.05], label="one")
    ax.plot([0, 2], [1.0, 0.9], label="other")
    ax.set(xlabel="step", ylabel="loss")
    figure.legend()
    assert told(figure) == (
        "Loss against step, 0 to 2: one nearly level, from 1 to 1.05, other down from 1 to 0.9."
    )
