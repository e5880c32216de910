"""Masks: which rows and entries go, in which order, how many; parameters stay as they are."""

import math
from itertools import pairwise

import pytest
import torch

from synthetic_tasks.threefry import stream
from tdlab.probes import keep, keep_entries, pruned
from tests.tdlab.probes.outside import in_a_process_of_its_own

# Euclidean norms 5, 2.1, 2.5, 0.5, 1.7; in the 1-norm or the largest entry the order differs.
ROWS = torch.tensor(
    [[3.0, -4.0], [-2.1, 0.1], [-1.5, 2.0], [0.3, 0.4], [-0.8, -1.5]], dtype=torch.float64
)
BY_NORM = [3, 4, 1, 2, 0]


def gone(kept):
    return {place for place, stays in enumerate(kept.tolist()) if not stays}


@pytest.mark.parametrize("count", range(6))
def test_the_smallest_rows_go_first(count):
    assert gone(keep(ROWS, count / 5, "smallest")) == set(BY_NORM[:count])
    assert gone(keep(ROWS, count / 5)) == set(BY_NORM[:count])  # unless something else is said


@pytest.mark.parametrize("count", range(6))
def test_the_largest_rows_go_first(count):
    assert gone(keep(ROWS, count / 5, "largest")) == set(BY_NORM[::-1][:count])


@pytest.mark.parametrize("order", ["smallest", "random", "largest"])
@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.1, 0.3, 0.62, 0.99, 1.0])
def test_exactly_the_rounded_number_goes_in_any_order(order, fraction):
    weights = torch.randn(64, 3, generator=torch.Generator().manual_seed(4))
    kept = keep(weights, fraction, order, stream(5, "probe"))
    assert len(gone(kept)) == round(fraction * 64)


@pytest.mark.parametrize("order", ["smallest", "largest"])
def test_of_equal_rows_exactly_as_many_go_and_the_first_ones(order):
    assert gone(keep(torch.ones(6, 2), 0.5, order)) == {0, 1, 2}


def test_every_member_has_its_own_order():
    kept = keep(torch.stack([ROWS, ROWS.flip(0)]), 0.4, "smallest")
    assert [gone(mask) for mask in kept] == [{3, 4}, {1, 0}]
    kept = keep(torch.stack([ROWS, ROWS.flip(0)]), 0.2, "largest")
    assert [gone(mask) for mask in kept] == [{0}, {4}]


def test_a_random_order_is_the_keys_and_knows_nothing_of_the_norms():
    generator = torch.Generator().manual_seed(4)
    weights, other = (torch.randn(64, 3, generator=generator) for _ in range(2))
    first = keep(weights, 0.3, "random", stream(5, "probe"))
    assert first.equal(keep(other, 0.3, "random", stream(5, "probe")))
    assert not first.equal(keep(weights, 0.3, "random", stream(6, "probe")))


def test_a_random_order_takes_every_row_equally_often():
    keys = 400
    masks = [keep(ROWS, 0.4, "random", stream(seed, "probe")) for seed in range(keys)]
    hits = (~torch.stack(masks)).sum(0)
    # Two of five rows go: each with probability 0.4, so a count has variance 400 * 0.4 * 0.6.
    assert ((hits - 0.4 * keys).abs() < 4 * (keys * 0.4 * 0.6) ** 0.5).all()


@pytest.mark.parametrize("order", ["smallest", "random", "largest"])
def test_what_is_gone_stays_gone_as_the_fraction_grows(order):
    weights = torch.randn(31, 3, generator=torch.Generator().manual_seed(4))
    masks = [gone(keep(weights, f, order, stream(5, "probe"))) for f in (0.1, 0.2, 0.5, 0.8)]
    assert all(few < many for few, many in pairwise(masks))


def test_a_random_order_without_a_key_is_refused():
    with pytest.raises(ValueError, match=r"^order is 'random', which needs a key \(.*\)$"):
        keep(ROWS, 0.4, "random")


def test_an_unknown_order_is_refused():
    with pytest.raises(
        ValueError, match=r"^order is 'small', but must be one of smallest, random, largest$"
    ):
        keep(ROWS, 0.4, "small")


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("mask", [keep, keep_entries])
def test_a_fraction_outside_0_to_1_is_refused(mask, fraction):
    with pytest.raises(ValueError, match=rf"^fraction is {fraction}, but must lie in \[0, 1\]$"):
        mask(ROWS, fraction)


def test_the_entries_smallest_in_magnitude_go_wherever_they_stand():
    kept = keep_entries(ROWS, 0.4)
    expected = [[True, True], [True, False], [True, True], [False, False], [False, True]]
    assert kept.tolist() == expected  # four of ten: 0.1, 0.3, 0.4, 0.8


