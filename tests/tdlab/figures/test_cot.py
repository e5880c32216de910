"""What the figures of the chain-of-thought study show is read back off them, artist by artist.

A planted table holds a number of its own in every place, also in those that a figure leaves alone.
"""

from collections.abc import Mapping
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tdlab.figures import cot as figures
from tdlab.figures.style import COLOURS, THEORY
from tests.tdlab.figures.artists import Points, bands, is_theory, legend, near, words
from tests.tdlab.figures.planted import BAND, MEAN, level, measured, table
from tests.tdlab.figures.tables.cot import (
    BOTH,
    CHAIN,
    FINAL,
    GRIDS,
    IN_CONTEXT,
    KINDS,
    LENGTHS,
    MEAN_ERROR,
    OUTCOMES,
    OUTPUTS,
    PLACES,
    RATES,
    REGIMES,
    SHIFTS,
    STEPS,
    TRAINED,
    ablations,
    attention,
    conditions,
    dynamics,
    errors,
    rates,
    shift,
)

DRAWN: dict[str, tuple[Any, pd.DataFrame]] = {
    "phases": (figures.phases, dynamics()),
    "ablations": (figures.ablations, ablations()),
    "attention": (figures.chain_attention, attention()),
    "rates": (figures.rates, rates()),
    "chain errors": (figures.errors, errors({}, CHAIN, MEAN_ERROR)),
    "in-context errors": (figures.errors, errors(OUTCOMES, IN_CONTEXT, FINAL)),
    "conditions": (figures.conditions, conditions()),
    "shift": (figures.shift, shift()),
}


@cache
def draw(name: str) -> Figure:
    function, its_table = DRAWN[name]
    before = its_table.copy()
    figure: Figure = function(its_table)
    pd.testing.assert_frame_equal(its_table, before)
    return figure


# Read back off the artists.


def lines(ax: Axes) -> dict[str, np.ndarray]:
    """What solid curves go through, by their names: an entry of a legend has its curve's colour."""
    handles: tuple[list[Any], list[str]] = ax.get_legend_handles_labels()
    named = {to_hex(handle.get_color()): label for handle, label in zip(*handles, strict=True)}
    drawn: list[Any] = [x for x in ax.lines if not is_theory(x) and len(np.asarray(x.get_xdata()))]
    assert len(named) == len(handles[1]) == len(drawn)
    return {named[to_hex(line.get_color())]: np.asarray(line.get_xydata()) for line in drawn}


def dashed(ax: Axes) -> list[tuple[str, np.ndarray]]:
    """Colour and points of what is theory."""
    found: list[Any] = [line for line in ax.lines if is_theory(line)]
    return [(to_hex(line.get_color()), np.asarray(line.get_xydata())) for line in found]


def assert_curves(ax: Axes, expected: Mapping[str, Points], center: float) -> None:
    """These levels, times the centre of the seeds, by name; each in a band of 10 to 90 %."""
    found = lines(ax)
    assert list(found) == list(expected)
    for points, planted in zip(found.values(), expected.values(), strict=True):
        assert points == near([(x, center * its) for x, its in planted])
    assert bands(ax) == [
        {x: np.array([its * end for end in BAND]) for x, its in planted}
        for planted in expected.values()
    ]


def inner_legend(ax: Any) -> list[str]:
    return words(ax.get_legend().get_texts())


def labels(ax: Axes) -> tuple[str, str, str]:
    return ax.get_xlabel(), ax.get_ylabel(), ax.get_title()


# All figures.


def test_every_figure_of_the_study_is_tried_here():
    public = [it for name, it in vars(figures).items() if not name.startswith("_")]
    own = {it for it in public if getattr(it, "__module__", "") == figures.__name__}
    assert {figure for figure, _ in DRAWN.values()} == own


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_says_what_it_is_of_and_leaves_its_table_alone(name):
    assert draw(name).get_label() == DRAWN[name][0].__doc__


def test_one_name_has_one_colour_in_all_legends_and_two_names_have_two_in_each():
    seen: dict[str, str] = {}
    for name in DRAWN:
        handles = legend(draw(name))
        colours = {entry: to_hex(handle.get_color()) for entry, handle in handles.items()}
        assert all(one != other for one, other in combinations(colours.values(), 2))
        for entry, its in colours.items():
            assert is_theory(handles[entry]) == entry.startswith("theory")
            assert seen.setdefault(entry, its) == its
            if entry in COLOURS or is_theory(handles[entry]):
                assert its == to_hex(COLOURS.get(entry, THEORY["color"]))
    assert len(set(seen) & set(COLOURS)) == 4 + 3 + 2 + 3  # the others are numbers, in shades


