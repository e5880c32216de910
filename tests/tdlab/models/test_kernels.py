"""The attention kernels against their formulas by a double loop, and what tells them apart."""

import math

import pytest
import torch

from tdlab.models import KERNELS
from tdlab.models.kernels import gaussian, normalized_gaussian, softmax

WIDTH = 3
ALL = tuple(KERNELS)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241107)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def everything(count):
    return torch.ones(count, dtype=torch.bool)


def weight(kernel, q, k):
    """An entry before it is divided by its row sum, if it is."""
    root = math.sqrt(len(q))
    if kernel == "softmax":
        return math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / root)
    return math.exp(-sum((a - b) ** 2 for a, b in zip(q, k, strict=True)) / (2 * root))


def by_the_formula(kernel, queries, keys, there):
    rows = [
        [weight(kernel, q, k) if is_one else 0.0 for k, is_one in zip(keys, there, strict=True)]
        for q in queries
    ]
    if kernel != "gaussian":
        rows = [[entry / sum(row) for entry in row] for row in rows]
    return torch.tensor(rows, dtype=torch.float64)


def far_apart(distance):
    """Queries and keys of which none is nearer to another than ``distance``."""
    places = distance * torch.arange(7, dtype=torch.float64)[:, None].expand(7, WIDTH)
    return places[:3], places[3:]


@pytest.mark.parametrize("kernel", ALL)
@pytest.mark.parametrize("there", [(True,) * 5, (True, False, True, True, False)], ids=["all", "3"])
def test_every_entry_is_that_of_the_formula(kernel, there, generator):
    queries, keys = normal(generator, 4, WIDTH), normal(generator, 5, WIDTH)
    measured = KERNELS[kernel](queries, keys, torch.tensor(there))
    expected = by_the_formula(kernel, queries.tolist(), keys.tolist(), there)
    torch.testing.assert_close(measured, expected, rtol=1e-13, atol=0)


def test_rows_of_the_normalized_kernels_sum_to_one_and_gaussian_ones_to_anything(generator):
    queries, keys = normal(generator, 4, WIDTH), normal(generator, 5, WIDTH)
    one = torch.ones(4, dtype=torch.float64)
    for kernel in (softmax, normalized_gaussian):
        torch.testing.assert_close(kernel(queries, keys, everything(5)).sum(-1), one)
    same = gaussian(queries, queries[:1].expand(5, WIDTH), everything(5)).sum(-1)
    assert same[0].item() == pytest.approx(5, abs=1e-14)  # a query that all keys coincide with
    distance = (queries[1:] - queries[0]).square().sum(-1)
    torch.testing.assert_close(same[1:], 5 * (-distance / (2 * math.sqrt(WIDTH))).exp())
    assert same[1:].max() < 4


def test_the_row_normalized_gaussian_is_softmax_with_half_the_squared_keys_taken_off(generator):
    queries, keys, mask = normal(generator, 4, WIDTH), normal(generator, 5, WIDTH), everything(5)
    plain = gaussian(queries, keys, mask)
    scores = (queries @ keys.T - keys.square().sum(-1) / 2) / math.sqrt(WIDTH)
    measured = normalized_gaussian(queries, keys, mask)
    torch.testing.assert_close(measured, plain / plain.sum(-1, keepdim=True), rtol=1e-13, atol=0)
    torch.testing.assert_close(measured, scores.softmax(-1), rtol=1e-13, atol=0)
    # And no softmax of q.k alone, unless all keys have one norm.
    assert not measured.allclose(softmax(queries, keys, mask), atol=0.01)
    sphere = torch.nn.functional.normalize(keys, dim=-1)
    torch.testing.assert_close(
        normalized_gaussian(queries, sphere, mask), softmax(queries, sphere, mask)
    )


def test_the_normalized_gaussian_is_finite_where_the_gaussian_has_underflowed():
    queries, keys = (each.requires_grad_() for each in far_apart(100.0))
    dead = gaussian(queries, keys, everything(4))
    assert dead.count_nonzero() == 0
    alive = normalized_gaussian(queries, keys, everything(4))
    # The nearest key takes all.
    assert alive.tolist() == [[1.0, 0.0, 0.0, 0.0]] * 3
    gradients = torch.autograd.grad(alive[:, 0].sum() + dead.sum(), (queries, keys))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kernel", ALL)
def test_masked_keys_get_nothing_and_change_nothing_whatever_they_hold(kernel, generator):
    queries, keys = normal(generator, 4, WIDTH), normal(generator, 5, WIDTH)
    there = torch.tensor([True, False, True, True, False])
    expected = KERNELS[kernel](queries, keys[there], everything(3))
    for size in (1.0, 1e150):  # the square of the larger one is just finite
        other = torch.where(there[:, None], keys, size * normal(generator, 5, WIDTH))
        measured = KERNELS[kernel](queries, other, there)
        assert measured[:, ~there].count_nonzero() == 0
        torch.testing.assert_close(measured[:, there], expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("kernel", ALL)
def test_no_gradient_reaches_a_masked_key(kernel, generator):
    queries, keys = normal(generator, 4, WIDTH), normal(generator, 5, WIDTH).requires_grad_()
    there = torch.tensor([True, False, True, True, False])
    entries = KERNELS[kernel](queries, keys, there) * normal(generator, 4, 5)
    (gradient,) = torch.autograd.grad(entries.sum(), keys)
    assert gradient[~there].count_nonzero() == 0
    assert gradient[there].count_nonzero() == 3 * WIDTH


@pytest.mark.parametrize("kernel", ALL)
def test_heads_are_kernels_side_by_side(kernel, generator):
    queries, keys = normal(generator, 2, 4, WIDTH), normal(generator, 2, 5, WIDTH)
    together = KERNELS[kernel](queries, keys, everything(5))
    assert together.shape == (2, 4, 5)
    for head in range(2):
        alone = KERNELS[kernel](queries[head], keys[head], everything(5))
        torch.testing.assert_close(together[head], alone, rtol=1e-14, atol=0)


def test_only_differences_count_for_the_gaussian_kernels_and_not_for_softmax(generator):
    queries, keys, shift = normal(generator, 4, 3), normal(generator, 5, 3), normal(generator, 3)
    for kernel, indifferent in ((gaussian, True), (normalized_gaussian, True), (softmax, False)):
        before = kernel(queries, keys, everything(5))
        after = kernel(queries + shift, keys + shift, everything(5))
        assert after.allclose(before, rtol=1e-12) == indifferent


@pytest.mark.parametrize("kernel", ALL)
def test_gradients_agree_with_finite_differences(kernel, generator):
    mask = torch.tensor([True, False, True, True])
    leaves = [normal(generator, count, WIDTH).requires_grad_() for count in (3, 4)]
    assert torch.autograd.gradcheck(lambda q, k: KERNELS[kernel](q, k, mask), leaves)


def test_in_single_precision_an_entry_of_a_distant_pair_is_off_by_the_rounding_of_its_squares():
    """q = k at distance r: two halves of r^2 and a product, each rounded at 2^-24 r^2."""
    r = 30.0
    point = torch.full((1, WIDTH), r / math.sqrt(WIDTH))
    entry = gaussian(point, point, torch.tensor([True])).item()
    assert entry == pytest.approx(1, abs=4 * 2**-24 * r**2 / math.sqrt(WIDTH))
