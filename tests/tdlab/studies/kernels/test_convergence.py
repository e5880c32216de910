"""Losses, rates and guards of the kernel layer against plain loops over samples, heads and tokens.

A loop knows the formulas, the samples of a run's world and the parameters it starts with, no more.
"""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from synthetic_tasks import TokenRegression
from synthetic_tasks.threefry import stream
from tdlab.models import KERNELS
from tdlab.optimisers import SGD
from tdlab.schedule import Every
from tdlab.studies import kernels
from tdlab.studies.kernels.convergence import CAREFUL, FLOOR, TAIL
from tdlab.sweep import trained
from tdlab.trajectory import Ending, Trained
from tests.tdlab.studies.kernels.settings import LAYERS
from tests.tdlab.studies.tidy import TIDY, of

TINY = replace(
    LAYERS,
    steps=10,
    heads=(1, 3, 2),  # neither in order nor the most of them last
    value_width=4,
    query_scale=0.8,
    rate_steps=34,
    guard_scales=(0.4, 1.7),
)
TASK = TokenRegression(samples=3, tokens=2, width=5)
SEEDS = (3, 4)


def assert_tidy(table, results, *columns):
    """The promised columns; every row has the seed and the run of a member."""
    assert list(table.columns[:6]) == TIDY
    assert set(columns) <= set(table.columns)
    members = {(each.run.seed, each.run.id) for group in results.values() for each in group}
    assert set(zip(table["seed"], table["run"], strict=True)) == members


# The layer, written out.


def look(kernel, x, W_Q, W_K):
    """S, one entry after the other."""
    rows = []
    for x_k in x:
        entries = []
        for x_j in x:
            q, k = x_k @ W_Q, x_j @ W_K
            score = q @ k if kernel == "softmax" else -(q - k).square().sum() / 2
            entries.append((score / math.sqrt(len(q))).exp())
        row = torch.stack(entries)
        rows.append(row if kernel == "gaussian" else row / row.sum())
    return torch.stack(rows)


def layer(kernel, params, x):
    total = torch.zeros(len(x), 1, dtype=torch.float64)
    for W_Q, W_K, W_V, W_O in zip(*(params[f"W_{m}"] for m in "QKVO"), strict=True):
        total = total + look(kernel, x, W_Q, W_K) @ x @ W_V @ W_O
    return total


def samples(seed):
    return TASK.world(stream(seed, "world"))


def loss_of(kernel, params, seed):
    """Relative to that of predicting 0, and both as the mean over samples."""
    x, y = samples(seed)
    found = sum((layer(kernel, params, a) - b).square().sum() for a, b in zip(x, y, strict=True))
    return found / y.square().sum()


def features(kernel, params, seed):
    """S_h X of every head, the rows of all samples below each other."""
    return [
        torch.cat([look(kernel, x, W_Q, W_K) @ x for x in samples(seed).prompt]).numpy()
        for W_Q, W_K in zip(params["W_Q"], params["W_K"], strict=True)
    ]


def started(run):
    return run.model.init(stream(run.seed, "init"))


def squares(run):
    """The squared singular values of the outputs' Jacobian in W_V, over N: ascending.

    With one output, d F = sum_h B_h dW_V,h W_O,h, so that J J^T = sum_h |W_O,h|^2 B_h B_h^T.
    """
    start = started(run)
    parts = zip(features(run.model.kernel, start, run.seed), start["W_O"], strict=True)
    gram = sum(float(W_O.square().sum()) * B @ B.T for B, W_O in parts)
    return np.linalg.eigvalsh(gram / 3)


