"""The scalar examples to their printed digits, slopes, and rates against plain loops."""

import math

import numpy as np
import pytest
import torch

from tdlab.theory import song2024

# The two problems: keys, values, and what is wanted.
KEYS = (-1.0, 0.0, 1.0)
HALF, WANTED = (1.0, 0.0, 0.5), 0.8
ONES, TWO = (1.0, 1.0, 1.0), 2.0
# A generic point; keys are neither sorted nor evenly spaced.
ODD_KEYS, ODD_VALUES = (0.7, -1.3, 0.2, 1.9), (0.4, -1.1, 2.3, 0.9)
QUERIES = np.array([[-2.1, -0.6, 0.0], [0.45, 1.7, 3.2]])


def softmax(q, keys, values):
    """One query, in plain numbers."""
    weights = [math.exp(q * k) for k in keys]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def gaussian(q, keys, values):
    return sum(v * math.exp(-((q - k) ** 2) / 2) for k, v in zip(keys, values, strict=True))


def normalized_gaussian(q, keys, values):
    return gaussian(q, keys, values) / gaussian(q, keys, [1] * len(keys))


PLAIN = {
    "softmax": softmax,
    "gaussian": gaussian,
    "normalized gaussian": normalized_gaussian,
}
OUTPUT = {
    "softmax": song2024.softmax_output,
    "gaussian": song2024.gaussian_output,
    "normalized gaussian": song2024.normalized_gaussian_output,
}
SLOPE = {"softmax": song2024.softmax_slope, "gaussian": song2024.gaussian_slope}


def descend(kernel, q, values, wanted, steps, lr=0.5):
    """Where plain gradient descent on half the squared error takes a query, and its loss there."""
    h = 1e-5
    for _ in range(steps):
        slope = (PLAIN[kernel](q + h, KEYS, values) - PLAIN[kernel](q - h, KEYS, values)) / (2 * h)
        q -= lr * (PLAIN[kernel](q, KEYS, values) - wanted) * slope
    return q, 0.5 * (PLAIN[kernel](q, KEYS, values) - wanted) ** 2


# Outputs and slopes.


@pytest.mark.parametrize("kernel", PLAIN)
def test_an_output_is_its_sum_over_keys_for_every_query(kernel):
    expected = [[PLAIN[kernel](q, ODD_KEYS, ODD_VALUES) for q in row] for row in QUERIES.tolist()]
    found = OUTPUT[kernel](QUERIES, ODD_KEYS, ODD_VALUES)
    assert found == pytest.approx(np.array(expected), rel=1e-13)


@pytest.mark.parametrize("kernel", SLOPE)
def test_a_slope_is_the_central_difference_of_the_output(kernel):
    h, given = 1e-5, (ODD_KEYS, ODD_VALUES)
    rise = OUTPUT[kernel](QUERIES + h, *given) - OUTPUT[kernel](QUERIES - h, *given)
    found = SLOPE[kernel](QUERIES, *given)
    assert found == pytest.approx(rise / (2 * h), abs=1e-9)
    assert np.abs(found).min() > 1e-3  # so that none of them is right by being zero


@pytest.mark.parametrize("kernel", SLOPE)
def test_a_slope_is_what_autograd_says(kernel):
    q = torch.from_numpy(QUERIES.flatten()).requires_grad_()
    keys, values = torch.tensor([ODD_KEYS, ODD_VALUES], dtype=torch.float64)
    distance = q[:, None] - keys
    scores = {"softmax": (q[:, None] * keys).softmax(-1), "gaussian": (-(distance**2) / 2).exp()}
    (expected,) = torch.autograd.grad((scores[kernel] @ values).sum(), q)
    found = SLOPE[kernel](QUERIES, ODD_KEYS, ODD_VALUES)
    assert found.flatten() == pytest.approx(expected.numpy(), rel=1e-11)


def test_a_far_query_has_its_limit_and_no_overflow():
    far = np.array([-900.0, 900.0])
    assert song2024.softmax_output(far, ODD_KEYS, ODD_VALUES) == pytest.approx([-1.1, 0.9])
    assert song2024.softmax_slope(far, ODD_KEYS, ODD_VALUES) == pytest.approx([0, 0])
    assert song2024.gaussian_output(far, ODD_KEYS, ODD_VALUES).tolist() == [0, 0]
    normalized = song2024.normalized_gaussian_output(far, ODD_KEYS, ODD_VALUES)
    assert normalized == pytest.approx([-1.1, 0.9])


# The first problem: a barrier, and a plateau beyond it.


