"""The one-layer model against the paper's formula written out, and the theorem's start."""

import math

import pytest
import torch

from synthetic_tasks import InContextClassification
from synthetic_tasks.task import sample
from synthetic_tasks.threefry import stream
from tdlab.models import OneLayer, over_members, over_prompts, stacked
from tdlab.run import Run
from tests.tdlab.runs import anew

SMALL = OneLayer(width=5, label_width=3, neurons=7, query_width=4, value_width=6)
TOKEN = 8
LENGTH = 5


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20240607)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def generic(generator):
    """Parameters at a generic point: no zero block, and each axis of its own length."""
    shapes = {"W_Q": (4, TOKEN), "W_K": (4, TOKEN), "W_V": (6, TOKEN), "W_O": (7, 6), "a": (7,)}
    return {name: normal(generator, *shape) / 2 for name, shape in shapes.items()}


def everything(count):
    return torch.ones(count, dtype=torch.bool)


def by_the_paper(params, prompt):
    """F(P) and its parts, sum by sum; the query is the last column of the prompt."""
    p = {name: leaf.tolist() for name, leaf in params.items()}
    *context, query = prompt.tolist()

    def times(matrix, vector):
        return [sum(w * x for w, x in zip(row, vector, strict=True)) for row in matrix]

    keys = [times(p["W_K"], column) for column in context]
    wanted = times(p["W_Q"], query)
    weights = [math.exp(sum(k * q for k, q in zip(key, wanted, strict=True))) for key in keys]
    attention = [weight / sum(weights) for weight in weights]
    values = [times(p["W_V"], column) for column in context]
    pooled = [
        sum(share * value[row] for share, value in zip(attention, values, strict=True))
        for row in range(len(p["W_V"]))
    ]
    neurons = [max(0.0, score) for score in times(p["W_O"], pooled)]
    output = sum(a * neuron for a, neuron in zip(p["a"], neurons, strict=True))
    return output, attention, pooled, neurons


# The formula.


def test_every_entry_of_the_trace_is_the_papers_sum(generator):
    params, prompt = generic(generator), normal(generator, LENGTH + 1, TOKEN)
    trace = SMALL.forward(params, prompt, everything(LENGTH + 1))
    assert 0 < (trace.neurons > 0).sum() < 7  # the ReLU has something to cut
    for measured, expected in zip(trace, by_the_paper(params, prompt), strict=True):
        torch.testing.assert_close(measured, torch.tensor(expected, dtype=torch.float64))