@pytest.mark.parametrize(
    ("name", "entries", "theory_is"),
    [
        ("phases", PLACES, ["uniform before, 1 after"]),
        ("ablations", [f"{trained} trained" for trained in TRAINED], []),
        ("attention", PLACES, ["towards 1"]),
        ("rates", [*REGIMES], ["lowest and highest exponent of the two terms"]),
        ("chain errors", [], ["bound on the error of a vote (ours)"]),
        ("in-context errors", [], ["bound on the error of a vote (ours)"]),
        ("conditions", [", ".join(both) for both in BOTH], []),
        ("shift", ["step 1", "step 2"], [r"$\to 0$ with enough context"]),
    ],
)
def test_the_legend_names_every_curve_once_and_the_theory_last(name, entries, theory_is):
    assert list(legend(draw(name))) == [*entries, *(f"theory: {it}" for it in theory_is)]


# One by one.


def test_phases_are_medians_of_mass_on_prompts_of_the_smaller_alpha():
    left = draw("phases").axes[0]
    expected = {place: [(x, level(0.4, x, place)) for x in STEPS] for place in PLACES}
    assert_curves(left, expected, center=1)
    assert labels(left) == ("training step", "attention mass", r"prompts at $\alpha = 0.4$")
    assert left.get_ylim()[0] < 0 < 1 < left.get_ylim()[1]


def test_phases_start_at_uniform_attention_and_have_their_limit():
    left, right = draw("phases").axes
    *start, (_, limit) = dashed(left)
    assert limit.tolist() == [[0, 0.9], [1, 0.9]]  # across the panel
    for (its, points), place in zip(start, PLACES[:2], strict=True):
        assert its == to_hex(COLOURS[place])
        assert points == near([(0, level(0.4, place)), (3, level(0.4, place))])
    assert not dashed(right)


def test_the_loss_is_drawn_for_both_kinds_of_prompts():
    right = draw("phases").axes[1]
    named = {rf"prompts at $\alpha = {alpha:g}$": alpha for alpha in (0.8, 0.4)}
    losses = {n: [(x, level("loss", alpha, x)) for x in STEPS] for n, alpha in named.items()}
    assert_curves(right, losses, center=1)
    assert labels(right) == ("training step", "squared loss", "")
    assert inner_legend(right) == list(named)


def test_ablations_are_medians_of_the_right_mass_and_the_loss():
    left, right = draw("ablations").axes
    right_mass = {f"{t} trained": [(x, level(t, x, PLACES[0])) for x in STEPS] for t in TRAINED}
    assert_curves(left, right_mass, center=1)
    assert left.get_ylim()[0] <= 0 < 1 < left.get_ylim()[1]
    losses = {f"{t} trained": [(x, level("loss", t, x)) for x in STEPS] for t in TRAINED}
    assert_curves(right, losses, center=1)
    assert labels(left) == ("training step", "attention mass, same step and pattern", "")
    assert labels(right) == ("training step", "squared loss", "")


@pytest.mark.parametrize("name", ["phases", "ablations"])
def test_training_is_on_a_log_axis_with_the_start_on_it(name):
    left, right = draw(name).axes
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")
    for ax in (left, right):
        assert ax.get_xscale() == "symlog"
        assert ax.get_xlim() == (0, 40)
        assert {"0", "1", "10"} <= set(words(ax.get_xticklabels()))


def test_attention_along_the_chain_has_a_panel_for_each_kind_of_prompt():
    for ax, kind in zip(draw("attention").axes, KINDS, strict=True):
        expected = {p: [(k, level(kind, k, p)) for k in OUTPUTS] for p in PLACES}
        assert_curves(ax, expected, center=1)
        ((_, limit),) = dashed(ax)
        assert limit == near([(0, 0.9 + len(kind) / 100), (1, 0.9 + len(kind) / 100)])
        assert labels(ax) == ("step of the chain", "attention mass", f"{kind} prompts")
        assert ax.get_xticks().tolist() == [1, 2]
        assert ax.get_ylim()[0] < 0 < 1 < ax.get_ylim()[1]


def test_rates_are_medians_on_log_axes_beside_both_exponents():
    names = (r"relevant fraction $\alpha$", "reasoning steps K", "patterns M", r"loss $\epsilon$")
    for k, (ax, name, varied) in enumerate(zip(draw("rates").axes, names, RATES, strict=True)):
        values, exponents = RATES[varied], sorted((-k, 1.5))
        # Also where the two slowest of five never came so far.
        times = [(x, 800 * level(varied, x)) for x in values]
        for regime, more in REGIMES.items():
            assert lines(ax)[regime] == near([(x, more * time) for x, time in times])
        assert words(ax.texts) == [f"{exponent:g}".replace("-", "−") for exponent in exponents]
        laws = [
            [(x, more * 100 * level(varied) * (x / values[0]) ** exponent) for x in values]
            for more in (1.7, 1.0)
            for exponent in exponents
        ]
        for (_, points), law in zip(dashed(ax), laws, strict=True):
            assert points == near(law)
        for text, law in zip(ax.texts, laws[2:], strict=True):
            assert vars(text)["xy"] == pytest.approx(law[-1])
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert labels(ax) == (name, "training steps T", "")
        assert ax.get_xticks().tolist() == list(values)
        assert words(ax.get_xticklabels()) == [f"{x:g}" for x in values]
        assert not any(words(ax.get_xticklabels(minor=True)))


