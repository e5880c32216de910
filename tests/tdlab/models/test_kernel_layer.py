"""The kernel layer against its sentence with the concatenation written out, its start, its parts.

Every axis has a length of its own: 2 heads, 5 tokens of width 7, head width 3, value width 4,
6 outputs.
"""

import math
from dataclasses import replace
from itertools import chain, combinations

import pytest
import torch

from synthetic_tasks import FullBatch, TokenRegression
from synthetic_tasks.threefry import stream
from tdlab.models import KERNELS, KernelLayer, over_members, stacked
from tdlab.optimisers import SGD, Backtracking
from tdlab.run import Run
from tdlab.schedule import At
from tests.tdlab.runs import anew

SHAPE = KernelLayer(width=7, heads=2, head_width=3, value_width=4, outputs=6)
TOKENS = 5
ALL = ("W_Q", "W_K", "W_V", "W_O")
SUBSETS = list(chain.from_iterable(combinations(ALL, count) for count in range(1, 5)))
TASK = TokenRegression(samples=4, tokens=4, width=16)
LAYER = KernelLayer(width=16)
RUN = Run(
    task=FullBatch(of=TASK),
    model=LAYER,
    loss="token_squared",
    optimiser=Backtracking(),
    batch=4,
    dtype="float64",
    snapshots=At(at=()),
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241108)


@pytest.fixture(params=KERNELS)
def model(request):
    return replace(SHAPE, kernel=request.param)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def generic(generator):
    shapes = {"W_Q": (2, 7, 3), "W_K": (2, 7, 3), "W_V": (2, 7, 4), "W_O": (2, 4, 6)}
    return {name: normal(generator, *shape) / 2 for name, shape in shapes.items()}


def everything(count=TOKENS):
    return torch.ones(count, dtype=torch.bool)


def entry(kernel, q, k):
    root = math.sqrt(len(q))
    return math.exp(q @ k / root if kernel == "softmax" else -(q - k).square().sum() / (2 * root))


def by_the_sentence(kernel, params, X, there):
    """F(X) = concat_h(S_h X W_V,h) W_O, and the S_h; W_O's heads lie below each other."""
    heads, attention = [], []
    for W_Q, W_K, W_V in zip(params["W_Q"], params["W_K"], params["W_V"], strict=True):
        rows = [[entry(kernel, q, k) for k in X @ W_K] for q in X @ W_Q]
        S = torch.tensor(rows, dtype=torch.float64) * there
        S = S if kernel == "gaussian" else S / S.sum(-1, keepdim=True)
        heads.append(S @ X @ W_V)
        attention.append(S)
    below = torch.cat(list(params["W_O"]), dim=0)
    return torch.cat(heads, dim=1) @ below, torch.stack(attention)


# The formula.