def test_the_barrier_is_the_log_of_one_plus_root_three_where_softmax_attains_least():
    at = song2024.barrier(KEYS, HALF)
    assert at == pytest.approx(math.log(1 + math.sqrt(3)), abs=1e-10)
    assert at == pytest.approx(1.005, abs=5e-4)
    (least,) = song2024.softmax_output(np.array([at]), KEYS, HALF)
    assert least == pytest.approx(1 - 1 / math.sqrt(3), abs=1e-12)
    assert least == pytest.approx(0.4226, abs=5e-5)
    q = np.linspace(-8, 12, 2001)
    assert song2024.softmax_output(q, KEYS, HALF).min() == pytest.approx(least, abs=1e-5)
    slope = song2024.softmax_slope(q, KEYS, HALF)
    assert (slope[q < at - 0.01] < 0).all()
    assert (slope[q > at + 0.01] > 0).all()


def test_a_barrier_is_looked_for_between_the_ends_that_are_given():
    values = (0.3, 1.0, -0.4, 0.9)
    at = song2024.barrier(ODD_KEYS, values, low=-4, high=1)
    assert -4 < at < 1
    before, there, after = song2024.softmax_slope(at + np.array([-0.01, 0, 0.01]), ODD_KEYS, values)
    assert there == pytest.approx(0, abs=1e-10)
    assert before * after < 0


def test_the_plateau_is_the_loss_that_softmax_has_with_all_attention_on_the_largest_key():
    assert song2024.plateau_loss(KEYS, HALF, WANTED) == pytest.approx(0.045, rel=1e-12)
    for keys, values, wanted in ((KEYS, HALF, WANTED), ((2.0, -1.0, 0.5), (0.3, 1.0, -2.0), 1.4)):
        (far,) = song2024.softmax_output(np.array([60.0]), keys, values)
        plateau = song2024.plateau_loss(keys, values, wanted)
        assert plateau == pytest.approx(0.5 * (far - wanted) ** 2, rel=1e-10)


@pytest.mark.parametrize("start", [-2.0, 0.0, 0.5, 1.0])
def test_softmax_started_before_the_barrier_reaches_zero(start):
    assert descend("softmax", start, HALF, WANTED, steps=2000)[1] < 1e-10


@pytest.mark.parametrize("start", [1.04, 1.5, 3.0, 5.0])
def test_softmax_started_beyond_the_barrier_drifts_away_to_the_plateau(start):
    middle, loss = descend("softmax", start, HALF, WANTED, steps=2000)
    end, later = descend("softmax", middle, HALF, WANTED, steps=2000)
    assert start < middle < end
    assert 0.045 < later < loss < 0.0465


@pytest.mark.parametrize("start", [-2.0, -1.0, 0.0, 0.5, 1.0, 1.04, 2.0, 3.0, 4.0, 5.0])
def test_the_gaussian_kernel_reaches_zero_from_every_start_up_to_five(start):
    assert descend("gaussian", start, HALF, WANTED, steps=3000)[1] < 1e-10


@pytest.mark.parametrize("start", [6.0, 7.0])
def test_the_gaussian_kernel_is_dead_from_six_on(start):
    end, loss = descend("gaussian", start, HALF, WANTED, steps=20_000)
    assert start - end < 0.2
    assert loss == pytest.approx(0.5 * WANTED**2, rel=1e-3)  # that of predicting 0


# The second problem: out of reach of softmax.


def test_softmax_of_equal_values_is_constant():
    assert song2024.softmax_output(QUERIES, KEYS, ONES) == pytest.approx(np.ones((2, 3)), abs=1e-15)
    assert song2024.softmax_slope(QUERIES, KEYS, ONES) == pytest.approx(np.zeros((2, 3)), abs=1e-15)


def test_the_gaussian_kernel_attains_two_at_a_query_of_plus_or_minus_0660():
    right = song2024.solution(KEYS, ONES, TWO, 0, 3)
    left = song2024.solution(KEYS, ONES, TWO, -3, 0)
    assert right == pytest.approx(0.660, abs=5e-4)
    assert left == pytest.approx(-right, abs=1e-10)
    for q in (left, right):
        assert gaussian(q, KEYS, ONES) == pytest.approx(TWO, abs=1e-11)
    assert descend("gaussian", 0.1, ONES, TWO, steps=500)[0] == pytest.approx(right, abs=1e-6)
    assert descend("gaussian", -2.0, ONES, TWO, steps=500)[0] == pytest.approx(left, abs=1e-6)


def test_between_its_two_solutions_the_gaussian_kernel_is_stationary():
    assert song2024.gaussian_slope(np.zeros(1), KEYS, ONES).tolist() == [0]
    assert gaussian(0, KEYS, ONES) == pytest.approx(1 + 2 * math.exp(-0.5))


@pytest.mark.parametrize(
    "asked",
    [
        lambda: song2024.barrier(KEYS, HALF, low=2, high=9),
        lambda: song2024.barrier(KEYS, HALF, low=-9, high=0.5),
        lambda: song2024.solution(KEYS, ONES, TWO, 1, 3),
        lambda: song2024.solution(KEYS, ONES, 2.5, 0, 3),  # more than the kernel ever is
    ],
)
def test_a_root_that_does_not_lie_between_the_ends_is_refused(asked):
    with pytest.raises(ValueError, match="different signs"):
        asked()