def test_points_that_lie_too_close_have_no_number_on_the_axis():
    points = (0.005, 0.01, 0.015, 0.03, 0.05, 0.1)
    rows = [
        measured("time", 100 / x, limit=1e6, varied="loss", at=x, regime="ours") for x in points
    ]
    ax = figures.rates(pd.concat([rates(), table(*rows)])).axes[-1]
    assert words(ax.get_xticklabels()) == ["0.005", "0.01", "0.03", "0.05", "0.1"]


def test_all_times_that_were_measured_are_in_sight_between_round_numbers():
    ax, times = draw("rates").axes[0], DRAWN["rates"][1].query("source == 'measured'").value
    assert ax.get_ylim()[0] < times.min() < times.max() < ax.get_ylim()[1]
    assert ax.get_yticks().tolist() == [20, 50, 100, 200, 500, 1000, 2000]
    assert words(ax.get_yticklabels()) == ["20", "50", "100", "200", "500", "1000", "2000"]
    assert not len(ax.get_yticks(minor=True))


@pytest.mark.parametrize(
    ("name", "output", "symbols"),
    [
        ("chain errors", MEAN_ERROR, (r"$\alpha'$", r"$\tau$", r"$\rho$")),
        ("in-context errors", FINAL, (r"$\alpha'$", r"$\tau_o$", r"$\rho_o$")),
    ],
)
def test_errors_are_means_of_what_the_bound_is_about_with_the_bound_in_the_same_colour(
    name, output, symbols
):
    for ax, varied, symbol in zip(draw(name).axes, GRIDS, symbols, strict=True):
        expected = {
            f"{symbol} = {x:g}": [(n, level("error", varied, x, n, output)) for n in LENGTHS]
            for x in GRIDS[varied]
        }
        last = list(expected)[-1]
        expected[last][-1] = (LENGTHS[-1], 0.0)
        assert_curves(ax, expected, center=MEAN)
        handles: list[Any] = ax.get_legend_handles_labels()[0]
        for handle, (its, points), x in zip(handles, dashed(ax), GRIDS[varied], strict=True):
            assert its == to_hex(handle.get_color())
            assert points == near([(n, level("bound", varied, x, n)) for n in LENGTHS])
        assert labels(ax) == ("context examples", f"error, {output}", "")
        assert inner_legend(ax) == list(expected)


def test_conditions_are_means_of_both_errors_side_by_side():
    for ax, condition in zip(draw("conditions").axes, ("holds", "fails"), strict=True):
        expected = {
            ", ".join(both): [(n, level("error", condition, n, *both)) for n in LENGTHS]
            for both in BOTH
        }
        if condition == "holds":
            expected[", ".join(BOTH[0])][-1] = (LENGTHS[-1], 0.0)
        assert_curves(ax, expected, center=MEAN)
        assert not dashed(ax)
        assert labels(ax) == ("context examples", "error", f"Condition 1 {condition}")


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("chain errors", [MEAN_ERROR]),
        ("in-context errors", [FINAL]),
        ("conditions", [MEAN_ERROR, FINAL]),
    ],
)
def test_an_error_of_zero_is_in_sight_below_the_smallest_of_any_seed(name, outputs):
    axes, its_table = draw(name).axes, DRAWN[name][1].query("source == 'measured'")
    seen = its_table[its_table.output.isin(outputs)].value
    assert min(points[:, 1].min() for ax in axes for points in lines(ax).values()) == 0
    corners = [(5, 0), (5, seen[seen > 0].min()), (5, 1)]
    for ax in axes:
        places = ax.transAxes.inverted().transform(ax.transData.transform(corners))
        zero, least, one = places[:, 1]
        assert 0 < zero < least - 0.03 < one - 0.2 < 0.8
        assert ax.get_yscale() == "symlog"
        assert ax.get_yticks().tolist() == [0, 1, 0.1]
        assert not len(ax.get_yticks(minor=True))
    assert words(axes[0].get_yticklabels()) == ["0", "1", "0.1"]


def test_shifts_are_means_of_errors_and_of_the_right_mass_at_each_step_of_the_chain():
    panels = np.array(draw("shift").axes).reshape(2, 2)
    names = ("part of each pattern in the trained span", "norm of the noise")
    for column, name, (varied, values) in zip(panels.T, names, SHIFTS.items(), strict=True):
        ylabels = {"error": "error", PLACES[0]: "mass on the right columns"}
        for ax, (what, ylabel) in zip(column, ylabels.items(), strict=True):
            expected = {
                f"step {k}": [(x, level(varied, x, k, what)) for x in values] for k in OUTPUTS
            }
            assert_curves(ax, expected, center=MEAN)
            assert labels(ax) == (name, ylabel, "")
        ((its, points),) = dashed(column[0])
        assert its == to_hex(THEORY["color"])
        assert points == near([(x, 0.01 + x / 100) for x in values[varied == "component" :]])
        assert not dashed(column[1])
