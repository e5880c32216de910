"""Labels and numbers are said without TeX, and as their axis says them."""

import pytest
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tdlab.figures.spoken import categorical, number, said, spoken, ticks, worded


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("hinge risk", "hinge risk"),
        ("mass on columns of the\nquery's step", "mass on columns of the query's step"),
        (r"relevant fraction $\alpha'$ of a prompt", "relevant fraction α′ of a prompt"),
        (r"theory: $\to 1 - \eta^C$", "theory: to 1 − η^C"),
        (r"noise range $\kappa'_{max}$", "noise range κ′ max"),
        (r"$(\alpha' \tau_o \rho_o)^{-2}$", "(α′ τ_o ρ_o)⁻²"),
        (r"$B^{-1/2}$ is enough", "B^(−1/2) is enough"),
        (r"$2 \eta\, \sigma_{\min}^2$ in $W_V$", "2 η σ min² in W_V"),
        (r"$\| g - g' \|\, /\, \| \theta - \theta' \|$", "| g − g′ | / | θ − θ′ |"),
        (r"$M_1$ $\times$ 4, $S_1 \geq 1$", "M₁ × 4, S₁ ≥ 1"),
    ],
)
def test_formulas_are_said_in_signs_that_have_names(label, words):
    assert spoken(label) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.12345, "0.123"), (-2.5, "−2.5")),
        *((1234.5, "1234"), (999999.0, "999999"), (2e6, "2e+06"), (3e-20, "3e−20")),
    ],
)
def test_three_digits_of_a_number_are_said(value, text):
    assert number(value) == text


def test_an_axis_says_numbers_its_own_way(ax):
    ax.plot([0, 1], [0, 1])
    assert said(ax.yaxis, 0.123456) == "0.123"
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    assert said(ax.yaxis, 0.123456) == "12.3 %"
    ax.set_xticks([0.5, 4], [r"$\eta$", "0.5\nl = 8"])
    assert said(ax.xaxis, 4) == "0.5 l = 8"
    assert said(ax.xaxis, 3.9) == "3.9"
    assert not categorical(ax.xaxis)
    assert not categorical(ax.yaxis)


def test_words_on_an_axis_are_told_from_numbers(ax):
    assert not worded(ax.xaxis)
    ax.set_xticks([1, 2], ["0.5", "−1e-3"])
    assert not worded(ax.xaxis)
    ax.set_xticks([1, 2], ["one", r"$\beta$"])
    assert worded(ax.xaxis)
    assert ticks(ax.xaxis) == {1: "one", 2: "β"}
    assert ticks(ax.yaxis) == {}


def test_categories_are_said_by_the_nearest_one(ax):
    sns.stripplot(x=[1, 2], y=["a task", "none"], ax=ax)
    assert ticks(ax.yaxis) == {0: "a task", 1: "none"}
    assert categorical(ax.yaxis)
    assert said(ax.yaxis, 0.8) == "none"