# Frozen scores.


def test_capacity_is_the_unknowns_for_each_number_to_be_reached():
    assert song2024.capacity(heads=3, width=5, samples=2, tokens=7) == pytest.approx(15 / 14)
    assert song2024.capacity(heads=4, width=8, samples=4, tokens=4) == 2


def least_squares(rows, columns, seed=3):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, columns)), generator.normal(size=rows)


def by_gradient_descent(jacobian, residual, lr, steps):
    """The loss of the linear model before each step, one step after the other."""
    weights, losses = np.zeros(jacobian.shape[1]), []
    for _ in range(steps):
        error = jacobian @ weights + residual
        losses.append(0.5 * error @ error)
        weights = weights - lr * jacobian.T @ error
    return np.array(losses)


# Fewer rows than columns (every target is reached), more, as many, and a rank below both.
SHAPES = [(4, 9), (9, 4), (5, 5)]
PROBLEMS = [least_squares(*shape) for shape in SHAPES]
PROBLEMS.append((np.outer([1.0, -2, 0.5, 1], [0.3, 1, -1]), np.array([0.2, -1.0, 0.7, 1.1])))


@pytest.mark.parametrize("problem", PROBLEMS, ids=[*map(str, SHAPES), "rank 1"])
@pytest.mark.parametrize("share", [0.02, 0.6, 1.0, 1.97, 2.02])  # of 1 / curvature; 2 is the edge
def test_losses_with_frozen_scores_are_those_of_gradient_descent_step_by_step(problem, share):
    jacobian, residual = problem
    lr = share / np.linalg.norm(jacobian, 2) ** 2
    expected = by_gradient_descent(jacobian, residual, lr, 60)
    found = song2024.losses_with_frozen_scores(jacobian, residual, lr, 60)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert found[0] == pytest.approx(0.5 * residual @ residual)
    assert (found[-1] > found[30]) == (share > 2)


@pytest.mark.parametrize("share", [0.05, 0.9])
def test_the_late_rate_is_that_of_the_smallest_singular_value(share):
    jacobian, residual = least_squares(4, 9)
    sigma = np.linalg.svd(jacobian, compute_uv=False)
    lr = share / sigma[0] ** 2
    losses = song2024.losses_with_frozen_scores(jacobian, residual, lr, 2000)
    late = np.flatnonzero(losses > 1e-24)[-2:]
    fall = -np.diff(np.log(losses[late])).item()
    rate = song2024.rate_with_frozen_scores(float(sigma[-1]), lr)
    assert fall == pytest.approx(rate, rel=1e-6)
    assert rate == pytest.approx(-math.log((1 - lr * sigma[-1] ** 2) ** 2), rel=1e-12)


def test_what_is_left_of_a_loss_is_exact_far_below_where_it_started():
    # A difference of squares would leave about 1e-16 of it.
    jacobian, residual = least_squares(4, 9)
    lr = 1 / float(np.linalg.norm(jacobian, 2)) ** 2
    expected = by_gradient_descent(jacobian, residual, lr, 400)
    found = song2024.losses_with_frozen_scores(jacobian, residual, lr, 400)
    deep = expected > 1e-24
    assert expected[deep][-1] < 1e-23
    assert found[deep] == pytest.approx(expected[deep], rel=1e-3, abs=0)


def test_what_no_weights_reach_stays():
    jacobian, residual = least_squares(9, 4)
    best = residual - jacobian @ np.linalg.lstsq(jacobian, residual, rcond=None)[0]
    lr = 1 / float(np.linalg.norm(jacobian, 2)) ** 2
    losses = song2024.losses_with_frozen_scores(jacobian, residual, lr, 4000)
    assert losses[-1] == pytest.approx(0.5 * best @ best, rel=1e-12)
    assert losses[-1] > 0.1


def test_the_estimate_is_the_first_order_of_the_rate_and_never_above_it():
    sigma = 1.7
    for lr in (1e-2, 1e-3, 1e-4):
        x = lr * sigma**2
        estimate = song2024.estimate_rate(sigma, lr)
        rate = song2024.rate_with_frozen_scores(sigma, lr)
        assert estimate == pytest.approx(2 * x, rel=1e-12)
        # -2 log(1 - x) = 2 x (1 + x / 2 + x^2 / 3 + ..)
        assert rate / estimate - 1 == pytest.approx(x / 2 + x**2 / 3, rel=1e-3)
        assert estimate < rate


def test_a_rate_past_the_bottom_of_its_mode_is_that_of_the_mode_all_the_same():
    # 1 - eta sigma^2 = -1/2, which is no slower and no faster than 1/2.
    overshooting = song2024.rate_with_frozen_scores(1.0, 1.5)
    assert overshooting == pytest.approx(math.log(4))
    assert overshooting == pytest.approx(song2024.rate_with_frozen_scores(1.0, 0.5))
