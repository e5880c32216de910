"""The sequence classifier against a plain implementation: a loop over heads, torch's layer norm.

Every axis has a length of its own: 5 tokens of width 3, embedding 6, 2 heads of width 3, hidden 7,
and 3 layers where layers are counted.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import layer_norm, linear, relu

from synthetic_tasks.threefry import stream
from tdlab.models import KERNELS, SequenceClassifier

SHAPE = SequenceClassifier(token_width=3, columns=5, width=6, hidden=7, heads=2, layers=3)
NAMES = ("E", "P", "W_Q", "W_K", "W_V", "W_O", "W_1", "b_1", "W_2", "b_2", "a", "b")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241109)


@pytest.fixture(params=KERNELS)
def model(request):
    return replace(SHAPE, kernel=request.param)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def generic(generator):
    """Parameters at a generic point, biases and all."""
    made = SHAPE.init(stream(0, "init"))
    return {name: 0.7 * normal(generator, *leaf.shape) for name, leaf in made.items()}


def everything(count=5):
    return torch.ones(count, dtype=torch.bool)


def entries(kernel, Q, K, there):
    root = math.sqrt(Q.shape[-1])
    if kernel == "softmax":
        weights = (Q @ K.T / root).exp()
    else:
        weights = (-(Q[:, None] - K[None]).square().sum(-1) / (2 * root)).exp()
    weights = weights * there
    return weights if kernel == "gaussian" else weights / weights.sum(-1, keepdim=True)


def plainly(model, params, prompt, there):
    """Output, attention and pooled tokens, layer by layer and head by head."""
    p, D = params, model.width
    x = linear(prompt, p["E"].T) + p["P"]
    attention = []
    for layer in range(model.layers):
        seen = layer_norm(x, (D,))
        for h in range(model.heads):
            Q, K, V = (seen @ p[name][layer, h] for name in ("W_Q", "W_K", "W_V"))
            attention.append(entries(model.kernel, Q, K, there))
            x = x + attention[-1] @ V @ p["W_O"][layer, h]
        hidden = relu(linear(layer_norm(x, (D,)), p["W_1"][layer].T, p["b_1"][layer]))
        x = x + linear(hidden, p["W_2"][layer].T, p["b_2"][layer])
    pooled = layer_norm(x, (D,))[there].mean(0)
    heads = torch.stack(attention).unflatten(0, (model.layers, model.heads))
    return pooled @ p["a"] + p["b"], heads, pooled


# The formula.


@pytest.mark.parametrize("there", [[True] * 5, [False, True, True, False, True]], ids=["all", "3"])
def test_every_entry_of_the_trace_is_that_of_the_plain_implementation(model, there, generator):
    params, prompt, mask = generic(generator), normal(generator, 5, 3), torch.tensor(there)
    trace = model.forward(params, prompt, mask)
    for measured, expected in zip(trace, plainly(model, params, prompt, mask), strict=True):
        torch.testing.assert_close(measured, expected, rtol=1e-11, atol=1e-12)


def test_a_single_head_and_a_single_layer_are_no_special_case(generator):
    model = SequenceClassifier(token_width=3, columns=5, width=6, hidden=7, heads=1, layers=1)
    params = {
        name: normal(generator, *leaf.shape) for name, leaf in model.init(stream(0, "init")).items()
    }
    prompt = normal(generator, 5, 3)
    trace = model.forward(params, prompt, everything())
    for measured, expected in zip(trace, plainly(model, params, prompt, everything()), strict=True):
        torch.testing.assert_close(measured, expected, rtol=1e-11, atol=1e-12)


def test_positions_matter_and_without_them_the_order_of_tokens_does_not(model, generator):
    params, prompt = generic(generator), normal(generator, 5, 3)
    order = torch.tensor([3, 0, 4, 1, 2])
    nowhere = {**params, "P": torch.zeros_like(params["P"])}
    for its, matters in ((params, True), (nowhere, False)):
        before = model.forward(its, prompt, everything())
        after = model.forward(its, prompt[order], everything())
        assert after.output.allclose(before.output, rtol=1e-10) != matters
        moved = before.attention[..., order, :][..., order]
        assert after.attention.allclose(moved, rtol=1e-10) != matters
    # Tokens that take their positions along are the same set of tokens.
    along = {**params, "P": params["P"][order]}
    after = model.forward(along, prompt[order], everything())
    torch.testing.assert_close(after.output, model.forward(params, prompt, everything()).output)


def test_what_padding_holds_is_neither_attended_to_nor_pooled(model, generator):
    params, prompt = generic(generator), normal(generator, 5, 3)
    there = torch.tensor([False, True, True, False, True])
    before = model.forward(params, prompt, there)
    for size in (1.0, 1e6):
        other = torch.where(there[:, None], prompt, size * normal(generator, 5, 3))
        after = model.forward(params, other, there)
        torch.testing.assert_close(after.output, before.output)
        torch.testing.assert_close(after.pooled, before.pooled)
        torch.testing.assert_close(after.attention[:, :, there], before.attention[:, :, there])
        assert after.attention[..., ~there].count_nonzero() == 0


def test_a_padded_prompt_is_the_shorter_one_at_the_same_positions(model, generator):
    params, prompt = generic(generator), normal(generator, 5, 3)
    there = torch.tensor([False, True, True, False, True])
    shorter = replace(model, columns=3).forward(
        {**params, "P": params["P"][there]}, prompt[there], everything(3)
    )
    padded = model.forward(params, prompt, there)
    torch.testing.assert_close(padded.output, shorter.output)
    torch.testing.assert_close(padded.pooled, shorter.pooled)


def test_gradients_agree_with_finite_differences(model, generator):
    params, prompt = generic(generator), normal(generator, 5, 3)
    there = torch.tensor([True, True, False, True, True])
    shallow = replace(model, layers=1)
    leaves = [
        (leaf[:1] if name in NAMES[2:10] else leaf).requires_grad_()
        for name, leaf in ((name, params[name]) for name in NAMES)
    ]

    def output(*leaves):
        return shallow.forward(dict(zip(NAMES, leaves, strict=True)), prompt, there).output

    assert torch.autograd.gradcheck(output, leaves)


# The start.


def test_the_default_shape_has_70145_parameters_all_of_which_move():
    params = SequenceClassifier().init(stream(0, "init"))
    layer = 4 * 64 * 64 + 64 * 128 + 128 + 128 * 64 + 64
    assert sum(leaf.numel() for leaf in params.values()) == 64 + 64 * 64 + 2 * layer + 64 + 1
    assert sum(leaf.numel() for leaf in params.values()) == 70_145
    assert set(SequenceClassifier.moving) == set(params) == set(NAMES)
    assert {leaf.dtype for leaf in params.values()} == {torch.float64}


DEVIATIONS = {  # of the default shape with tokens of width 9; two layers write at half the size
    "E": 1 / 3,
    "P": 1,
    "W_Q": 1 / 8,
    "W_K": 1 / 8,
    "W_V": 1 / 8,
    "W_O": 1 / 8 / 2,
    "W_1": 1 / 8,
    "W_2": 1 / math.sqrt(128) / 2,
    "a": 1 / 8,
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_entries_start_as_normals_of_the_scale_that_is_promised(name):
    """Of n normals the mean is within sigma z / sqrt n, and the deviation within z / sqrt(2 n)."""
    leaf, sigma = SequenceClassifier(token_width=9).init(stream(1, "init"))[name], DEVIATIONS[name]
    assert abs(leaf.mean().item()) < 4.5 * sigma / math.sqrt(leaf.numel())
    assert leaf.std().item() == pytest.approx(sigma, rel=4.5 / math.sqrt(2 * leaf.numel()))


def test_each_matrix_has_numbers_of_its_own_and_biases_start_at_zero():
    params = SequenceClassifier().init(stream(1, "init"))
    assert all(params[name].count_nonzero() == 0 for name in ("b_1", "b_2", "b"))
    first = {name: params[name].flatten()[:64] / DEVIATIONS[name] for name in ("P", "W_Q", "W_K")}
    first |= {name: params[name].flatten()[:64] for name in ("W_V", "W_O", "W_1", "W_2", "E", "a")}
    numbers = torch.corrcoef(torch.stack(list(first.values())))
    # Of 64 pairs of independent normals the correlation has a deviation of 1/8.
    assert (numbers - torch.eye(9, dtype=torch.float64)).abs().max() < 4.5 / 8
    other = SequenceClassifier().init(stream(2, "init"))
    assert not any(params[name].allclose(other[name], atol=0.01) for name in DEVIATIONS)


# Bad input.


@pytest.mark.parametrize("count", [4, 6])
def test_a_prompt_of_another_length_is_refused_and_the_line_names_both(count, generator):
    line = f"^the prompt has {count} tokens, but the model takes 5$"
    with pytest.raises(ValueError, match=line):
        SHAPE.forward(generic(generator), normal(generator, count, 3), everything(count))


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"kernel": ""}, ValueError, "kernel is '', but must be one of softmax, gaussian, .*"),
        ({"width": 65}, ValueError, "width is 65, but must be a multiple of heads, 2"),
        ({"heads": 3}, ValueError, "width is 64, but must be a multiple of heads, 3"),
        ({"heads": 0}, ValueError, "heads is 0, but must be at least 1"),
        ({"layers": 0}, ValueError, "layers is 0, but must be at least 1"),
        ({"hidden": -1}, ValueError, "hidden is -1, but must be at least 1"),
        ({"columns": 0}, ValueError, "columns is 0, but must be at least 1"),
        ({"token_width": 1.0}, TypeError, r"token_width is 1\.0, but must be an integer of .*"),
    ],
    ids=str,
)
def test_a_bad_shape_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=f"^{line}$"):
        SequenceClassifier(**wrong)
