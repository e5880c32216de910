"""The one-head models against the paper's formula written out, their start, and what training does.

`by_the_paper` goes column by column in numpy, float64; gradients are derived in `by_hand`.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import grad

from synthetic_tasks import Reasoning, sample
from synthetic_tasks.threefry import stream
from tdlab.losses import squared
from tdlab.models import FactoredOneHead, OneHead, over_members, over_prompts, stacked
from tdlab.optimisers import SGD
from tdlab.probes.attention import by_step_and_pattern
from tdlab.run import Run
from tdlab.schedule import At
from tests.tdlab.runs import anew

WIDTH, TOKEN, COLUMNS = 3, 6, 7
MODELS = [OneHead(width=WIDTH), FactoredOneHead(width=WIDTH)]
TRUE, FALSE = [True], [False]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20250210)


@pytest.fixture(params=MODELS, ids=["OneHead", "FactoredOneHead"])
def model(request):
    return request.param


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def generic(model, generator):
    """Parameters at a generic point: no zero block, not symmetric."""
    shapes = {name: leaf.shape for name, leaf in model.init(stream(0, "init")).items()}
    return {name: normal(generator, *shape) / 2 for name, shape in shapes.items()}


def one_matrix(params):
    """W, or W_K^T W_Q."""
    p = {name: leaf.numpy() for name, leaf in params.items()}
    return p["W"] if "W" in p else p["W_K"].T @ p["W_Q"]


def by_the_paper(params, prompt, mask):
    """F(P) and its attention: a softmax over the columns before the query, padding left out."""
    W, W_V = one_matrix(params), params["W_V"].numpy()
    *columns, query = prompt.numpy()
    there = mask[:-1].tolist()
    weights = [math.exp(p @ W @ query) if is_one else 0.0
               for p, is_one in zip(columns, there, strict=True)]  # fmt: skip
    attention = [weight / sum(weights) for weight in weights]
    output = np.zeros(WIDTH)
    for share, p in zip(attention, columns, strict=True):
        output += share * (W_V @ p)
    return output, np.array(attention)


def by_hand(params, prompt, target):
    """Gradients of the loss 1/2 |z - F|^2 with respect to W and W_V.

    With scores s_i = p_i^T W q and a = softmax(s): da_i = a_i (ds_i - sum_j a_j ds_j) and
    ds_i = p_i^T dW q. With the residual u = F - z, and F = sum_i a_i W_V p_i,

        u . dF = sum_i a_i (u . W_V p_i - u . F) p_i^T dW q + u^T dW_V sum_i a_i p_i.
    """
    output, attention = by_the_paper(params, prompt, everything(len(prompt)))
    *columns, query = prompt.numpy()
    u, W_V = output - target.numpy(), params["W_V"].numpy()
    of_W, pooled = np.zeros((TOKEN, TOKEN)), np.zeros(TOKEN)
    for share, p in zip(attention, columns, strict=True):
        of_W += share * (u @ W_V @ p - u @ output) * np.outer(p, query)
        pooled += share * p
    return of_W, np.outer(u, pooled)


def everything(count):
    return torch.ones(count, dtype=torch.bool)


def close(measured, expected):
    torch.testing.assert_close(measured, torch.as_tensor(expected, dtype=torch.float64))


# The formula.

MASKS = {
    "nowhere": TRUE * COLUMNS,
    "before all": FALSE * 2 + TRUE * 5,
    "in between": TRUE * 2 + FALSE + TRUE + FALSE + TRUE * 2,
    "before the query": TRUE * 4 + FALSE * 2 + TRUE,
    "all but one": FALSE * 3 + TRUE + FALSE * 2 + TRUE,
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_output_and_attention_are_the_papers_sums_wherever_padding_lies(model, generator, mask):
    params, prompt = generic(model, generator), normal(generator, COLUMNS, TOKEN)
    there = torch.tensor(mask)
    prompt[~there] *= 30  # whoever reads padding reads something loud
    trace = model.forward(params, prompt, there)
    for measured, expected in zip(trace, by_the_paper(params, prompt, there), strict=True):
        close(measured, expected)
    assert (trace.attention[~there[:-1]] == 0).all()


def test_the_query_is_read_by_nobody(model, generator):
    params, prompt = generic(model, generator), normal(generator, COLUMNS, TOKEN)
    attention = model.forward(params, prompt, everything(COLUMNS)).attention
    assert attention.shape == (COLUMNS - 1,)
    close(attention.sum(), 1.0)
    # Beside a single column it is not even looked at.
    trace = model.forward(params, prompt[-2:], everything(2))
    assert trace.attention.tolist() == [1.0]
    close(trace.output, params["W_V"] @ prompt[-2])


@pytest.mark.parametrize("columns", [1, 2, 3, COLUMNS])
@pytest.mark.parametrize("mask", [TRUE * 4, FALSE * 2 + TRUE * 2, TRUE + FALSE * 2 + TRUE])
def test_a_prompt_in_two_parts_is_their_concatenation(model, generator, columns, mask):
    params, prompt = generic(model, generator), normal(generator, COLUMNS, TOKEN)
    there = torch.tensor(mask + TRUE * 3)
    split = COLUMNS - columns  # a chain has no padding, so all of the mask belongs to the context
    there[split:] = True
    whole = model.forward(params, prompt, there)
    parts = model.answer(params, prompt[:split], prompt[split:], there[:split])
    for measured, expected in zip(parts, whole, strict=True):
        close(measured, expected)


def gradient(model, params, prompt, target):
    def loss(params):
        output = model.forward(params, prompt, everything(COLUMNS)).output
        return squared(output, target)

    return grad(loss)(params)


def test_the_gradient_is_the_one_derived_by_hand(generator):
    model = OneHead(width=WIDTH)
    params, prompt = generic(model, generator), normal(generator, COLUMNS, TOKEN)
    target = normal(generator, WIDTH)
    measured = gradient(model, params, prompt, target)
    of_W, of_W_V = by_hand(params, prompt, target)
    assert np.abs(of_W).min() > 1e-4  # a generic point: every entry says something
    close(measured["W"], of_W)
    close(measured["W_V"], of_W_V)


def test_the_factors_share_the_gradient_of_their_product(generator):
    model = FactoredOneHead(width=WIDTH)
    params, prompt = generic(model, generator), normal(generator, COLUMNS, TOKEN)
    target = normal(generator, WIDTH)
    measured = gradient(model, params, prompt, target)
    # <G, dW> with dW = dW_K^T W_Q + W_K^T dW_Q.
    G, of_W_V = by_hand(params, prompt, target)
    close(measured["W_Q"], params["W_K"].numpy() @ G)
    close(measured["W_K"], params["W_Q"].numpy() @ G.T)
    close(measured["W_V"], of_W_V)


def test_both_models_agree_where_w_is_the_product_of_the_factors(generator):
    factored, whole = FactoredOneHead(width=WIDTH), OneHead(width=WIDTH)
    params, prompt = generic(factored, generator), normal(generator, COLUMNS, TOKEN)
    product = {"W": params["W_K"].T @ params["W_Q"], "W_V": params["W_V"]}
    mask = torch.tensor(MASKS["in between"])
    one, other = factored.forward(params, prompt, mask), whole.forward(product, prompt, mask)
    for measured, expected in zip(one, other, strict=True):
        close(measured, expected)


def test_mapped_over_members_and_prompts_it_is_the_same_function(model, generator):
    each = [generic(model, generator) for _ in range(2)]
    task = Reasoning(width=WIDTH, patterns=2, steps=1, length=4, alpha=0.5)
    batch = sample(task, seed=3, size=4, dtype=torch.float64)
    twice = batch._replace(
        prompt=torch.stack([batch.prompt, 2 * batch.prompt]),
        mask=torch.stack([batch.mask] * 2),
        target=torch.stack([batch.target] * 2),
        latent=type(batch.latent)(*(torch.stack([leaf] * 2) for leaf in batch.latent)),
    )
    together = over_members(model, stacked(each), twice)
    for member, params in enumerate(each):
        its = batch._replace(prompt=twice.prompt[member])
        alone = over_prompts(model, params, its)
        for b in range(4):
            single = model.forward(params, its.prompt[b], its.mask[b])
            for many, some, one in zip(together, alone, single, strict=True):
                close(many[member, b], one)
                close(some[b], one)


# The start.


def test_one_head_starts_as_independent_normals_of_variance_xi_squared():
    weights = OneHead(width=30, xi=0.3).init(stream(4, "init"))["W"] / 0.3
    n = weights.numel()
    assert weights.shape == (60, 60)
    # Moments of n standard normals: the mean has variance 1/n, the second 2/n, the fourth 96/n.
    assert abs(weights.mean()) < 4 * math.sqrt(1 / n)
    assert abs(weights.square().mean() - 1) < 4 * math.sqrt(2 / n)
    assert abs(weights.pow(4).mean() - 3) < 4 * math.sqrt(96 / n)
    # Mirrored entries are independent: their n/2 products, less the diagonal, have variance one.
    assert abs((weights * weights.T).triu(1).sum()) < 4 * math.sqrt(n / 2)
    assert OneHead(width=30, xi=0.0).init(stream(4, "init"))["W"].eq(0).all()


def test_the_factors_start_at_delta_times_the_identity():
    start = FactoredOneHead(width=4, delta=0.13).init(stream(4, "init"))
    for name in ("W_Q", "W_K"):
        assert start[name].equal(0.13 * torch.eye(8, dtype=torch.float64))
    assert start["W_Q"].data_ptr() != start["W_K"].data_ptr()  # two parameters, not one twice


def test_values_start_as_the_lower_half_of_a_column(model):
    params = model.init(stream(4, "init"))
    assert params["W_V"].shape == (WIDTH, TOKEN)
    column = torch.arange(1.0, TOKEN + 1, dtype=torch.float64)
    assert (params["W_V"] @ column).equal(column[WIDTH:])
    assert {leaf.dtype for leaf in params.values()} == {torch.float64}


def test_one_head_starts_from_its_key_alone_and_the_factors_all_alike():
    one, again, other = (OneHead().init(stream(seed, "init")) for seed in (4, 4, 5))
    assert one["W"].equal(again["W"])
    assert not one["W"].equal(other["W"])
    one, other = (FactoredOneHead().init(stream(seed, "init")) for seed in (4, 5))
    assert all(one[name].equal(other[name]) for name in one)


def test_widths_are_those_of_the_tokens(model):
    assert model.token_width == TOKEN
    assert type(model)().token_width == Reasoning().token_width == 60


@pytest.mark.parametrize("kind", [OneHead, FactoredOneHead])
@pytest.mark.parametrize("width", [0, -3])
def test_a_width_out_of_range_is_named_in_one_line(kind, width):
    with pytest.raises(ValueError, match=rf"^width \(d_X\) is {width}, but must be at least 1$"):
        kind(width=width)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (OneHead, {"xi": -0.1}, r"^xi is -0\.1, but must lie in \[0, inf\)$"),
        (FactoredOneHead, {"delta": 0.0}, r"^delta is 0\.0, but must lie in \(0, inf\)$"),
        (FactoredOneHead, {"delta": -0.2}, r"^delta is -0\.2, but must lie in \(0, inf\)$"),
    ],
)
def test_a_scalar_out_of_range_is_named_in_one_line(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**wrong)


# Training. An odd number of prompts and of columns: no member but the first starts at a round
# address, which is where libraries begin to round differently.

TASK = Reasoning(width=6, patterns=3, steps=2, length=6, alpha=0.6)
ODD = Reasoning(width=7, patterns=3, steps=3, length=3, alpha=0.5)
RUNS = {
    "OneHead": Run(task=ODD, model=OneHead(width=7, xi=0.3), loss="squared", batch=9, steps=4),
    "FactoredOneHead": Run(
        task=ODD, model=FactoredOneHead(width=7), loss="squared", batch=9, steps=4
    ),
    "default shape": Run(
        task=Reasoning(), model=OneHead(xi=0.1), loss="squared", batch=60, steps=2
    ),
}
RUNS["W_V too"] = replace(RUNS["OneHead"], trained=("W", "W_V"))
EAGER = "eager"


@pytest.mark.parametrize(
    ("name", "moved"),
    [("OneHead", {"W"}), ("W_V too", {"W", "W_V"}), ("FactoredOneHead", {"W_Q", "W_K"})],
)
def test_training_moves_what_it_should_and_leaves_the_rest_exactly(name, moved):
    (result,) = anew([RUNS[name]], path=EAGER)
    before, after = result.at(0), result.final
    assert {name for name in before if not before[name].equal(after[name])} == moved
    reads_the_lower_half = torch.eye(14)[7:]
    assert before["W_V"].equal(reads_the_lower_half)
    assert after["W_V"].equal(reads_the_lower_half) == ("W_V" not in moved)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("base", RUNS.values(), ids=RUNS)
def test_a_member_equals_its_solo_run_bit_for_bit(base, dtype):
    base = replace(base, dtype=dtype)
    scalar = {"delta": 0.31} if isinstance(base.model, FactoredOneHead) else {"xi": 0.07}
    runs = [
        base,
        replace(base, seed=4, task=replace(base.task, alpha=0.9)),
        replace(base, seed=5, optimiser=SGD(lr=0.7)),
        replace(base, seed=5, model=replace(base.model, **scalar)),
        replace(base, task=replace(base.task, alpha=0.2)),
    ]
    together = anew(runs, path=EAGER)
    assert len({float(result.loss[-1]) for result in together}) == len(runs)  # five trainings
    for result, run in zip(together, runs, strict=True):
        (alone,) = anew([run], path=EAGER)
        assert result.loss.isfinite().all()
        assert result.loss.equal(alone.loss)
        assert all(result.params[name].equal(alone.params[name]) for name in alone.params)


@pytest.mark.parametrize(
    ("model", "moving", "lr"),
    [
        (OneHead(width=6), ("W",), 5.0),
        (OneHead(width=6), ("W", "W_V"), 1.0),
        (FactoredOneHead(width=6), ("W_Q", "W_K"), 5.0),
    ],
    ids=["OneHead", "W_V too", "FactoredOneHead"],
)
def test_a_tiny_training_comes_to_attend_to_the_querys_step_and_pattern(model, moving, lr):
    base = Run(
        task=TASK, model=model, loss="squared", optimiser=SGD(lr=lr), batch=30, steps=150,
        trained=moving, snapshots=At(at=(0, 150)),
    )  # fmt: skip
    for result in anew([replace(base, seed=seed) for seed in range(4)], path=EAGER):
        assert result.finished
        assert result.loss[-20:].mean() < result.loss[:2].mean() / 5
        assert on_the_answer(result, 0) < 0.5
        assert on_the_answer(result, 150) > 0.8


def on_the_answer(result, step):
    """Mean attention on the columns of the query's step and pattern, where there are any."""
    batch = sample(TASK, seed=result.run.seed, size=120)
    trace = over_prompts(result.run.model, result.at(step), batch)
    same_step, same_pattern = (
        leaf[:, :-1] == leaf[:, -1:] for leaf in (batch.latent.step, batch.latent.pattern)
    )
    answerable = (same_step & same_pattern).any(-1)
    mass = by_step_and_pattern(trace.attention, same_step, same_pattern)[:, 1, 1]
    return mass[answerable].mean()
