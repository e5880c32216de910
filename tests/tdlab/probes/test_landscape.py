"""Lines and planes against plain loops, whatever the memory; and the memory itself."""

import math

import pytest
import torch
from torch.func import vmap

from tdlab.probes import line, over_points, plane
from tdlab.probes.landscape import peak_bytes

X = torch.tensor([-1.0, -0.3, 0.2, 0.9, 1.7], dtype=torch.float64)
Y = torch.tensor([-0.6, 0.1, 1.1], dtype=torch.float64)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241109)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def some(generator):
    return {"W": normal(generator, 4, 6), "v": normal(generator, 6), "c": normal(generator)}


@pytest.fixture
def params(generator):
    return some(generator)


@pytest.fixture
def risk(generator):
    """A small network on data of its own, prompt by prompt."""
    prompts, targets = normal(generator, 9, 4), normal(generator, 9)

    def network(params, x):
        return torch.tanh(x @ params["W"]) @ params["v"] + params["c"]

    return lambda params: (vmap(network, (None, 0))(params, prompts) - targets).square().mean()


def inner(one, other):
    return torch.stack([(one[name] * other[name]).sum() for name in one]).sum()


def moved(params, *terms):
    return {
        name: leaf + sum(share * step[name] for share, step in terms)
        for name, leaf in params.items()
    }


# What is evaluated, and where it stands.


@pytest.mark.parametrize("memory", [1, 2000, 10_000, 2**40])
def test_a_plane_has_a_row_for_each_y_and_a_column_for_each_x_whatever_the_memory(
    risk, params, generator, memory
):
    first, second = some(generator), some(generator)
    losses = plane(risk, params, first, second, X, Y, memory)
    assert losses.shape == (3, 5)
    for j, y in enumerate(Y.tolist()):
        for i, x in enumerate(X.tolist()):
            torch.testing.assert_close(losses[j, i], risk(moved(params, (x, first), (y, second))))


@pytest.mark.parametrize("memory", [1, 2000, 2**40])
def test_a_line_is_the_loss_at_each_point(risk, params, generator, memory):
    direction = some(generator)
    expected = [risk(moved(params, (x, direction))) for x in X.tolist()]
    torch.testing.assert_close(line(risk, params, direction, X, memory), torch.stack(expected))


def test_a_quadratic_is_a_parabola_along_every_line(params, generator):
    direction = some(generator)
    losses = line(lambda p: inner(p, p), params, direction, X)
    pairs = ((params, params), (params, direction), (direction, direction))
    a, b, c = (inner(one, other) for one, other in pairs)
    torch.testing.assert_close(losses, a + 2 * b * X + c * X**2)


def test_any_measure_can_be_taken_along_any_number_of_directions(params, generator):
    steps = [some(generator) for _ in range(3)]
    at = normal(generator, 4, 3)
    found = over_points(lambda p: p["W"] @ p["v"], params, steps, at)
    for shares, measured in zip(at.tolist(), found, strict=True):
        point = moved(params, *zip(shares, steps, strict=True))
        torch.testing.assert_close(measured, point["W"] @ point["v"])


