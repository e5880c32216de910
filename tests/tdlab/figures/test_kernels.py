"""What the figures of the attention-kernel study show is read back off them, artist by artist.

A planted table holds a number of its own in every place, also in those that a figure leaves alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tdlab.figures import kernels as figures
from tdlab.figures.style import COLOURS, THEORY
from tests.tdlab.figures.artists import Points, bands, is_theory, legend, near, words
from tests.tdlab.figures.planted import BAND, FACTORS, MEAN, level
from tests.tdlab.figures.tables.kernels import (
    CURVE,
    DEEP,
    DEEPEST,
    GRID,
    KERNELS,
    PAIR,
    PATH,
    POINTS,
    PROBLEMS,
    RATIOS,
    SCALES,
    STAGES,
    STARTS,
    STEPS,
    SUBSETS,
    TASKS,
    classification,
    curvature,
    guards,
    phase,
    query_only,
    rates,
    scalar,
    surfaces,
    variation,
)

DRAWN: dict[str, pd.DataFrame] = {
    "phase": phase(),
    "rates": rates(),
    "guards": guards(),
    "scalar": scalar(),
    "query_only": query_only(),
    "surfaces": surfaces(),
    "curvature": curvature(),
    "variation": variation(),
    "classification": classification(),
}
FLOOR = 1e-20
PREDICTED = ("theory", "guessing")


@cache
def draw(name: str) -> Figure:
    before = DRAWN[name].copy()
    figure: Figure = getattr(figures, name)(DRAWN[name])
    pd.testing.assert_frame_equal(DRAWN[name], before)
    return figure


# Read back off the artists.


def lines(ax: Axes) -> dict[str, np.ndarray]:
    """What solid curves go through, by the kernel that has their colour."""
    names = {to_hex(COLOURS[kernel]): kernel for kernel in KERNELS}
    drawn: list[Any] = [x for x in ax.lines if not is_theory(x) and len(np.asarray(x.get_xdata()))]
    found = {names[to_hex(line.get_color())]: np.asarray(line.get_xydata()) for line in drawn}
    assert len(found) == len(drawn)
    return found


def dashed(ax: Axes) -> list[np.ndarray]:
    """Points of what is theory, which has one colour."""
    found: list[Any] = [line for line in ax.lines if is_theory(line)]
    assert {to_hex(line.get_color()) for line in found} <= {to_hex(THEORY["color"])}
    return [np.asarray(line.get_xydata()) for line in found]


def assert_curves(ax: Axes, expected: Mapping[str, Points]) -> None:
    """These medians, by kernel; each in a band of 10 to 90 %."""
    found = lines(ax)
    assert list(found) == list(expected)
    for kernel, planted in expected.items():
        assert found[kernel] == near(planted)
    assert bands(ax) == [
        {x: np.array([max(its * end, FLOOR) for end in BAND]) for x, its in planted}
        for planted in expected.values()
    ]


def by_kernel(kernels: Sequence[str], at: Sequence[float], value: Any) -> dict[str, Points]:
    """For each kernel the points (x, value(kernel, x))."""
    return {kernel: [(x, value(kernel, x)) for x in at] for kernel in kernels}


def labels(ax: Axes) -> tuple[str, str]:
    return ax.get_xlabel(), ax.get_ylabel()


def scale(ax: Axes) -> tuple[str, str]:
    return ax.get_xscale(), ax.get_yscale()


# All figures.


def test_every_figure_of_the_study_is_tried_here():
    public = {name: it for name, it in vars(figures).items() if not name.startswith("_")}
    own = {n for n, it in public.items() if getattr(it, "__module__", "") == figures.__name__}
    assert set(DRAWN) == own


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_says_what_it_is_of_and_leaves_its_table_alone(name):
    assert draw(name).get_label() == getattr(figures, name).__doc__


def test_one_kernel_has_one_colour_in_all_legends_and_two_have_two_in_each():
    for name in set(DRAWN) - {"surfaces"}:  # which have their names in titles
        handles = legend(draw(name))
        colours = {entry: to_hex(handle.get_color()) for entry, handle in handles.items()}
        assert all(one != other for one, other in combinations(colours.values(), 2))
        for entry, its in colours.items():
            assert is_theory(handles[entry]) == entry.startswith(PREDICTED)
            if entry in KERNELS:
                assert its == to_hex(COLOURS[entry])
            elif is_theory(handles[entry]):
                assert its == to_hex(THEORY["color"])


@pytest.mark.parametrize(
    ("name", "kernels", "with_theory"),
    [
        ("phase", KERNELS, True),
        ("rates", KERNELS, True),
        ("guards", KERNELS, False),
        ("scalar", ("start of a run (arrow: to its end)",), True),
        ("query_only", KERNELS, False),
        ("curvature", PAIR, False),
        ("variation", PAIR, False),
        ("classification", PAIR, True),
    ],
)
def test_the_legend_names_every_kernel_once_and_the_theory_last(name, kernels, with_theory):
    entries = list(legend(draw(name)))
    assert entries[: len(kernels)] == list(kernels)
    assert len(entries) == len(kernels) + with_theory


# One by one.


def test_the_phase_plot_has_medians_of_the_relative_loss_above_the_floor():
    def value(kernel, subset, ratio):
        return FLOOR if (kernel, subset, ratio) == DEEP else level(kernel, subset, ratio)

    axes = draw("phase").axes
    for ax, subset in zip(axes, SUBSETS, strict=True):
        expected = by_kernel(KERNELS, RATIOS, lambda k, x, subset=subset: value(k, subset, x))
        found = lines(ax)
        assert {kernel: points.tolist() for kernel, points in found.items()} == {
            kernel: [pytest.approx(point, rel=1e-6, abs=0) for point in points]
            for kernel, points in expected.items()
        }
        if subset != "all":
            assert_curves(ax, expected)
        ((one, other),) = dashed(ax)
        assert one[0] == other[0] == 1  # what W_V alone needs
        assert scale(ax) == ("log", "log")
        assert ax.get_xticks().tolist() == list(RATIOS)
        assert words(ax.get_xticklabels()) == ["0.5", "1", "2.5"]
        assert not any(words(ax.get_xticklabels(minor=True)))
        assert ax.get_ylim()[0] < FLOOR < 1 < ax.get_ylim()[1]
    assert len({ax.get_title() for ax in axes}) == 3
    assert "W_V" in axes[1].get_title()
    assert "W_Q" in axes[2].get_title()


def test_losses_of_both_subsets_are_drawn_and_the_solved_curve_where_w_v_is_alone():
    left, middle, _ = draw("rates").axes
    for ax, subset in ((left, "W_V"), (middle, "all")):
        assert_curves(ax, by_kernel(KERNELS, STEPS, lambda k, x, s=subset: level(k, s, x)))
        assert ax.get_yscale() == "log"
        assert ax.get_xlabel() == "training step"
    solved = {tuple(map(tuple, points)) for points in dashed(left)}
    expected = {tuple((s, level(kernel, "W_V", s) / 2) for s in STEPS) for kernel in KERNELS}
    assert sorted(solved) == [pytest.approx(np.array(points)) for points in sorted(expected)]
    assert not dashed(middle)


def test_a_rate_is_a_point_a_seed_beside_what_is_predicted_for_it():
    right = draw("rates").axes[2]
    for kernel, points in lines(right).items():
        law, rate = level("law", kernel, "all") / 10, level("rate", kernel, "all")
        expected = sorted((law * factor, rate * factor) for factor in FACTORS)
        assert sorted(map(tuple, points)) == [pytest.approx(pair) for pair in expected]
    assert list(lines(right)) == list(KERNELS)
    (diagonal,) = dashed(right)
    assert (diagonal[:, 0] == diagonal[:, 1]).all()
    laws = [level("law", kernel, "all") / 10 for kernel in KERNELS]
    assert diagonal[0, 0] < 0.4 * min(laws) < 2.2 * max(laws) < diagonal[-1, 0]
    assert scale(right) == ("log", "log")


GUARDS = {"row sum": "row sum", "sigma_min": "sigma", "entropy": "entropy", "gradient": "W_Q"}


@pytest.mark.parametrize(("quantity", "word"), GUARDS.items())
def test_guards_are_medians_against_the_scale_and_of_gradients_that_of_w_q(quantity, word):
    ax = draw("guards").axes[list(GUARDS).index(quantity)]
    name = "W_Q" if quantity == "gradient" else quantity
    kernels = [kernel for kernel in KERNELS if (quantity, kernel) != ("entropy", "gaussian")]
    expected = by_kernel(kernels, SCALES, lambda k, x: level(name, k, x))
    found = lines(ax)
    if quantity == "sigma_min":  # what is dead is drawn at the edge
        assert found["gaussian"][-1, 1] <= 1e-6
        expected["gaussian"] = [*expected["gaussian"][:-1], (SCALES[-1], found["gaussian"][-1, 1])]
    assert list(found) == list(expected)
    for kernel, points in expected.items():
        assert found[kernel] == near(points)
    assert scale(ax) == ("log", "linear" if quantity == "entropy" else "log")
    assert word in ax.get_ylabel()


def test_the_scalar_panels_have_the_curve_the_starts_on_it_and_arrows_to_the_ends():
    axes = np.array(draw("scalar").axes).reshape(2, 3)
    for (row, problem), (column, kernel) in product(enumerate(PROBLEMS), enumerate(KERNELS)):
        ax = axes[row, column]
        curve = [(q, level(kernel, problem, q)) for q in CURVE]
        assert lines(of_colour(ax, kernel))[kernel] == near(curve)
        heights = np.interp(STARTS, CURVE, [height for _, height in curve])
        (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
        assert np.asarray(dots.get_xydata()) == near(list(zip(STARTS, heights, strict=True)))
        arrows: list[Any] = list(ax.texts)
        for arrow, q, height in zip(arrows, STARTS, heights, strict=True):
            # A query that drifted off points to the edge.
            end = 3.0 if q == STARTS[-1] else q + level("end", kernel, problem, q)
            assert arrow.xy == pytest.approx((end, level("loss", kernel, problem, q)))
            assert arrow.xyann == pytest.approx((q, height))
            assert arrow.arrow_patch is not None
        first = (row, column) == (0, 0)
        assert len(dashed(ax)) == (2 if first else 0)
        if first:
            barrier, plateau = dashed(ax)
            assert set(barrier[:, 0]) == {1.2}
            assert set(plateau[:, 1]) == {0.07}
        assert ax.get_title() == ("" if row else kernel)
        assert (problem in ax.get_ylabel()) == (column == 0)


class Of:
    """The lines of one panel in the colour of one kernel."""

    def __init__(self, chosen: list[Any]) -> None:
        self.lines = chosen


def of_colour(ax: Axes, kernel: str) -> Any:
    its = to_hex(COLOURS[kernel])
    return Of([line for line in ax.lines if to_hex(line.get_color()) == its])


def test_problems_solved_are_means_against_the_scale_where_only_that_is_varied():
    left = draw("query_only").axes[0]
    for kernel in KERNELS:
        mean, *_ = of_colour(left, kernel).lines  # and then its bars
        expected = [(x, MEAN * level("solved", kernel, "teacher", x, 1.0)) for x in (0.1, 3.0)]
        assert np.asarray(mean.get_xydata()) == near(expected)
    assert left.get_xscale() == "log"
    assert left.get_xticks().tolist() == [0.1, 3.0]
    assert left.get_ylim()[0] < 0 < 1 < left.get_ylim()[1]
    assert left.yaxis.get_major_formatter()(0.5) == "50%"


def test_every_problem_is_a_dot_in_its_place_and_the_colour_of_its_kernel():
    right = draw("query_only").axes[1]
    names = {to_hex(COLOURS[kernel]): kernel for kernel in KERNELS}
    places = words(right.get_xticklabels())
    found: Counter[Any] = Counter()
    dots: Any
    for dots in right.collections:
        points = dots.get_offsets()
        for (x, y), colour in zip(points, dots.get_facecolors(), strict=True):
            found[names[to_hex(colour)], places[round(x)], round(float(np.log10(y)), 6)] += 1
    expected: Counter[Any] = Counter()
    for kernel, (targets, its, keys) in product(KERNELS, POINTS):
        place = f"{its:g}" if keys == 1 else f"{its:g} and {keys:g}"
        place = place if targets == "teacher" else "random\ntargets"
        where = {"kernel": kernel, "targets": targets, "scale": its, "key_scale": keys}
        for factor in FACTORS:
            loss = factor * level("loss", kernel, targets, its, keys)
            loss = FLOOR if where == DEEPEST else loss
            expected[kernel, place, round(float(np.log10(loss)), 6)] += 1
    assert found == expected
    assert right.get_yscale() == "log"


def test_a_surface_is_the_grid_of_its_kernel_on_levels_that_both_kernels_share(monkeypatch):
    asked: dict[Axes, Any] = {}
    plain = Axes.contourf

    def noting(ax, *given, **rest):
        asked[ax] = (*given, rest["levels"])
        return plain(ax, *given, **rest)

    monkeypatch.setattr(Axes, "contourf", noting)
    figure = figures.surfaces(DRAWN["surfaces"])
    axes = np.array(figure.axes[:4]).reshape(2, 2)
    assert list(asked.keys() - set(axes.flat)) == []
    for (row, kernel), (column, (kind, at)) in product(enumerate(PAIR), enumerate(GRID.items())):
        x, y, z, levels = asked[axes[row, column]]
        assert list(x) == list(y) == list(at)
        assert np.asarray(z) == near([[level(kernel, kind, a, b) for a in at] for b in at])
        everything = [level(k, kind, a, b) for k, a, b in product(PAIR, at, at)]
        assert (levels[0], levels[-1]) == near((min(everything), max(everything)))
        assert kernel in axes[row, column].get_title()


def test_the_path_of_stage_two_is_drawn_in_the_order_of_its_steps_up_to_a_star():
    axes = np.array(draw("surfaces").axes[:4]).reshape(2, 2)
    for random, runs in axes:
        path: Any
        path, star = (line for line in runs.lines if len(line.get_xdata()))
        assert np.asarray(path.get_xydata()) == near(list(PATH.values()))
        assert (star.get_marker(), *star.get_xydata()[0]) == ("*", 1, 0)
        (star,) = (line for line in random.lines if len(line.get_xdata()))
        assert (star.get_marker(), *star.get_xydata()[0]) == ("*", 0, 0)


def test_curvature_is_the_median_of_the_top_eigenvalue_beside_the_loss_for_each_stage_one():
    axes = np.array(draw("curvature").axes).reshape(2, 2)
    for (left, right), stage in zip(axes, STAGES, strict=True):
        top = by_kernel(PAIR, STEPS, lambda k, x, s=stage: level("top", s, k, x, 0))
        assert_curves(left, top)
        assert_curves(right, by_kernel(PAIR, STEPS, lambda k, x, s=stage: level("loss", s, k, x)))
        assert "eigenvalue" in left.get_ylabel()
        assert "loss" in right.get_ylabel()
        for ax in (left, right):
            assert stage in ax.get_title()
            assert ax.get_yscale() == "log"


def test_variation_is_the_median_along_the_segment_for_each_stage_one():
    for ax, stage in zip(draw("variation").axes, STAGES, strict=True):
        expected = by_kernel(PAIR, (0.25, 0.75), lambda k, x, s=stage: level(s, k, x))
        assert_curves(ax, expected)
        assert stage in ax.get_title()
        assert ax.get_yscale() == "log"


def test_classification_has_medians_of_accuracy_loss_and_row_sums_in_a_column_a_task():
    axes = np.array(draw("classification").axes).reshape(3, 2)
    for column, task in zip(axes.T, sorted(TASKS), strict=True):
        for ax, quantity in zip(column, ("accuracy", "loss", "row sum"), strict=True):
            values = by_kernel(PAIR, STEPS, lambda k, x, q=quantity, t=task: level(q, t, k, x))
            assert_curves(ax, values)
            assert quantity in ax.get_ylabel()
            guess = dashed(ax)
            assert [set(points[:, 1]) for points in guess] == [{0.5}] * (quantity == "accuracy")
        accuracy, loss, guard = column
        assert accuracy.get_title() == task
        assert accuracy.get_ylim()[0] < 0.5 < 1 < accuracy.get_ylim()[1]
        assert accuracy.yaxis.get_major_formatter()(0.75) == "75%"
        assert loss.get_ylim()[0] == guard.get_ylim()[0] == 0
        assert guard.get_xlabel() == "training step"
