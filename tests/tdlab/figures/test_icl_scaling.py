"""Figures of scaling laws: medians of the seeds on log axes, and the theory beside them."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from tdlab.figures import icl_scaling as figures
from tests.tdlab.figures.artists import bands, is_theory, legend, near, words
from tests.tdlab.figures.planted import BAND, level, measured, table, theory

REGIMES = {"ours": 1.0, "nearer the theorem": 3.0}  # how many times as much
POINTS = {"lr": (0.05, 0.2), "alpha": (0.4, 1.0), "beta": (2.0, 4.5), "relevant": (4.0, 16.0)}


def rates() -> pd.DataFrame:
    rows = []
    for (regime, more), (varied, values) in product(REGIMES.items(), POINTS.items()):
        for x in values:
            where = {"regime": regime, "varied": varied, "at": x}
            rows.append(measured("time", 400 * more * level(varied, x), limit=9000, **where))
            rows.append(theory("time", 200 * more * level("law", varied, x), **where))
    return table(*rows)


def lengths() -> pd.DataFrame:
    rows = []
    for (regime, more), risk, x in product(REGIMES.items(), ("hinge", "zero_one"), (1.0, 5.0)):
        where = {"regime": regime, "risk": risk, "at": x}
        rows.append(measured("length", 40 * more * level(risk, x), limit=900, **where))
        rows.append(theory("length", x, **where))
    return table(*rows)


def training_lengths() -> pd.DataFrame:
    rows = []
    for alpha, length in ((0.4, 40), (1.0, 16)):
        where = {"alpha": alpha, "length": length}
        rows.append(measured("hinge", 0.1 * level(alpha), **where))
        rows.append(measured("zero_one", 0.5, **where))
    return table(*rows)


def batches() -> pd.DataFrame:
    rows = []
    for (regime, more), x in product(REGIMES.items(), (12.0, 48.0)):
        rows.append(measured("hinge", 0.01 * more * level(x), regime=regime, at=x))
        rows.append(measured("zero_one", 0.5, regime=regime, at=x))
    return table(*rows)


def medians(ax: Axes) -> list[Any]:
    solid = [np.asarray(line.get_xydata()) for line in ax.lines if not is_theory(line)]
    return [points.tolist() for points in solid if len(points)]


def dashed(ax: Axes) -> list[Any]:
    return [np.asarray(line.get_xydata()).tolist() for line in ax.lines if is_theory(line)]


def test_times_are_medians_on_log_axes_in_each_regime_beside_its_law():
    figure = figures.rates(rates())
    assert [*legend(figure)][:2] == [*REGIMES]
    for ax, (varied, values) in zip(figure.axes, POINTS.items(), strict=True):
        found = medians(ax)[:2]
        for line, band, more in zip(found, bands(ax), REGIMES.values(), strict=True):
            times = [(x, 400 * more * level(varied, x)) for x in values]
            assert line == near(times)
            assert band == {x: (BAND[0] * time, BAND[1] * time) for x, time in times}
        laws = [[(x, 200 * m * level("law", varied, x)) for x in values] for m in (3.0, 1.0)]
        for line, law in zip(dashed(ax)[:2], laws, strict=True):
            assert line == near(law)
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert ax.get_xlabel()
    assert figure.axes[0].get_ylabel() == "training steps T"


def test_what_some_seeds_never_reached_is_larger_than_the_rest():
    made = rates()
    last = (made.varied == "beta") & (made["at"] == 2.0) & made.seed.isin([2, 4])
    made["value"] = made.value.mask(last)  # the two slowest of five
    line = medians(figures.rates(made).axes[2])[0]
    assert line == near([(x, 400 * level("beta", x)) for x in (2.0, 4.5)])


def test_lengths_are_medians_for_each_risk_beside_the_bound():
    figure = figures.test_lengths(lengths())
    for ax, risk in zip(figure.axes, ("hinge", "zero_one"), strict=True):
        for line, more in zip(medians(ax)[:2], REGIMES.values(), strict=True):
            assert line == near([(x, 40 * more * level(risk, x)) for x in (1.0, 5.0)])
        assert dashed(ax)[0] == near([(1, 1), (5, 5)])
    assert [ax.get_title() for ax in figure.axes] == [
        "for hinge risk 0.1",
        "for zero-one error 0.05",
    ]


def test_the_risk_after_training_stands_at_its_alpha_and_length():
    (ax,) = figures.training_lengths(training_lengths()).axes
    assert medians(ax)[0] == near([(x, 0.1 * level(x)) for x in (0.4, 1.0)])
    assert words(ax.get_xticklabels()) == ["0.4\nl = 40", "1\nl = 16"]


def test_the_risk_by_batch_stands_beside_the_slope_that_is_enough():
    (ax,) = figures.batches(batches()).axes
    for line, more in zip(medians(ax)[:2], REGIMES.values(), strict=True):
        assert line == near([(x, 0.01 * more * level(x)) for x in (12.0, 48.0)])
    start = 0.01 * level(12.0)
    assert dashed(ax)[0] == near([(12, start), (48, start / 2)])


@pytest.mark.parametrize(
    ("draw", "made"),
    [
        (figures.rates, rates),
        (figures.test_lengths, lengths),
        (figures.training_lengths, training_lengths),
        (figures.batches, batches),
    ],
)
def test_a_figure_says_what_it_shows_and_leaves_its_table_alone(draw, made):
    before = made()
    drawn = before.copy()
    figure = draw(drawn)
    pd.testing.assert_frame_equal(drawn, before)
    assert figure.get_label().endswith(".")
    assert len(figure.legends) == 1
