import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from synthetic_tasks import OutOfDomain
from synthetic_tasks.patterns import coefficients
from synthetic_tasks.threefry import stream
from tests.synthetic_tasks.pattern_prompts import (
    MANY,
    PAIRS,
    SHIFTED,
    TASK,
    TRAINED,
    draw,
    noise,
    within,
    world_of,
)


def test_out_of_domain_patterns_are_the_trained_members_own_mixed_by_the_coefficients():
    trained, shifted = world_of(TRAINED), world_of(SHIFTED)
    mixing = shifted.relevant @ trained.relevant.T / 1.7**2
    k = coefficients(2, 0.8)
    expected = torch.zeros(3, 7, dtype=torch.float64)
    for row, pair in enumerate(PAIRS):
        expected[row, list(pair)] = k
    torch.testing.assert_close(mixing, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(mixing.sum(1), torch.full((3,), 0.8, dtype=torch.float64))


@pytest.mark.parametrize("outside", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("pairing", [PAIRS, "drawn"])
def test_out_of_domain_patterns_are_orthogonal_of_norm_beta_with_the_part_asked_for_outside(
    outside, pairing
):
    shifted = world_of(replace(SHIFTED, outside=outside, pairing=pairing))
    trained = world_of(TRAINED)
    both = torch.cat([shifted.relevant, shifted.irrelevant])
    gram = 1.7**2 * torch.eye(len(both), dtype=torch.float64)
    torch.testing.assert_close(both @ both.T, gram, rtol=0, atol=1e-12)
    inside = shifted.relevant @ trained.relevant.T / 1.7**2
    beyond = shifted.relevant @ trained.irrelevant.T / 1.7**2
    r = torch.full((3,), outside, dtype=torch.float64)
    torch.testing.assert_close(beyond.norm(dim=1), r, rtol=0, atol=1e-12)
    torch.testing.assert_close(inside.sum(1), 0.8 * (1 - r.square()).sqrt(), rtol=0, atol=1e-12)
    # Each along one IDI pattern of its own.
    assert ((beyond.abs() > 1e-9).sum(1) == (outside > 0)).all()


def test_out_of_domain_noise_is_another_basis_in_the_span_of_the_idi_patterns():
    trained, shifted = world_of(TRAINED), world_of(replace(SHIFTED, outside=0.5))
    within_idi = shifted.irrelevant @ trained.irrelevant.T @ trained.irrelevant / 1.7**2
    torch.testing.assert_close(within_idi, shifted.irrelevant, rtol=0, atol=1e-12)
    assert shifted.irrelevant.shape == (5, 15)  # M2 less one for each ODR pattern
    overlap = shifted.irrelevant @ trained.irrelevant.T / 1.7**2
    assert (overlap.abs().max(1).values < 0.999).all()


def test_out_of_domain_keeps_label_alpha_kappa_and_plays_all_tasks():
    trained, shifted = world_of(TRAINED), world_of(SHIFTED)
    assert shifted.label.equal(trained.label)
    assert (shifted.alpha, shifted.kappa) == (trained.alpha, trained.kappa)
    assert {tuple(pair) for pair in shifted.tasks.tolist()} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }
    batch = draw(SHIFTED, size=200)
    assert batch.latent.pattern.unique().tolist() == [0, 1, 2]
    assert {tuple(pair) for pair in batch.latent.task.tolist()} == set(
        map(tuple, shifted.tasks.tolist())
    )


def test_alpha_length_and_kappa_out_of_domain_may_differ_while_the_patterns_stay():
    other = replace(SHIFTED, trained=replace(TRAINED, alpha=0.3, length=4, kappa=2.0))
    assert world_of(other).relevant.equal(world_of(SHIFTED).relevant)
    assert world_of(other).irrelevant.equal(world_of(SHIFTED).irrelevant)
    batch = draw(other, size=MANY)
    assert batch.prompt.shape[1] == 5
    first = batch.latent.pattern[:, :-1] == batch.latent.task[:, :1]
    assert within(first.double().mean(), 0.15, MANY * 4)
    assert 1.9 < noise(other, batch).abs().max() <= 2


def test_a_drawn_pairing_differs_between_members_and_is_the_one_that_is_mixed():
    drawn = replace(SHIFTED, pairing="drawn")
    pairs = [drawn.pairs(stream(seed, "world")) for seed in range(20)]
    assert len(Counter(frozenset(map(frozenset, one.tolist())) for one in pairs)) > 5
    for seed, mine in enumerate(pairs):
        mixing = world_of(drawn, seed).relevant @ world_of(TRAINED, seed).relevant.T / 1.7**2
        expected = torch.zeros(3, 7, dtype=torch.float64)
        expected.scatter_(1, mine, coefficients(2, 0.8).expand(3, 2))
        torch.testing.assert_close(mixing, expected, rtol=0, atol=1e-12)


def test_a_listed_pairing_is_taken_as_it_stands():
    assert SHIFTED.pairs(stream(0, "world")).tolist() == [list(pair) for pair in PAIRS]


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"coefficient_sum": 1.5}, ValueError, r"coefficient_sum is 1\.5, .*\[-1\.414, 1\.414\]"),
        ({"coefficient_sum": math.nan}, ValueError, "coefficient_sum is nan, but .*"),
        ({"coefficient_sum": True}, TypeError, "coefficient_sum is True, but must be a number"),
        ({"outside": -0.1}, ValueError, r"outside is -0\.1, but must lie in \[0, 1\]"),
        ({"outside": 1.1}, ValueError, r"outside is 1\.1, but must lie in \[0, 1\]"),
        ({"pairing": "random"}, ValueError, "pairing is 'random', but must be one of drawn"),
        ({"pairing": [(0, 1), (1, 2), (3, 4)]}, ValueError, ".*0, 1.*1, 2.* twice"),
        ({"pairing": [(0, 1), (2, 3), (4, 7)]}, ValueError, r"pairing .*\(4, 7\).* 0\.\.6"),
        ({"pairing": [(0, 1), (2, 3), (4, -1)]}, ValueError, r".*\(4, -1\).* 0\.\.6"),
        ({"pairing": PAIRS[:2]}, ValueError, "2 pairs .* at least 3.*"),
        ({"trained": replace(TASK, relevant=5)}, ValueError, r"2 pairs .* \(M1 of at least 6\)"),
        (
            {"trained": replace(TRAINED, irrelevant=3)},
            ValueError,
            r"irrelevant \(M2\) is 3, but .* exceed the 3 pairs",
        ),
        ({"coeficient_sum": 1}, TypeError, ".* no field 'coeficient_sum'; .* 'coefficient_sum'.*"),
    ],
    ids=str,
)
def test_a_bad_shift_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=f"^{line}$") as caught:
        OutOfDomain(**{"trained": replace(TRAINED, relevant=7), "pairing": "drawn", **wrong})
    assert caught.type is error
    assert "\n" not in str(caught.value)