def test_attention_is_a_distribution_over_the_context_alone(generator):
    params, prompt = generic(generator), normal(generator, LENGTH + 1, TOKEN)
    attention = SMALL.forward(params, prompt, everything(LENGTH + 1)).attention
    assert attention.shape == (LENGTH,)
    torch.testing.assert_close(attention.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_padding_gets_no_attention_and_changes_nothing(generator):
    params, prompt = generic(generator), normal(generator, LENGTH + 1, TOKEN)
    shorter = SMALL.forward(params, prompt, everything(LENGTH + 1))
    padded = torch.cat([5 * normal(generator, 2, TOKEN), prompt])
    mask = torch.tensor([False] * 2 + [True] * (LENGTH + 1))
    longer = SMALL.forward(params, padded, mask)
    assert longer.attention[:2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(longer.attention[2:], shorter.attention)
    for measured, expected in zip(longer[2:] + longer[:1], shorter[2:] + shorter[:1], strict=True):
        torch.testing.assert_close(measured, expected)


def test_the_order_of_the_context_moves_attention_along_and_leaves_the_output(generator):
    params, prompt = generic(generator), normal(generator, LENGTH + 1, TOKEN)
    order = torch.tensor([3, 0, 4, 1, 2])
    before = SMALL.forward(params, prompt, everything(LENGTH + 1))
    moved = SMALL.forward(params, torch.cat([prompt[order], prompt[-1:]]), everything(LENGTH + 1))
    torch.testing.assert_close(moved.attention, before.attention[order])
    torch.testing.assert_close(moved.output, before.output)


def test_gradients_agree_with_finite_differences(generator):
    names = ("W_Q", "W_K", "W_V", "W_O", "a")
    params, prompt = generic(generator), normal(generator, LENGTH + 1, TOKEN)
    mask = torch.tensor([False] + [True] * LENGTH)

    def output(*leaves):
        return SMALL.forward(dict(zip(names, leaves, strict=True)), prompt, mask).output

    assert torch.autograd.gradcheck(output, [params[name].requires_grad_() for name in names])


def test_mapped_over_members_and_prompts_it_is_the_same_function(generator):
    each = [generic(generator) for _ in range(2)]
    task = InContextClassification(irrelevant=2, relevant=3, label_width=3, length=LENGTH)
    batches = [sample(task, seed=seed, size=4, dtype=torch.float64) for seed in (3, 5)]
    latent = type(batches[0].latent)(
        *map(torch.stack, zip(*(b.latent for b in batches), strict=True))
    )
    together = batches[0]._replace(
        prompt=torch.stack([b.prompt for b in batches]),
        mask=torch.stack([b.mask for b in batches]),
        target=torch.stack([b.target for b in batches]),
        latent=latent,
    )
    trace = over_members(SMALL, stacked(each), together)
    for member, (params, batch) in enumerate(zip(each, batches, strict=True)):
        alone = over_prompts(SMALL, params, batch)
        for b in range(4):
            one = SMALL.forward(params, batch.prompt[b], batch.mask[b])
            for many, some, single in zip(trace, alone, one, strict=True):
                torch.testing.assert_close(many[member, b], single)
                torch.testing.assert_close(some[b], single)


# The start.

WIDE = OneLayer(
    width=5, label_width=3, neurons=900, query_width=6, value_width=11, delta=0.13, xi=0.3
)


def test_queries_and_keys_start_at_delta_on_the_inputs_and_zero_on_the_labels():
    params = WIDE.init(stream(4, "init"))
    expected = torch.zeros(6, TOKEN, dtype=torch.float64)
    for i in range(5):
        expected[i, i] = 0.13
    assert params["W_Q"].equal(expected)
    assert params["W_K"].equal(expected)
    assert params["W_Q"].data_ptr() != params["W_K"].data_ptr()  # two parameters, not one twice


def test_fewer_query_rows_than_inputs_keep_the_first_of_them():
    params = OneLayer(width=5, label_width=3, query_width=3, delta=0.2).init(stream(4, "init"))
    expected = torch.zeros(3, TOKEN, dtype=torch.float64)
    for i in range(3):
        expected[i, i] = 0.2
    assert params["W_Q"].equal(expected)


def test_values_start_at_delta_times_the_identity():
    params = WIDE.init(stream(4, "init"))
    expected = torch.zeros(11, TOKEN, dtype=torch.float64)
    for i in range(TOKEN):
        expected[i, i] = 0.13
    assert params["W_V"].equal(expected)


def test_widths_default_to_the_tokens():
    params = OneLayer(width=5, label_width=3).init(stream(0, "init"))
    assert {name: tuple(leaf.shape) for name, leaf in params.items()} == {
        "W_Q": (8, 8),
        "W_K": (8, 8),
        "W_V": (8, 8),
        "W_O": (64, 8),
        "a": (64,),
    }
    assert {leaf.dtype for leaf in params.values()} == {torch.float64}


def test_output_weights_start_as_independent_normals_of_variance_xi_squared():
    weights = WIDE.init(stream(4, "init"))["W_O"] / 0.3
    n = weights.numel()
    # Moments of n standard normals: the mean has variance 1/n, the second 2/n, the fourth 96/n.
    assert abs(weights.mean()) < 4 * math.sqrt(1 / n)
    assert abs(weights.square().mean() - 1) < 4 * math.sqrt(2 / n)
    assert abs(weights.pow(4).mean() - 3) < 4 * math.sqrt(96 / n)


def test_signs_of_a_are_a_fair_coin_for_each_neuron_and_seed_and_know_nothing_of_w_o():
    starts = [WIDE.init(stream(seed, "init")) for seed in range(8)]
    size = 1 / math.sqrt(900)
    for params in starts:
        assert set(params["a"].tolist()) == {size, -size}  # both signs in every member
    signs = torch.stack([params["a"] for params in starts]).sign()
    # Had both been drawn with one key, the signs would repeat the first numbers of W_O.
    first = torch.stack([params["W_O"].flatten()[:900] for params in starts]) / 0.3
    deviation = 4 / math.sqrt(signs.numel())  # four times that of a mean of signs
    assert abs(signs.mean()) < deviation
    assert abs((signs * first).mean()) < deviation
    assert abs((signs[:-1] * signs[1:]).mean()) < 4 / math.sqrt(signs[1:].numel())


def test_a_member_starts_from_its_key_alone():
    for name, leaf in WIDE.init(stream(4, "init")).items():
        assert leaf.equal(WIDE.init(stream(4, "init"))[name])
    assert not WIDE.init(stream(4, "init"))["W_O"].equal(WIDE.init(stream(5, "init"))["W_O"])
    assert not WIDE.init(stream(4, "init"))["a"].equal(WIDE.init(stream(5, "init"))["a"])


def test_attention_starts_blind_to_labels_and_the_querys_label_slot_reaches_nothing(generator):
    params, prompt = WIDE.init(stream(4, "init")), 2 * normal(generator, LENGTH + 1, TOKEN)
    before = WIDE.forward(params, prompt, everything(LENGTH + 1))
    answered, relabelled = prompt.clone(), prompt.clone()
    answered[-1, 5:] = normal(generator, 3)
    relabelled[:-1, 5:] = normal(generator, LENGTH, 3)
    told = WIDE.forward(params, answered, everything(LENGTH + 1))
    for measured, expected in zip(told, before, strict=True):
        assert measured.equal(expected)
    other = WIDE.forward(params, relabelled, everything(LENGTH + 1))
    assert other.attention.equal(before.attention)
    assert not other.output.equal(before.output)  # the label is carried, though


def test_training_moves_the_four_matrices_and_leaves_a_frozen():
    model = OneLayer(width=5, label_width=3, neurons=7)
    task = InContextClassification(relevant=3, irrelevant=2, label_width=3, length=6)
    (result,) = anew([Run(task=task, model=model, batch=16, steps=3, seed=2)])
    before, after = result.at(0), result.final
    assert {name for name in before if not before[name].equal(after[name])} == {
        "W_Q",
        "W_K",
        "W_V",
        "W_O",
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, r"^width is 0, but must be at least 1$"),
        ({"label_width": -2}, r"^label_width is -2, but must be at least 1$"),
        ({"neurons": 0}, r"^neurons is 0, but must be at least 1$"),
        ({"query_width": 0}, r"^query_width is 0, but must be at least 1$"),
        ({"value_width": -1}, r"^value_width is -1, but must be at least 1$"),
        ({"delta": 0.0}, r"^delta is 0\.0, but must lie in \(0, 0\.2\]$"),
        ({"delta": 0.3}, r"^delta is 0\.3, but must lie in \(0, 0\.2\]$"),
        ({"delta": math.nan}, r"^delta is nan, but must lie in \(0, 0\.2\]$"),
        ({"xi": -0.1}, r"^xi is -0\.1, but must lie in \[0, inf\)$"),
    ],
)
def test_a_number_out_of_range_is_named_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message):
        OneLayer(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"neuron": 8},
            r"^OneLayer has no field 'neuron'; did you mean 'neurons'\? \(it has: .*\)$",
        ),
        ({"width": 2.5}, r"^width is 2\.5, but must be an integer of at least 1$"),
        ({"delta": "0.1"}, r"^delta is '0\.1', but must be a number$"),
    ],
)
def test_a_wrong_field_or_type_is_named_in_one_line(wrong, message):
    with pytest.raises(TypeError, match=message):
        OneLayer(**wrong)
