"""Guards of a kernel, on planted attention and against plain loops."""

import itertools

import pytest
import torch

from tdlab.probes import gradient_norms, row_sums, smallest_singular_value, stacked_features


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241111)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_row_sums_are_one_for_a_softmax_and_vanish_for_a_dead_gaussian_kernel(generator):
    scores = normal(generator, 2, 3, 5, 4)
    torch.testing.assert_close(row_sums(scores.softmax(-1)), torch.ones(2, 3, 5).double())
    assert (row_sums((-1e3 * scores.square()).exp().clamp(max=1e-6)) < 1e-5).all()


def test_row_sums_are_over_the_keys_of_each_query(generator):
    attention = normal(generator, 2, 3, 5)
    for a, n in itertools.product(range(2), range(3)):
        assert row_sums(attention)[a, n].item() == pytest.approx(sum(attention[a, n].tolist()))


def test_features_stack_the_samples_and_put_the_heads_side_by_side(generator):
    attention, tokens = normal(generator, 7, 3, 2, 5, 4), normal(generator, 7, 3, 4, 6)
    stacked = stacked_features(attention, tokens)
    assert stacked.shape == (7, 3 * 5, 2 * 6)
    for a in range(7):
        rows = [
            torch.cat([attention[a, b, h] @ tokens[a, b] for h in range(2)], dim=-1)
            for b in range(3)
        ]
        torch.testing.assert_close(stacked[a], torch.cat(rows))


def test_a_layer_with_frozen_attention_is_the_stacked_features_times_a_matrix(generator):
    attention, tokens = normal(generator, 3, 2, 5, 4), normal(generator, 3, 4, 6)
    value, output = normal(generator, 2, 6, 4), normal(generator, 2, 4)  # to one number a token
    layer = torch.einsum("bhnm, bmd, hde, he -> bn", attention, tokens, value, output)
    matrix = torch.einsum("hde, he -> hd", value, output).flatten()
    torch.testing.assert_close(stacked_features(attention, tokens) @ matrix, layer.flatten())


def test_axes_that_do_not_fit_are_refused_with_both_shapes():
    for attention, tokens in (
        ((3, 2, 5, 4), (3, 5, 6)),
        ((3, 2, 5, 4), (1, 4, 6)),
        ((7, 3, 2, 5, 4), (3, 4, 6)),
        ((2, 5, 4), (4, 6)),
    ):
        with pytest.raises(
            ValueError, match=r"^attention has shape \(.*\), tokens \(.*\), but must be \("
        ):
            unchecked(torch.ones(attention), torch.ones(tokens))


def unchecked(attention, tokens):
    """Without the suite's own shape checks, as in a script of somebody else."""
    return getattr(stacked_features, "__wrapped__", stacked_features)(attention, tokens)


def test_smallest_singular_value_is_the_least_stretch_of_a_target(generator):
    left = torch.linalg.qr(normal(generator, 4, 4)).Q
    right = torch.linalg.qr(normal(generator, 9, 4)).Q
    features = left @ torch.tensor([3.0, 2.0, 0.7, 0.05]).double().diag() @ right.T
    assert smallest_singular_value(features).item() == pytest.approx(0.05)
    assert smallest_singular_value(features[:, :4]).ndim == 0


def test_fewer_columns_than_rows_leave_some_target_out_of_reach(generator):
    features = normal(generator, 2, 5, 4)
    assert smallest_singular_value(features).tolist() == [0.0, 0.0]
    assert (smallest_singular_value(features.mT) > 1e-3).all()
    square = normal(generator, 4, 4)
    expected = 1 / torch.linalg.matrix_norm(square.inverse(), 2)
    torch.testing.assert_close(smallest_singular_value(square), expected)


def test_gradient_norms_are_those_of_each_leaf_and_keep_the_leading_axes(generator):
    gradients = {
        "W": normal(generator, 2, 3, 4, 5),
        "b": normal(generator, 2, 3, 4),
        "c": normal(generator, 2, 3),
    }
    for leading in range(3):
        norms = gradient_norms(gradients, leading)
        assert list(norms) == ["W", "b", "c"]
        for name, leaf in gradients.items():
            assert norms[name].shape == leaf.shape[:leading]
            for place in itertools.product(*map(range, leaf.shape[:leading])):
                size = sum(entry**2 for entry in leaf[place].flatten().tolist()) ** 0.5
                assert norms[name][place].item() == pytest.approx(size)
    assert gradient_norms({"c": torch.tensor(-3.0)})["c"].item() == 3.0


def test_a_leaf_with_too_few_axes_is_named(generator):
    with pytest.raises(ValueError, match=r"^b has 1 axes, so it cannot keep the first 2$"):
        gradient_norms({"W": normal(generator, 2, 3), "b": normal(generator, 2)}, leading=2)