@pytest.mark.parametrize("memory", [1, 2**40])
def test_a_loss_that_is_no_number_or_infinite_stays_in_its_place(memory):
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    at = torch.tensor([2.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    losses = line(lambda p: p["a"].log().sum(), {"a": zero}, {"a": one}, at, memory)
    assert losses[[0, 1, 3]].tolist() == [2 * math.log(2), -math.inf, 2 * math.log(0.5)]
    assert losses[2].isnan()


def test_no_gradient_is_recorded_and_the_parameters_stay_as_they_are(risk, params, generator):
    direction = some(generator)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    for memory in (1, 2**40):
        assert not line(risk, leaves, direction, X, memory).requires_grad
    assert all(
        leaves[name].equal(leaf) and leaves[name].grad is None for name, leaf in params.items()
    )


def test_a_leaf_that_no_direction_moves_is_one_for_all_points(params, generator):
    direction = {**some(generator), "v": torch.zeros(6, dtype=torch.float64)}

    def branches(p):  # on a value, which no transform could do for many
        return p["W"].sum() * (2.0 if p["v"][0] == params["v"][0] else 3.0)

    expected = 2 * (params["W"].sum() + X * direction["W"].sum())
    torch.testing.assert_close(line(branches, params, direction, X, 2**40), expected)


def test_points_in_double_precision_leave_the_loss_in_that_of_the_parameters(generator):
    params, step = ({"a": torch.randn(3, generator=generator)} for _ in range(2))
    for memory in (1, 2**40):
        losses = line(lambda p: p["a"].sum(), params, step, X, memory)
        assert losses.dtype == torch.float32


# How many at once.


def test_peak_is_the_most_that_is_alive_at_a_time():
    x = torch.ones(1000, dtype=torch.float64)  # 8,000 bytes
    assert peak_bytes(lambda x: x.exp().sin().cos(), x) == 16_000  # one is read, one is written

    def three(x):
        a, b = x.exp(), x.sin()
        return a + b

    assert peak_bytes(three, x) == 24_000


def test_views_and_what_was_there_before_take_no_bytes():
    x = torch.ones(30, 40, dtype=torch.float64)
    assert peak_bytes(lambda x: x.mT.reshape(40, 5, 6)[3:], x) == 0
    assert peak_bytes(lambda x: x.exp_().add_(1), x) == 0
    assert peak_bytes(lambda x: x.exp().T[2:].add_(1), x) == 9600


def test_peak_sees_the_batches_of_transforms():
    x = torch.ones(7, 100, dtype=torch.float64)
    assert peak_bytes(vmap(lambda row: row.exp().sin()), x) == 2 * 5600


@pytest.mark.parametrize("points", [1, 3, 10])
def test_a_chunk_stays_within_the_memory_and_uses_it(points):
    data = torch.ones(200, 50, dtype=torch.float64)
    params = {"a": torch.ones(50, dtype=torch.float64)}
    at = torch.linspace(0, 1, 20, dtype=torch.float64)

    def risk(p):
        return (data * p["a"]).exp().sum()  # 160,000 bytes alive at the peak

    def all_of_them(at):
        return line(risk, params, params, at, memory=170_000 * points)

    peak = peak_bytes(all_of_them, at)
    assert 160_000 * points <= peak <= 170_000 * points


# What does not fit.


def test_a_risk_that_is_no_single_number_is_refused(params, generator):
    step = some(generator)
    for memory in (1, 2**40):
        with pytest.raises(ValueError, match=r"^the risk has shape \(6,\), but must be a single"):
            line(lambda p: p["v"], params, step, X, memory)
        with pytest.raises(ValueError, match=r"^the risk has shape \(4, 6\), but must be a single"):
            plane(lambda p: p["W"], params, step, step, X, Y, memory)


def test_no_points_too_many_coordinates_other_leaves_and_no_memory_are_refused(
    risk, params, generator
):
    step = some(generator)
    with pytest.raises(ValueError, match=r"^points have shape \(0, 1\), but must be at least one,"):
        line(risk, params, step, X[:0])
    with pytest.raises(ValueError, match=r"^points have shape \(5, 1\), .* with 2 coordinates$"):
        over_points(risk, params, [step, step], X[:, None])
    with pytest.raises(ValueError, match=r"^v has shape \(6,\) in one, \(1,\) in the other$"):
        line(risk, params, {**step, "v": step["v"][:1]}, X)
    with pytest.raises(ValueError, match=r"^leaves are W, v, c in one, W, v in the other$"):
        line(risk, params, {"W": step["W"], "v": step["v"]}, X)
    with pytest.raises(ValueError, match=r"^memory is 0, but must be at least 1$"):
        line(risk, params, step, X, memory=0)
