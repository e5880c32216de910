import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from synthetic_tasks.patterns import coefficients, dictionary, mixtures, random_pairs, rotate
from synthetic_tasks.threefry import fold, stream

KEY = stream(4, "world")


def keys(count: int) -> Tensor:
    return torch.stack([fold(KEY, number) for number in range(count)])


def assert_orthogonal(rows: Tensor, norm: float) -> None:
    gram = norm**2 * torch.eye(len(rows), dtype=torch.float64)
    torch.testing.assert_close(rows @ rows.T, gram, rtol=0, atol=1e-12 * norm**2)


@pytest.mark.parametrize(("count", "width", "norm"), [(1, 1, 2.0), (3, 7, 0.7), (30, 30, 3.0)])
def test_a_dictionary_is_orthogonal_with_the_norm_asked_for(count, width, norm):
    rows = dictionary(KEY, count, width, norm)
    assert rows.shape == (count, width)
    assert rows.dtype == torch.float64
    assert_orthogonal(rows, norm)


def test_a_dictionary_is_a_function_of_its_key():
    assert dictionary(KEY, 3, 5, 1.0).equal(dictionary(KEY, 3, 5, 1.0))
    assert not dictionary(KEY, 3, 5, 1.0).allclose(dictionary(fold(KEY, 1), 3, 5, 1.0))


def test_orientations_are_uniformly_random():
    n, width = 1000, 3
    q = torch.vmap(lambda key: dictionary(key, width, width, 1.0))(keys(n))
    # A Haar entry has mean 0, E q^2 = 1/d and E q^4 = 3/(d(d+2)).
    assert (q.mean(0).abs() < 5 * math.sqrt(1 / width / n)).all()
    spread = math.sqrt((3 / (width * (width + 2)) - 1 / width**2) / n)
    assert ((q.square().mean(0) - 1 / width).abs() < 5 * spread).all()
    # The trace of a Haar orthogonal matrix has mean 0 and variance 1 (reflections included).
    trace = torch.einsum("n i i -> n", q)
    assert abs(trace.mean()) < 5 / math.sqrt(n)
    assert abs(torch.linalg.det(q).mean()) < 5 / math.sqrt(n)


def test_more_patterns_than_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"^5 orthogonal patterns do not fit into 4 dimensions$"):
        dictionary(KEY, 5, 4, 1.0)


def test_a_rotation_keeps_span_and_norm_and_moves_every_pattern():
    before = dictionary(KEY, 4, 9, 1.5)
    after = rotate(fold(KEY, 1), before)
    assert_orthogonal(after, 1.5)
    inside = after @ before.T @ before / 1.5**2
    torch.testing.assert_close(inside, after, rtol=0, atol=1e-12)
    assert ((after - before).norm(dim=1) > 0.1).all()


@pytest.mark.parametrize("s1", [-math.sqrt(2), -0.3, 0.0, 0.5, 1.0, 1.23, math.sqrt(2)])
def test_pairs_have_the_coefficients_of_the_theory(s1):
    root = math.sqrt(max(2 - s1**2, 0))
    expected = torch.tensor([(s1 + root) / 2, (s1 - root) / 2], dtype=torch.float64)
    # Near the limit sqrt(2 - s1^2) loses half the digits.
    torch.testing.assert_close(coefficients(2, s1), expected, rtol=0, atol=3e-8)


@given(size=st.integers(2, 12), share=st.floats(-1, 1))
def test_groups_of_any_size_have_unit_norm_and_the_sum_asked_for(size, share):
    s1 = share * math.sqrt(size)
    k = coefficients(size, s1)
    assert k.shape == (size,)
    assert k.sum().item() == pytest.approx(s1, abs=1e-12)
    assert k.norm().item() == pytest.approx(1, abs=1e-12)


def test_a_group_of_one_is_the_pattern_itself_or_its_negative():
    assert coefficients(1, 1.0).tolist() == [1]
    assert coefficients(1, -1.0).tolist() == [-1]


@pytest.mark.parametrize(
    ("size", "s1", "limit"),
    [(2, 1.5, "1.414"), (2, -1.42, "1.414"), (5, 2.3, "2.236")],
)
def test_an_infeasible_sum_is_refused_with_the_feasible_range(size, s1, limit):
    line = rf"^coefficient_sum is {s1}, but .* {size} .* S_1 in \[-{limit}, {limit}\]$"
    with pytest.raises(ValueError, match=line):
        coefficients(size, s1)


def test_a_sum_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"^coefficient_sum is nan, but "):
        coefficients(3, math.nan)


def test_one_pattern_alone_cannot_have_another_sum():
    with pytest.raises(ValueError, match=r"^coefficient_sum is 0\.5, "):
        coefficients(1, 0.5)


@pytest.mark.parametrize("groups", [[[0, 3], [5, 1]], [[4, 2, 0], [1, 5, 3]]])
def test_mixtures_are_orthogonal_as_long_as_the_patterns_and_mix_what_was_asked(groups):
    mu = dictionary(KEY, 6, 11, 2.5)
    mixed = mixtures(mu, torch.tensor(groups), 0.9)
    assert_orthogonal(mixed, 2.5)
    k = coefficients(len(groups[0]), 0.9)
    for row, group in zip(mixed, groups, strict=True):
        by_hand = sum(float(part) * mu[i] for part, i in zip(k, group, strict=True))
        torch.testing.assert_close(row, by_hand, rtol=0, atol=1e-14)


def test_mixtures_have_the_precision_of_the_patterns():
    mu = dictionary(KEY, 4, 4, 1.0).float()
    assert mixtures(mu, torch.tensor([[0, 1], [2, 3]]), 1.0).dtype == torch.float32


def test_groups_that_share_a_pattern_are_refused():
    line = r"^groups are \[\[0, 1\], \[1, 2\]\], but no pattern may occur twice$"
    with pytest.raises(ValueError, match=line):
        mixtures(dictionary(KEY, 4, 4, 1.0), torch.tensor([[0, 1], [1, 2]]), 1.0)


@pytest.mark.parametrize("count", [2, 6, 7])
def test_a_pairing_holds_every_pattern_once_and_of_an_odd_count_leaves_one_out(count):
    pairs = random_pairs(KEY, count)
    assert pairs.shape == (count // 2, 2)
    assert len(pairs.unique()) == count // 2 * 2
    assert set(pairs.flatten().tolist()) <= set(range(count))


@pytest.mark.slow
def test_pairings_are_uniformly_random():
    n = 3000
    pairs = torch.vmap(lambda key: random_pairs(key, 6))(keys(n))
    # Of six patterns there are 15 pairings; each is expected n/15 times, with a binomial spread.
    drawn = Counter(frozenset(frozenset(pair) for pair in one) for one in pairs.tolist())
    assert len(drawn) == 15
    spread = math.sqrt(n * (1 / 15) * (14 / 15))
    assert all(abs(count - n / 15) < 5 * spread for count in drawn.values())
    # And which of a pair comes first (it gets the larger coefficient) is a fair coin.
    rising = (pairs[:, :, 0] < pairs[:, :, 1]).double().mean(0)
    assert ((rising - 0.5).abs() < 5 * math.sqrt(0.25 / n)).all()
