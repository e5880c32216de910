"""What the figures of the study of several layers show is read back off them."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tdlab.figures import multilayer as figures
from tdlab.results import tidy
from tests.tdlab.figures.artists import is_theory, legend, near, words

KINDS = ("in context", "chain of thought")
SEEDS = (3, 4, 5)
FACTORS = np.array([0.8, 1.0, 1.4])  # of the seeds: the median is the second, the mean is not
STEPS, LAYERS, HEADS = (0, 10, 200), (1, 2, 3), (1, 2)
MEMBER: dict[str, Any] = {"member": range(3), "seed": ("member", SEEDS), "source": "measured"}
PLACES: dict[str, Any] = {"layer": LAYERS, "head": HEADS}


def number(*place: int) -> float:
    """A number of its own for each place, below one."""
    return 0.05 + sum(at * 0.1 / 7**level for level, at in enumerate(place))


T_2 = 4.30265272974946  # 97.5 % of Student's distribution with two degrees of freedom
# Student's interval of the mean of numbers that are 1 at the median.
BAR = FACTORS.mean() + np.array([-1, 1]) * T_2 * FACTORS.std(ddof=1) / 3**0.5


def of_seeds(values: Any) -> np.ndarray:
    return np.multiply.outer(FACTORS, np.asarray(values))


def dynamics() -> pd.DataFrame:
    tables = []
    for k, kind in enumerate(KINDS):
        for tasks in ("trained", "unseen") if kind == KINDS[0] else ("trained",):
            off = 0.5 * (kind == KINDS[0] and tasks == "trained")
            values = of_seeds(
                [[[off + number(k, s, a, b) for b in HEADS] for a in LAYERS] for s in range(3)]
            )
            at = {"step": STEPS, "kind": kind, "tasks": tasks, **PLACES, **MEMBER}
            tables.append(tidy("concentration", values, "member step layer head", **at))
            tables.append(
                tidy("error", 0.9, "", source="measured", kind=kind, tasks=tasks, step=200)
            )
            limit = {"kind": kind, "tasks": tasks, "step": 200}
            tables.append(tidy("concentration", 1.0, "", source="theory", **limit))
    return pd.concat(tables, ignore_index=True)


def generalization() -> pd.DataFrame:
    tables = []
    for t, tasks in enumerate(("trained", "unseen", "unseen by all")):
        for c, trained in enumerate((6, 12, 24)):
            for q, quantity in enumerate(("loss", "error")):
                values = of_seeds(number(q, t, c))
                tables.append(
                    tidy(quantity, values, "member", tasks=tasks, trained=trained, **MEMBER)
                )
    tables.append(tidy("error", 0.0, "", source="theory", tasks="unseen", trained=6))
    return pd.concat(tables, ignore_index=True)


def shift() -> pd.DataFrame:
    tables = []
    for k, (kind, varied) in enumerate(zip(KINDS, ("coefficient_sum", "noise"), strict=True)):
        values = of_seeds([number(k, place) for place in range(4)])
        at = {"kind": kind, "varied": varied, "at": (0.1, 0.2, 0.5, 0.7), **MEMBER}
        tables.append(tidy("error", values, "member at", **at))
    return pd.concat(tables, ignore_index=True)


def heads() -> pd.DataFrame:
    tables = []
    for q, quantity in enumerate(("loss", "error")):
        for k, kind in enumerate(KINDS):
            whole = of_seeds(number(q, k))
            tables.append(tidy(quantity, whole, "member", kind=kind, intervention="none", **MEMBER))
            for i, intervention in enumerate(("pruned", "uniform")):
                values = of_seeds([[number(q, k, i, a, b) for b in HEADS] for a in LAYERS])
                at = {"kind": kind, "intervention": intervention, **PLACES, **MEMBER}
                tables.append(tidy(quantity, values, "member layer head", **at))
    return pd.concat(tables, ignore_index=True)


def neurons() -> pd.DataFrame:
    tables = []
    for q, quantity in enumerate(("loss", "error")):
        for k, kind in enumerate(KINDS):
            for o, order in enumerate(("smallest", "random", "largest")):
                values = of_seeds([number(q, k, o, f) for f in range(3)])
                at = {"kind": kind, "order": order, "fraction": (0.0, 0.5, 1.0), **MEMBER}
                tables.append(tidy(quantity, values, "member fraction", **at))
    return pd.concat(tables, ignore_index=True)


def variants() -> pd.DataFrame:
    tables = []
    for v, variant in enumerate(("unchanged", "gradient descent")):
        for w, when in enumerate(("before", "after")):
            values = of_seeds([[number(v, w, a, b) for b in HEADS] for a in LAYERS])
            at = {"variant": variant, "when": when, **MEMBER}
            tables.append(tidy("concentration", values, "member layer head", **at, **PLACES))
            tables.append(tidy("error", of_seeds(0.1 * (v + 1)) / 3.2, "member", **at))
    return pd.concat(tables, ignore_index=True)


DRAWN = {
    "concentration": dynamics(),
    "generalization": generalization(),
    "shift": shift(),
    "heads": heads(),
    "neurons": neurons(),
    "variants": variants(),
}


@cache
def drawn(name):
    return getattr(figures, name)(DRAWN[name])


def lines(ax):
    """The lines that are drawn; those of error bars join nothing."""
    joined = [line for line in ax.lines if line.get_linestyle() != "None"]
    return [line.get_xydata() for line in joined if len(line.get_xdata()) > 2]


def test_concentration_has_a_panel_a_kind_and_layer_with_a_line_a_head_and_the_limit():
    figure = drawn("concentration")
    assert [ax.get_title() for ax in figure.axes] == [
        f"{k}, layer {a}" for k in KINDS for a in LAYERS
    ]
    for place, ax in enumerate(figure.axes):
        k, layer = place // 3, LAYERS[place % 3]
        found = lines(ax)
        for head, line in zip(HEADS, found, strict=True):
            assert line == near([(s, number(k, p, layer, head)) for p, s in enumerate(STEPS)])
        limits = [line for line in ax.lines if is_theory(line)]
        assert [set(line.get_ydata()) for line in limits] == [{1.0}]
    assert list(legend(figure)) == [
        *("head 1", "head 2", "theory, one layer: towards 1 (grey: before training)")
    ]


def test_generalization_has_the_mean_error_by_the_number_of_training_tasks():
    figure = drawn("generalization")
    (ax,) = figure.axes
    mean = FACTORS.mean()
    for t, line in enumerate(lines(ax)[:3]):
        beside = 0.3 * (t == 2)
        expected = [(x + beside, mean * number(1, t, c)) for c, x in enumerate((6, 12, 24))]
        assert line == near(expected)
        ends = [bar[:, 1] for bar in ax.collections[t].get_segments()]
        assert np.array(ends) == near([BAR * number(1, t, c) for c in range(3)])
    assert ax.get_xticks().tolist() == [6, 12, 24]
    named = ["trained tasks", "unseen tasks", "the 6 tasks that no set has"]
    assert list(legend(figure))[:3] == named


def test_shift_has_a_panel_a_kind_with_the_mean_error():
    left, right = drawn("shift").axes
    for k, ax in enumerate((left, right)):
        assert ax.get_title() == KINDS[k]
        (line,) = lines(ax)
        at = (0.1, 0.2, 0.5, 0.7)
        assert line == near([(x, FACTORS.mean() * number(k, p)) for p, x in enumerate(at)])


def test_heads_are_in_the_order_of_layers_beside_the_whole_model():
    figure = drawn("heads")
    for k, ax in enumerate(figure.axes):
        assert words(ax.get_xticklabels()) == [f"{a}.{b}" for a in LAYERS for b in HEADS]
        (whole,) = [line for line in ax.lines if line.get_label() == "the whole model"]
        assert whole.get_ydata() == near([FACTORS.mean() * number(0, k)] * 2)
        points = [line for line in ax.lines if len(line.get_xdata()) == 6]
        for i, line in enumerate(points[:2]):
            medians = [number(0, k, i, a, b) for a in LAYERS for b in HEADS]
            assert line.get_ydata() == near(FACTORS.mean() * np.array(medians))
            after = list(ax.lines).index(line) + 1  # each point's bar is a line of its own
            ends = [bar.get_ydata() for bar in ax.lines[after : after + 6]]
            assert np.array(ends) == near(np.multiply.outer(medians, BAR))
    assert list(legend(figure)) == ["head pruned", "attention held uniform", "the whole model"]


def test_neurons_have_the_median_loss_of_each_order():
    figure = drawn("neurons")
    for k, ax in enumerate(figure.axes):
        for o, line in enumerate(lines(ax)):
            expected = [(f, number(0, k, o, p)) for p, f in enumerate((0.0, 0.5, 1.0))]
            assert line == near(expected)
    assert list(legend(figure)) == ["smallest first", "random", "largest first"]


def test_variants_show_the_highest_head_of_each_seed_and_where_it_began():
    figure = drawn("variants")
    assert [ax.get_title() for ax in figure.axes] == ["layer 1", "layer 2", "layer 3"]
    labels = words(figure.axes[0].get_yticklabels())
    mean = FACTORS.mean() / 3.2
    assert labels == [
        f"unchanged\n(error {0.1 * mean:.1%})",
        f"gradient descent\n(error {0.2 * mean:.1%})",
    ]
    for layer, ax in zip(LAYERS, figure.axes, strict=True):
        points = np.concatenate([each.get_offsets() for each in ax.collections])
        expected = [f * number(v, 1, layer, 2) for v in (0, 1) for f in FACTORS]
        assert sorted(points[:, 0]) == near(sorted(expected))
        ticks = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
        starts = [FACTORS.mean() * number(v, 0, layer, 2) for v in (0, 1)]
        assert ticks == near(starts)


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_can_be_read_aloud(name):
    assert str(drawn(name).get_label()).endswith(".")