@pytest.mark.parametrize("there", [[True] * 5, [True, True, False, True, False]], ids=["all", "3"])
def test_the_output_is_the_concatenation_of_the_heads_times_the_stacked_matrix(
    model, there, generator
):
    params, X, mask = generic(generator), normal(generator, TOKENS, 7), torch.tensor(there)
    trace = model.forward(params, X, mask)
    output, attention = by_the_sentence(model.kernel, params, X, mask)
    torch.testing.assert_close(trace.output, output, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(trace.attention, attention, rtol=1e-12, atol=1e-13)


def test_permuted_tokens_permute_the_output_and_both_axes_of_attention(model, generator):
    params, X = generic(generator), normal(generator, TOKENS, 7)
    order = torch.tensor([3, 0, 4, 1, 2])
    before = model.forward(params, X, everything())
    after = model.forward(params, X[order], everything())
    torch.testing.assert_close(after.output, before.output[order])
    torch.testing.assert_close(after.attention, before.attention[:, order][:, :, order])


def test_what_padding_holds_reaches_no_other_token(model, generator):
    params, X = generic(generator), normal(generator, TOKENS, 7)
    there = torch.tensor([True, False, True, True, False])
    shorter = model.forward(params, X[there], everything(3))
    padded = torch.where(there[:, None], X, 1e6 * normal(generator, TOKENS, 7))
    longer = model.forward(params, padded, there)
    torch.testing.assert_close(longer.output[there], shorter.output)
    torch.testing.assert_close(longer.attention[:, there][:, :, there], shorter.attention)
    assert longer.attention[..., ~there].count_nonzero() == 0


def test_gradients_agree_with_finite_differences(model, generator):
    params, X = generic(generator), normal(generator, 3, 7)

    def output(*leaves):
        return model.forward(dict(zip(ALL, leaves, strict=True)), X, everything(3)).output

    assert torch.autograd.gradcheck(output, [params[name].requires_grad_() for name in ALL])


def test_mapped_over_members_and_prompts_it_is_the_same_function(model, generator):
    each = [generic(generator) for _ in range(2)]
    task = TokenRegression(samples=3, tokens=TOKENS, width=7, outputs=6)
    worlds = [task.world(stream(seed, "world")) for seed in (3, 5)]
    batches = [task.rows(world, torch.arange(3)) for world in worlds]
    together = batches[0]._replace(
        prompt=torch.stack([batch.prompt for batch in batches]),
        mask=torch.stack([batch.mask for batch in batches]),
        target=torch.stack([batch.target for batch in batches]),
    )
    trace = over_members(model, stacked(each), together)
    for member, (params, batch) in enumerate(zip(each, batches, strict=True)):
        for b in range(3):
            one = model.forward(params, batch.prompt[b], batch.mask[b])
            torch.testing.assert_close(trace.output[member, b], one.output)
            torch.testing.assert_close(trace.attention[member, b], one.attention)


# The start.

WIDE = KernelLayer(
    width=25, heads=9, head_width=40, value_width=36, outputs=30, query_scale=3, key_scale=0.7
)
SCALES = {  # (entries, standard deviation) of the docstring
    "W_Q": (9 * 25 * 40, 3 / 5),
    "W_K": (9 * 25 * 40, 0.7 / 5),
    "W_V": (9 * 25 * 36, 1 / 5),
    "W_O": (9 * 36 * 30, 1 / math.sqrt(9 * 36)),
}


@pytest.mark.parametrize("name", ALL)
def test_entries_start_as_normals_of_the_scale_that_is_promised(name):
    """Of n normals the mean is within sigma z / sqrt n, and the deviation within z / sqrt(2 n).

    With z = 4.5 one of all eight numbers is farther off in 1 of 18,000 seeds. The fourth moment
    of a normal is 3, with a standard error of sqrt(96 / n).
    """
    count, sigma = SCALES[name]
    leaf = WIDE.init(stream(4, "init"))[name]
    assert leaf.dtype == torch.float64
    assert leaf.numel() == count
    assert abs(leaf.mean().item()) < 4.5 * sigma / math.sqrt(count)
    assert leaf.std().item() == pytest.approx(sigma, rel=4.5 / math.sqrt(2 * count))
    assert (leaf / sigma).pow(4).mean().item() == pytest.approx(3, abs=4.5 * math.sqrt(96 / count))


def test_what_a_run_starts_from_keeps_the_size_of_its_tokens():
    """With these scales a value has variance 1, and so has what all heads write together."""
    params = WIDE.init(stream(4, "init"))
    X = torch.randn(400, 25, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = X @ params["W_V"]
    written = torch.einsum("hnv, hvy -> ny", values, params["W_O"])
    # 400 rows and at least 30 columns share one set of weights: a few per cent either way.
    assert values.var().item() == pytest.approx(1, abs=0.1)
    assert written.var().item() == pytest.approx(1, abs=0.2)


def test_each_matrix_has_numbers_of_its_own():
    square = KernelLayer(width=4, heads=2, head_width=4, value_width=4, outputs=4)
    leaves = list(square.init(stream(4, "init")).values())
    every = torch.cat([leaf.flatten() / leaf.std() for leaf in leaves])
    for leaf, other in combinations(leaves, 2):
        cosine = torch.cosine_similarity(leaf.flatten(), other.flatten(), dim=0)
        assert abs(cosine) < 4.5 / math.sqrt(32)
    assert len(every.unique()) == len(every)


@pytest.mark.parametrize(
    ("scale", "name"),
    [(lambda to: {"query_scale": to}, "W_Q"), (lambda to: {"key_scale": to}, "W_K")],
    ids=["query", "key"],
)
def test_a_scale_multiplies_its_own_matrix_and_nothing_else(scale, name):
    one = SHAPE.init(stream(4, "init"))
    three, zero = (replace(SHAPE, **scale(size)).init(stream(4, "init")) for size in (3, 0))
    for other in ALL:
        if other == name:
            torch.testing.assert_close(three[other], 3 * one[other], rtol=1e-15, atol=0)
            assert zero[other].count_nonzero() == 0
        else:
            assert three[other].equal(one[other])


def test_with_a_shared_seed_two_members_differ_in_their_queries_only():
    keys = [stream(4, "init"), stream(5, "init")]
    one, other = (replace(SHAPE, shared=4).init(key) for key in keys)
    assert {name for name in ALL if not one[name].equal(other[name])} == {"W_Q"}
    another = replace(SHAPE, shared=9).init(keys[0])
    assert {name for name in ALL if not one[name].equal(another[name])} == {"W_K", "W_V", "W_O"}


def test_without_a_shared_seed_two_members_differ_in_everything():
    one, other = (SHAPE.init(stream(seed, "init")) for seed in (4, 5))
    assert not any(one[name].allclose(other[name], atol=0.01) for name in ALL)


def test_the_kernel_does_not_enter_the_start():
    made = [replace(SHAPE, kernel=kernel).init(stream(4, "init")) for kernel in KERNELS]
    assert all(made[0][name].equal(other[name]) for other in made[1:] for name in ALL)


# Training.


@pytest.mark.parametrize("subset", SUBSETS, ids=" ".join)
def test_any_subset_of_the_matrices_is_trained_and_the_others_stay_bit_for_bit(subset):
    runs = [
        replace(RUN, optimiser=SGD(lr=0.01), seed=seed, trained=subset, steps=2) for seed in (0, 1)
    ]
    for run, result in zip(runs, anew(runs, path="eager"), strict=True):
        before = run.model.init(stream(run.seed, "init"))
        moved = {name for name in ALL if not result.final[name].equal(before[name])}
        assert moved == set(subset)
        assert result.loss[1] < result.loss[0]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_frozen_pattern_leaves_a_quadratic_in_the_values_that_training_solves(kernel):
    """Only W_V trained: the same solution as least squares over B = [S_h X], for which H D is 64.

    The step size is the largest stable one, so the slowest direction decays at a rate of
    sigma_min^2 / sigma_max^2 a step; the loss is compared where the theory says it should be.
    """
    run = replace(RUN, model=replace(LAYER, kernel=kernel), trained=("W_V",), steps=0)
    task, world = TASK, TASK.world(stream(run.seed, "world"))
    params = run.model.init(stream(run.seed, "init"))
    batch = task.rows(world, torch.arange(4))

    def outputs(W_V):
        leaves = {**params, "W_V": W_V.reshape(params["W_V"].shape)}
        return torch.cat(
            [run.model.forward(leaves, X, everything(4)).output[:, 0] for X in batch.prompt]
        )

    start = params["W_V"].flatten()
    A = torch.func.jacrev(outputs)(start)  # the map from W_V to the 16 outputs
    rate = 1 / torch.linalg.matrix_norm(A, 2).item() ** 2
    residual = batch.target.flatten() - outputs(start)
    values, vectors = torch.linalg.eigh(A @ A.T)
    steps = 40
    left = vectors @ ((1 - rate * values) ** steps * (vectors.T @ residual))
    (result,) = anew([replace(run, optimiser=SGD(lr=4 * rate), steps=steps + 1)], path="eager")
    # The loss of a run is the mean over its 4 samples, so its step is 4 times that of their sum.
    expected = left.square().sum().item() / 8
    assert result.loss[-1].item() == pytest.approx(expected, rel=1e-9)
    assert expected < result.loss[0].item() / 5


@pytest.mark.parametrize("kernel", KERNELS)
def test_with_all_matrices_trained_the_loss_never_rises_and_most_of_it_is_gone_soon(kernel):
    run = replace(RUN, model=replace(LAYER, kernel=kernel), steps=60)
    for result in anew([replace(run, seed=seed) for seed in range(3)], path="eager"):
        assert result.loss[-1] < 1e-2 * result.loss[0]
        assert (result.loss.diff() <= 1e-14 * result.loss[0]).all()  # it never rises


@pytest.mark.slow  # thousands of steps
@pytest.mark.parametrize("kernel", KERNELS)
def test_with_all_matrices_trained_every_seed_reaches_zero_loss(kernel):
    run = replace(RUN, model=replace(LAYER, kernel=kernel), steps=1500)
    for result in anew([replace(run, seed=seed) for seed in range(6)], path="eager"):
        assert result.loss[-1] < 1e-14 * result.loss[0]


# Bad input.


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        (
            {"kernel": "gauss"},
            ValueError,
            "kernel is 'gauss', but must be one of softmax, gaussian, normalized gaussian",
        ),
        ({"width": 0}, ValueError, "width is 0, but must be at least 1"),
        ({"heads": 0}, ValueError, "heads is 0, but must be at least 1"),
        ({"head_width": 0}, ValueError, "head_width is 0, but must be at least 1"),
        ({"value_width": 0}, ValueError, "value_width is 0, but must be at least 1"),
        ({"outputs": 1.5}, TypeError, r"outputs is 1\.5, but must be an integer of at least 1"),
        ({"query_scale": -1}, ValueError, r"query_scale is -1, but must lie in \[0, inf\)"),
        ({"key_scale": math.inf}, ValueError, r"key_scale is inf, but must lie in \[0, inf\)"),
        ({"shared": -1}, ValueError, "shared is -1, but must be at least 0"),
        ({"shared": True}, TypeError, "shared is True, but must be an integer of at least 0"),
    ],
    ids=str,
)
def test_a_bad_shape_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=f"^{line}$"):
        KernelLayer(**wrong)
