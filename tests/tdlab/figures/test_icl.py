"""Figures draw the table they are given: medians, bands and the theory are read back off them."""

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tdlab.figures import icl as figures
from tdlab.figures.style import COLOURS
from tests.tdlab.figures.tables.icl import (
    BAND,
    FACTORS,
    LEARNERS,
    MEAN,
    X,
    attention_pruning,
    coverage,
    dynamics,
    learners,
    level,
    neurons,
    pruning,
    shift,
    step_sizes,
)

DRAWN = {
    "risk": dynamics,
    "attention": dynamics,
    "step_sizes": step_sizes,
    "neurons": neurons,
    "coverage": coverage,
    "out_of_domain": shift,
    "prompt_shifts": shift,
    "pruning": pruning,
    "attention_pruning": attention_pruning,
    "learners": learners,
}


@cache
def draw(name: str) -> Figure:
    return getattr(figures, name)(DRAWN[name]())


def points(line: Any) -> list[Any]:
    """What a line goes through, up to rounding."""
    return [(float(x), pytest.approx(float(y))) for x, y in line.get_xydata()]


def dashed(ax: Any) -> list[Any]:
    return [line for line in ax.lines if line.get_linestyle() == "--"]


def solid(ax: Any) -> dict[str, Any]:
    """The drawn curves by colour; each colour once."""
    lines = [x for x in ax.lines if x.get_linestyle() == "-" and len(x.get_xdata()) > 1]
    lines = [x for x in lines if to_hex(x.get_color()) != to_hex("0.7")]  # a guide, no curve
    colours = [to_hex(line.get_color()) for line in lines]
    assert len(set(colours)) == len(colours)
    return dict(zip(colours, map(points, lines), strict=True))


def colour(name: str) -> str:
    return to_hex(COLOURS[name])


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_has_labelled_axes_a_sentence_and_leaves_its_table_alone(name):
    made = DRAWN[name]()
    before = made.copy()
    figure = getattr(figures, name)(made)
    pd.testing.assert_frame_equal(made, before)
    assert isinstance(figure, Figure)
    for ax in figure.axes:
        spec: Any = ax.get_subplotspec()
        assert ax.get_xlabel() or not spec.is_last_row()
        named = ax.get_ylabel() or (name == "coverage" and ax.get_yticklabels())
        assert named or not spec.is_first_col()
    sentence = str(figure.get_label())
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert sentence == getattr(figures, name).__doc__.split("\n")[0]


def test_every_figure_of_the_study_is_tried_here():
    own = [
        name
        for name, it in vars(figures).items()
        if getattr(it, "__module__", "") == figures.__name__
    ]
    assert sorted(DRAWN) == sorted(name for name in own if not name.startswith("_"))


def legend(figure: Figure) -> dict[str, str]:
    (one,) = figure.legends
    handles: list[Any] = list(one.legend_handles)
    return {
        text.get_text(): to_hex(handle.get_color())
        for text, handle in zip(one.get_texts(), handles, strict=True)
    }


def test_one_thing_has_one_colour_in_all_figures_and_two_have_two_in_each():
    seen: dict[str, str] = {}
    for name in DRAWN:
        if name == "coverage":  # one thing only, named on its axis
            continue
        entries = legend(draw(name))
        assert all(a != b for a, b in combinations(entries.values(), 2)), name
        for entry, its in entries.items():
            assert seen.setdefault(entry, its) == its
            assert entry.startswith("theory") or its == colour(entry)
    assert len({its for entry, its in seen.items() if entry.startswith("theory")}) == 1


@pytest.mark.parametrize(
    ("name", "quantities"),
    [("risk", ("hinge", "zero_one")), ("attention", ("concentration", "entropy"))],
)
def test_dynamics_are_medians_over_seeds_at_each_step(name, quantities):
    order = ("hinge", "zero_one", "concentration", "entropy")
    for ax, quantity in zip(draw(name).axes, quantities, strict=True):
        assert solid(ax) == {
            colour(f"{tasks} tasks"): [(x, level(x, t, order.index(quantity))) for x in X]
            for t, tasks in enumerate(("trained", "unseen"))
        }


def test_the_band_holds_eighty_percent_of_the_seeds():
    left = draw("risk").axes[0]
    for band, t in zip(left.collections, (0, 1), strict=True):
        (path,) = band.get_paths()
        for x in X:
            corners = np.asarray(path.vertices)
            at = corners[corners[:, 0] == x][:, 1]
            expected = [level(x, t, 0) * end for end in BAND]
            assert (at.min(), at.max()) == pytest.approx(tuple(expected))


def test_the_risk_is_drawn_with_its_limit():
    for ax, limit in zip(draw("risk").axes, (0.03, 0.02), strict=True):
        (line,) = dashed(ax)
        assert list(line.get_ydata()) == [limit, limit]


def test_attention_is_drawn_with_the_expectation_before_training_and_the_limit_after():
    left, right = draw("attention").axes
    limit, start = dashed(left)
    assert list(limit.get_ydata()) == [0.9, 0.9]
    assert points(start) == [(0, 0.4), (10, 0.4)]
    assert not dashed(right)