def test_entries_of_every_matrix_are_ranked_among_themselves():
    both = torch.stack([ROWS, 100 * ROWS.flip(0)])
    kept = keep_entries(both, 0.4)
    assert kept[0].equal(keep_entries(ROWS, 0.4))
    assert kept[1].equal(keep_entries(ROWS, 0.4).flip(0))
    assert (~keep_entries(torch.zeros(2, 3, 5), 0.4)).sum((-1, -2)).tolist() == [6, 6]


def test_pruned_rows_are_zero_and_the_rest_is_what_it_was():
    params = {"W": ROWS, "other": ROWS + 1}
    kept = torch.tensor([True, False, True, True, False])
    result = pruned(params, "W", kept)
    assert result["W"].tolist() == [
        row if stays else [0.0, 0.0]
        for row, stays in zip(ROWS.tolist(), kept.tolist(), strict=True)
    ]
    assert result["other"] is params["other"]


def test_pruned_entries_are_zero_and_the_rest_is_what_it_was():
    kept = keep_entries(ROWS, 0.4)
    result = pruned({"W": ROWS}, "W", kept)["W"]
    assert result.equal(torch.where(kept, ROWS, 0.0))


def test_a_mask_of_layers_and_heads_covers_whole_heads():
    leaf = torch.arange(2 * 3 * 4 * 5, dtype=torch.float64).reshape(2, 3, 4, 5) + 1
    kept = torch.tensor([[True, False, True], [True, True, False]])
    result = pruned({"W_O": leaf}, "W_O", kept)["W_O"]
    for layer in range(2):
        for head in range(3):
            expected = leaf[layer, head] if kept[layer, head] else torch.zeros(4, 5)
            assert result[layer, head].equal(expected.double())


def test_pruned_members_lose_their_own_rows():
    both = torch.stack([ROWS, 2 * ROWS])
    kept = torch.tensor([[True, False, True, True, True], [False, True, True, True, False]])
    result = pruned({"W": both}, "W", kept)["W"]
    assert result.equal(both * kept[:, :, None])


def test_pruning_leaves_the_parameters_it_was_given_untouched():
    params = {"W": ROWS.clone(), "a": torch.ones(5)}
    before = {name: leaf.clone() for name, leaf in params.items()}
    pruned(params, "W", keep(ROWS, 0.6))
    assert list(params) == ["W", "a"]
    assert all(params[name].equal(before[name]) for name in before)


def test_a_parameter_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"^there is no parameter 'W_X'; there are: W_O, a$"):
        pruned({"W_O": ROWS, "a": ROWS[:, 0]}, "W_X", keep(ROWS, 0.5))


@pytest.mark.parametrize("shape", [(2,), (4,), (2, 5), (5, 1), (1, 5, 2)])
def test_a_mask_that_does_not_fit_is_refused_with_both_shapes(shape):
    with pytest.raises(
        ValueError, match=r"^the mask has shape \(.*\), but W has \(5, 2\): mask"
    ) as e:
        pruned({"W": ROWS}, "W", torch.ones(shape, dtype=torch.bool))
    assert str(shape) in str(e.value)


def test_what_is_pruned_is_zero_though_it_was_infinite():
    leaf = torch.tensor([[1.0, math.inf], [-2.0, math.nan]])
    found = pruned({"W": leaf}, "W", torch.tensor([[True, False], [False, False]]))["W"]
    assert found.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_weights_that_are_no_matrix_masks_of_numbers_and_seeds_for_keys_are_refused_in_one_line():
    # Without the suite's own shape checks, as in a script of somebody else.
    script = """
import torch
from tdlab.probes import (
    filter_normalized, keep, keep_entries, mask_along, pruned, top_eigenvalues
)
for mask in (keep, keep_entries):
    try:
        mask(torch.ones(5), 0.4)
    except ValueError as error:
        print(type(error).__name__, error)
W = torch.ones(2, 4)
for make in (
    lambda: pruned({"W": W}, "W", torch.tensor([0, 1])),
    lambda: pruned({"W": W}, "W", [True, False]),
    lambda: mask_along(W, 1, torch.tensor([0.5, 1])),
    lambda: keep(W, 0.5, "random", 7),
    lambda: filter_normalized({"W": W}, 7),
    lambda: top_eigenvalues(lambda p: p["W"].square().sum(), {"W": W}, 1, 7),
):
    try:
        make()
    except TypeError as error:
        print(error)
"""
    done = in_a_process_of_its_own(script)
    *said, places, listed, numbers, one, two, three = done.stdout.splitlines()
    assert len(said) == 2, done
    for line in said:
        assert line.startswith("ValueError weights have shape (5,), but "), line
    assert places == "the mask has dtype torch.int64, but must be boolean"
    assert listed == "the mask is [True, False], but must be a boolean tensor"
    assert one == two == three
    assert one.startswith("the key is 7, but must be made of a seed and a use: stream(seed, ")
    assert numbers == "kept has dtype torch.float32, but must be boolean"