def squares_in_all(run):
    """The same for all matrices, from the gradients of the outputs one by one."""
    leaves = {name: leaf.requires_grad_() for name, leaf in started(run).items()}
    rows = []
    for x in samples(run.seed).prompt:
        for output in layer(run.model.kernel, leaves, x).flatten():
            parts = torch.autograd.grad(output, list(leaves.values()), retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
    jacobian = torch.stack(rows).numpy()
    return np.linalg.eigvalsh(jacobian @ jacobian.T / 3)


# The phase plot.

PHASE = [
    ("softmax", "all", 3),
    ("gaussian", "W_Q", 1),
    ("gaussian", "W_V", 3),
    ("normalized gaussian", "W_Q", 3),
]


@pytest.fixture(scope="module")
def phases():
    runs = kernels.phase_runs(TINY)
    every = Every(stride=1)
    return {
        point: trained([replace(run, snapshots=every) for run in runs[point]]) for point in PHASE
    }


def test_the_phase_plot_is_of_every_kernel_subset_and_number_of_heads():
    runs = kernels.phase_runs(TINY)
    assert set(runs) == set(product(KERNELS, ("all", "W_V", "W_Q"), (1, 3, 2)))
    for (kernel, subset, heads), each in runs.items():
        assert each == TINY.layer_runs(kernel, heads, subset)


def test_a_relative_loss_is_that_of_the_world_before_the_last_step(phases):
    table = kernels.phase(TINY, phases)
    assert_tidy(table, phases, "kernel", "trained", "heads", "ratio")
    expected = {
        (kernel, subset, heads, each.run.seed): float(
            loss_of(kernel, each.at(TINY.steps - 1), each.run.seed)
        )
        for (kernel, subset, heads), results in phases.items()
        for each in results
    }
    found = of(table, "kernel", "trained", "heads", "seed", quantity="relative loss")
    assert found == pytest.approx(expected, rel=1e-9)
    assert set(table["step"]) == {TINY.steps}


def test_a_ratio_is_how_many_unknowns_there_are_for_each_number(phases):
    table = kernels.phase(TINY, phases)
    assert set(zip(table["heads"], table["ratio"], strict=True)) == {(1, 5 / 6), (3, 15 / 6)}


def test_what_is_not_trained_stays_bit_for_bit(phases):
    moved = {"all": {"W_Q", "W_K", "W_V", "W_O"}, "W_V": {"W_V"}, "W_Q": {"W_Q"}}
    for (_, subset, _), results in phases.items():
        for each in results:
            start = started(each.run)
            changed = {name for name in start if not torch.equal(each.final[name], start[name])}
            assert changed == moved[subset]


def planted(run, losses):
    """A result with these relative losses, of which nothing else is known."""
    target = float(samples(run.seed).target.square().sum()) / 6
    losses = torch.as_tensor(losses, dtype=torch.float64)
    return Trained(
        run=run,
        steps=(0,),
        params={},
        loss=losses * target,
        observed={},
        ending=Ending(len(losses), "finished"),
    )


def falls(losses, steps):
    """The fall of each seed's planted losses."""
    its = replace(TINY, steps=steps)
    runs = its.layer_runs("softmax", 3)
    results = {("softmax", "all", 3): [planted(*pair) for pair in zip(runs, losses, strict=True)]}
    table = kernels.phase(its, results)
    (one,), (other,) = ([of(table, "seed", quantity="fall")[seed,]] for seed in SEEDS)
    ends = of(table, "seed", quantity="relative loss")
    assert ends == pytest.approx({(s,): x[-1] for s, x in zip(SEEDS, losses, strict=True)})
    return one, other


def test_a_fall_is_how_many_decades_the_second_half_of_the_steps_brought():
    assert TAIL == 0.5
    t = np.arange(50)
    assert falls([10 ** (-0.02 * t), np.full(50, 0.3)], 50) == pytest.approx((0.5, 0))
    early = np.where(t < 24, 1.0, 0.01)  # halfway it was down already
    late = np.where(t < 25, 1.0, 0.01)
    assert falls([early, late], 50) == pytest.approx((0, 2))


def test_below_the_floor_nothing_falls():
    assert FLOOR == 1e-20
    t = np.arange(50)
    deep, crossing = 10.0 ** (-22 - t), np.where(t < 45, 1e-18, 1e-25)
    assert falls([deep, crossing], 50) == pytest.approx((0, 2))


# Rates.

RATES = [("softmax", "W_V"), ("gaussian", "W_V"), ("gaussian", "all")]


@pytest.fixture(scope="module")
def rate_runs():
    return kernels.rate_runs(TINY)


@pytest.fixture(scope="module")
def descended(rate_runs):
    return {point: trained(rate_runs[point]) for point in RATES}


@pytest.fixture(scope="module")
def rates(descended):
    return kernels.rates(TINY, descended)


def test_a_step_is_one_over_the_curvature_and_a_share_of_it_where_that_changes(rate_runs):
    assert set(rate_runs) == {(kernel, subset) for kernel in KERNELS for subset in ("W_V", "all")}
    for (kernel, subset), runs in rate_runs.items():
        plain = TINY.layer_runs(kernel, 3, subset, steps=34)
        for run, base in zip(runs, plain, strict=True):
            lr = 1 / squares(run)[-1] if subset == "W_V" else CAREFUL / squares_in_all(run)[-1]
            assert run.optimiser.lr == pytest.approx(lr, rel=1e-10)
            assert run == replace(base, optimiser=run.optimiser)
    assert CAREFUL < 1


def by_gradient_descent(run):
    """The relative losses while only W_V moves, from the gradient written out."""
    start, y = started(run), samples(run.seed).target.flatten().numpy()
    B, W_V = features(run.model.kernel, start, run.seed), start["W_V"].numpy().copy()
    W_O, losses = start["W_O"].numpy(), []
    for _ in range(TINY.rate_steps):
        error = sum(B[h] @ W_V[h] @ W_O[h] for h in range(3))[:, 0] - y
        losses.append(error @ error / (y @ y))
        for h in range(3):
            W_V[h] -= run.optimiser.lr / 3 * np.outer(B[h].T @ error, W_O[h])
    return losses


def test_with_w_v_alone_the_loss_is_the_solved_curve_and_that_of_a_plain_loop(rates, descended):
    assert_tidy(rates, descended, "kernel", "trained")
    for kernel in ("softmax", "gaussian"):
        where = {"quantity": "relative loss", "kernel": kernel, "trained": "W_V"}
        expected = {
            (each.run.seed, step): loss
            for each in descended[kernel, "W_V"]
            for step, loss in enumerate(by_gradient_descent(each.run))
        }
        for source in ("measured", "theory"):
            found = of(rates, "seed", "step", source=source, **where)
            assert found == pytest.approx({point: expected[point] for point in found}, rel=1e-8)
            assert {0, 1, 2, 33} <= {step for _, step in found}


def test_where_all_moves_the_loss_is_that_of_plain_steps_and_nothing_is_solved(rates, descended):
    rows = rates[(rates.quantity == "relative loss") & (rates.trained == "all")]
    assert set(rows.source) == {"measured"}
    losses = of(rows, "seed", "step", kernel="gaussian")
    for each in descended["gaussian", "all"]:
        seed, params = each.run.seed, started(each.run)
        target = float(samples(seed).target.square().sum()) / 6  # the mean, of predicting 0
        for step in range(4):
            leaves = {name: leaf.requires_grad_() for name, leaf in params.items()}
            loss = loss_of("gaussian", leaves, seed)
            assert losses[seed, step] == pytest.approx(loss.item(), rel=1e-9)
            gradients = torch.autograd.grad(target * loss, list(leaves.values()))
            moves = zip(leaves.items(), gradients, strict=True)
            lr = each.run.optimiser.lr
            params = {name: (leaf - lr * move).detach() for (name, leaf), move in moves}
        assert losses[seed, 33] == pytest.approx(float(each.loss[33]) / target)


def slope(losses, steps):
    """How fast the log falls, by least squares."""
    middle = sum(steps) / len(steps)
    above = sum((step - middle) * math.log(losses[step]) for step in steps)
    return -above / sum((step - middle) ** 2 for step in steps)


def test_a_rate_is_how_fast_the_log_of_the_loss_falls_in_the_last_third(rates, descended):
    for (kernel, subset), results in descended.items():
        where = {"kernel": kernel, "trained": subset}
        found = of(rates, "seed", quantity="rate", **where)
        straight = of(rates, "seed", quantity="straight", **where)
        for each in results:
            losses = each.loss.tolist()
            middle, last = slope(losses, range(11, 23)), slope(losses, range(23, 34))
            assert found[each.run.seed,] == pytest.approx(last, rel=1e-7)
            assert straight[each.run.seed,] == pytest.approx(last / middle, rel=1e-7)


def test_a_predicted_rate_is_that_of_the_smallest_singular_value(rates, descended):
    for (kernel, subset), results in descended.items():
        where = {"quantity": "rate", "kernel": kernel, "trained": subset}
        found = of(rates, "seed", source="theory", **where)
        for each in results:
            x = each.run.optimiser.lr * squares(each.run)[0]
            expected = -2 * math.log(1 - x) if subset == "W_V" else 2 * x
            assert found[each.run.seed,] == pytest.approx(expected, rel=1e-6)


def test_sigma_min_is_that_of_the_features_of_all_heads_side_by_side(rates, descended):
    for (kernel, subset), results in descended.items():
        found = of(rates, "seed", quantity="sigma_min", kernel=kernel, trained=subset)
        for each in results:
            B = np.hstack(features(kernel, started(each.run), each.run.seed))
            assert B.shape == (6, 15)
            expected = np.linalg.svd(B, compute_uv=False)[-1]
            assert found[each.run.seed,] == pytest.approx(expected, rel=1e-9)


LONG = replace(TINY, rate_steps=600)
T = np.arange(600)


def fitted(one, other):
    """Rate and straightness of planted losses, each of one seed."""
    runs = [
        replace(run, optimiser=SGD(lr=0.01))
        for run in LONG.layer_runs("gaussian", 3, "all", steps=600)
    ]
    results = [planted(run, losses) for run, losses in zip(runs, (one, other), strict=True)]
    table = kernels.rates(LONG, {("gaussian", "all"): results})
    return [
        [of(table, "seed", quantity=name)[seed,] for seed in SEEDS] for name in ("rate", "straight")
    ]


def test_a_linear_rate_is_straight_and_a_power_law_is_not():
    rate, straight = fitted(0.7 * np.exp(-0.03 * T), (1 + T) ** -2.0)
    assert rate[0] == pytest.approx(0.03)
    assert straight[0] == pytest.approx(1)
    # About log(3/2) over log 2, whatever the power.
    assert straight[1] == pytest.approx(0.58, abs=0.02)


def test_a_rate_is_fitted_above_the_floor_only():
    # At 0.1 a step the floor is reached at step 460; what lies below is rounding.
    rate, straight = fitted(np.maximum(np.exp(-0.1 * T), 1e-22), np.exp(-0.05 * T))
    assert rate == pytest.approx([0.1, 0.05])
    assert straight == pytest.approx([1, 1])


def test_a_rate_that_changes_is_told_by_its_last_third():
    bent = np.where(T < 400, -0.02 * T, -0.02 * 400 - 0.005 * (T - 400))
    rate, straight = fitted(np.exp(bent), np.exp(-0.02 * T))
    assert rate == pytest.approx([0.005, 0.02])
    assert straight == pytest.approx([0.25, 1])


def test_a_loss_that_is_rounding_within_a_few_steps_has_no_rate():
    rate, straight = fitted(np.maximum(np.exp(-6.0 * T), 1e-22), np.exp(-0.02 * T))
    assert math.isnan(rate[0])
    assert math.isnan(straight[0])
    assert rate[1] == pytest.approx(0.02)


# Guards.


@pytest.fixture(scope="module")
def guards():
    return kernels.guards(TINY)


@pytest.mark.parametrize("scale", TINY.guard_scales)
@pytest.mark.parametrize("kernel", KERNELS)
def test_guards_are_what_plain_loops_over_the_kernel_give(guards, kernel, scale):
    base = replace(TINY.layer(kernel, 3), query_scale=scale, key_scale=scale)
    for seed in SEEDS:
        rows = guards[(guards.kernel == kernel) & (guards.scale == scale) & (guards.seed == seed)]
        found = of(rows, "quantity", "matrix")
        params = {n: w.requires_grad_() for n, w in base.init(stream(seed, "init")).items()}
        sums, entropies = [], []
        for x in samples(seed).prompt:
            for W_Q, W_K in zip(params["W_Q"], params["W_K"], strict=True):
                for row in look(kernel, x, W_Q, W_K).tolist():
                    sums.append(sum(row))
                    entropies.append(-sum(s * math.log(s) for s in row))
        plain = {name: leaf.detach() for name, leaf in params.items()}
        B = np.hstack(features(kernel, plain, seed))
        expected = {
            ("row sum", ""): np.mean(sums),
            ("sigma_min", ""): np.linalg.svd(B, compute_uv=False)[-1],
        }
        if kernel != "gaussian":
            expected["entropy", ""] = np.mean(entropies)
            assert sums == pytest.approx([1] * len(sums))
        gradients = torch.autograd.grad(loss_of(kernel, params, seed), list(params.values()))
        for name, gradient in zip(params, gradients, strict=True):
            expected["gradient", name] = math.sqrt(float(gradient.square().sum()))
        assert found == pytest.approx(expected, rel=1e-8)
        assert set(rows["step"]) == {0}


def test_guards_are_of_every_kernel_and_scale(guards):
    assert list(guards.columns[:6]) == TIDY
    assert set(zip(guards.kernel, guards.scale, strict=True)) == {
        (kernel, scale) for kernel in KERNELS for scale in (0.4, 1.7)
    }
    assert set(guards.seed) == set(SEEDS)


def test_a_gaussian_kernel_dies_and_softmax_saturates_where_queries_and_keys_are_large():
    table = kernels.guards(replace(TINY, guard_scales=(0, 40)))
    rows = table[table.seed == 3]
    sums = of(rows, "kernel", "scale", quantity="row sum")
    assert sums["gaussian", 0] == pytest.approx(2)  # all tokens alike
    assert sums["gaussian", 40] < 1e-6
    entropies = of(rows, "kernel", "scale", quantity="entropy")
    assert entropies["softmax", 0] == pytest.approx(math.log(2))
    assert entropies["softmax", 40] < 0.2
    assert of(rows, "kernel", "scale", quantity="sigma_min")["gaussian", 40] < 1e-6