def test_the_gap_is_drawn_beside_two_exponents_from_the_smallest_step_on():
    figure = draw("step_sizes")
    (ax,) = figure.axes
    measured, guides = ax.lines[0], [line for line in ax.lines if line.get_color() == "0.6"]
    assert points(measured) == [(lr, 2 * lr) for lr in (0.05, 0.1, 0.2)]
    # Slopes to compare with, and no prediction: grey, and not dashed as the theory is.
    assert [points(line) for line in guides] == [
        [(lr, 0.1 * (lr / 0.05) ** exponent) for lr in (0.05, 0.1, 0.2)] for exponent in (0.5, 1)
    ]
    assert {line.get_linestyle() for line in guides} == {"-"}
    assert not dashed(ax)
    assert [text.get_text() for text in ax.texts] == ["C = 0.5", "C = 1"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_neurons_are_medians_of_medians_and_label_angles_are_to_q_itself():
    feature, feature_end, label, label_end = draw("neurons").axes
    positive, negative = colour("a > 0"), colour("a < 0")
    assert solid(feature) == {c: [(0, 12.0), (40, 12.0)] for c in (positive, negative)}
    assert solid(label) == {positive: [(0, 7.0), (40, 7.0)], negative: [(0, 173.0), (40, 173.0)]}
    for ax in (feature, feature_end):
        assert [line.get_ydata()[0] for line in dashed(ax)] == [0]
    for ax in (label, label_end):
        assert [line.get_ydata()[0] for line in dashed(ax)] == [0, 180]
    for ax, angle, turn in ((feature_end, 12.0, False), (label_end, 7.0, True)):
        expected = [
            (factor * (1 + neuron), 180 - at if turn and neuron > 2 else at)
            for neuron in range(6)
            for factor in FACTORS
            for at in [angle * factor * (1, 1, 3)[neuron % 3]]
        ]
        offsets: Any = ax.collections[-1].get_offsets()
        assert sorted(map(tuple, np.asarray(offsets).tolist())) == [
            pytest.approx(each) for each in sorted(expected)
        ]


def test_coverage_shows_every_seed_of_every_set():
    ax: Any = draw("coverage").axes[0]
    offsets: list[Any] = [each.get_offsets() for each in ax.collections]
    drawn = [np.asarray(each)[:, 0] for each in offsets]
    planted = [at * np.array(FACTORS) for at in (0.01, 0.2, 0.1)]
    for one, other in zip([each for each in drawn if len(each)], planted, strict=True):
        assert sorted(one) == pytest.approx(sorted(other))
    words = [f"leaves out {each}" for each in ("nothing", "a pattern", "a label")]
    assert [each.get_text() for each in ax.get_yticklabels()] == words
    (line,) = dashed(ax)
    assert list(line.get_xdata()) == [0, 0]


def test_risk_out_of_domain_is_drawn_by_kind_of_pair_with_the_threshold():
    names = ("neighbours", "drawn, was a task", "drawn, was no task", "opposite pairs")
    for q, ax in enumerate(draw("out_of_domain").axes):
        assert solid(ax) == {
            colour(name): [(s, level(s, p, q)) for s in (0.5, 1.0, 1.4)]
            for p, name in enumerate(names)
        }
        (line,) = dashed(ax)
        assert points(line) == [(1.0, 0.03), (1.4, 0.03)]
        lines: Any = ax.lines
        (guide,) = (x for x in lines if to_hex(x.get_color()) == to_hex("0.7"))
        assert list(guide.get_xdata()) == [1.0, 1.0]


def test_each_shift_of_the_prompt_is_drawn_on_its_own_axis():
    grid = {"alpha": (0.2, 0.8), "length": (5, 40), "kappa": (0.5, 2.0), "outside": (0.0, 0.4)}
    axes = draw("prompt_shifts").axes
    for n, (ax, (name, values)) in enumerate(zip(axes, grid.items(), strict=True)):
        assert list(solid(ax).values()) == [[(x, level(x, n)) for x in values]]
        predicted = [[(x, 0.05) for x in values]] if name != "outside" else []
        assert [points(line) for line in dashed(ax)] == predicted
    assert [ax.get_xscale() for ax in axes] == ["linear", "log", "linear", "linear"]


def test_pruning_is_drawn_in_three_orders_with_their_estimates_in_the_same_colours():
    axes = np.array(draw("pruning").axes).reshape(2, 2)
    names = ("smallest first", "random", "largest first")
    for a, alpha in enumerate((0.6, 0.8)):
        hinge, error = axes[:, a]
        assert f"{alpha:g}" in hinge.get_title()
        grid = (0.0, 0.5, 0.9)
        assert solid(hinge) == {
            colour(name): [(x, level(x, o, alpha)) for x in grid] for o, name in enumerate(names)
        }
        assert solid(error) == {
            colour(name): [(x, level(o, x, alpha) / 2) for x in grid]
            for o, name in enumerate(names)
        }
        assert {to_hex(line.get_color()): points(line) for line in dashed(hinge)} == {
            colour(name): [(x, x * (o + 1) / 5) for x in grid] for o, name in enumerate(names)
        }
        assert not dashed(error)


def test_pruned_attention_is_drawn_by_matrix():
    for q, ax in enumerate(draw("attention_pruning").axes):
        assert solid(ax) == {
            colour(matrix): [(x, level(x, m, q)) for x in (0.0, 0.5, 0.9)]
            for m, matrix in enumerate(("W_Q", "W_K"))
        }
        assert not dashed(ax)


def test_learners_are_means_over_seeds_beside_the_bayes_optimal_error():
    axes = np.array(draw("learners").axes).reshape(2, 2)
    for row, alpha in zip(axes, (0.6, 0.8), strict=True):
        for ax, kappa in zip(row, (0.5, 2.0), strict=True):
            assert f"{alpha:g}" in ax.get_title()
            assert f"{kappa:g}" in ax.get_title()
            assert {
                c: line for c, line in solid(ax).items() if c in map(colour, LEARNERS.values())
            } == {
                colour(name): [(n, MEAN * level(k, alpha, kappa, n / 10)) for n in (5, 20)]
                for k, name in enumerate(LEARNERS.values())
            }
            (line,) = dashed(ax)
            assert points(line) == [(n, level(-5, alpha, kappa)) for n in (5, 20)]
