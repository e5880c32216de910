"""The transformer against GPT-2 of Hugging Face, torch's own encoder, and a plain loop.

Every axis has a length of its own: 5 tokens of width 3, residual stream 8, 2 heads of width 4, 7
neurons, 3 layers, up to 11 positions.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.func import grad
from torch.nn.functional import layer_norm
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2Model

import synthetic_tasks
from synthetic_tasks import (
    CueText,
    Digits,
    FullBatch,
    InContextClassification,
    KeysAndValues,
    NoisyReasoning,
    OutOfDomain,
    Pathfinder,
    Reasoning,
    Task,
    TokenRegression,
    sample,
)
from synthetic_tasks.threefry import stream
from synthetic_tasks.transitions import noiseless
from tdlab.models import GELU, PolyNorm, PolyReLU, ReLU, SiLU, Transformer, over_prompts
from tdlab.optimisers import Adam
from tdlab.run import Run
from tdlab.train.program import Traced
from tests.tdlab.members import assert_same, fit, member

SHAPE = Transformer(
    token_width=3, outputs=4, layers=3, heads=2, width=8, hidden=7, columns=11, xi=0.3
)
EVERYTHING = torch.ones(5, dtype=torch.bool)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20261123)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def generic(model, generator, scale=0.7):
    """Parameters at a generic point, biases, gains and all."""
    made = model.init(stream(0, "init"))
    return {name: scale * normal(generator, *leaf.shape) for name, leaf in made.items()}


def side_by_side(heads):
    """What of each head is a leaf of its own, (h, d, w), as the columns of one matrix."""
    return torch.cat(list(heads), dim=-1)


def gpt2(params, model):
    """GPT-2 of Hugging Face with these weights; attention and MLP are kept from its blocks."""
    config = GPT2Config(
        n_embd=model.width,
        n_layer=model.layers,
        n_head=model.heads,
        n_inner=model.hidden,
        n_positions=model.columns,
        vocab_size=2,
    )
    theirs = GPT2Model(config).double().eval()
    theirs.set_attn_implementation("eager")
    state = {"wpe.weight": params["P"], "ln_f.weight": params["gain"], "ln_f.bias": params["shift"]}
    for layer in range(model.layers):
        its = {name: leaf[layer] for name, leaf in params.items()}
        state |= {
            f"h.{layer}.{name}": leaf
            for name, leaf in {
                "ln_1.weight": its["gain_1"],
                "ln_1.bias": its["shift_1"],
                "ln_2.weight": its["gain_2"],
                "ln_2.bias": its["shift_2"],
                "attn.c_attn.weight": torch.cat(
                    [side_by_side(its[f"W_{x}"]) for x in "QKV"], dim=-1
                ),
                "attn.c_attn.bias": torch.cat([its[f"b_{x}"].flatten() for x in "QKV"]),
                "attn.c_proj.weight": its["W_O"].flatten(0, 1),
                "attn.c_proj.bias": its["b_O"],
                "mlp.c_fc.weight": its["W_1"],
                "mlp.c_fc.bias": its["b_1"],
                "mlp.c_proj.weight": its["W_2"],
                "mlp.c_proj.bias": its["b_2"],
            }.items()
        }
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["wte.weight"], [])
    return theirs


# The formula.


def test_with_the_same_weights_it_equals_gpt2_of_hugging_face(generator):
    params, prompt = generic(SHAPE, generator), normal(generator, 5, 3)
    theirs, neurons = gpt2(params, SHAPE), []
    for block in theirs.h:
        block.mlp.act.register_forward_hook(lambda *seen: neurons.append(seen[-1][0]))
    with torch.no_grad():
        given = {"inputs_embeds": (prompt @ params["E"] + params["e"])[None]}
        out = theirs(**given, output_attentions=True, output_hidden_states=True)
    trace = SHAPE.forward(params, prompt, EVERYTHING)
    last = out.last_hidden_state[0, -1]
    for ours, expected in (
        (trace.output, last @ params["U"] + params["u"]),
        (trace.attention, torch.cat(out.attentions)),
        (trace.neurons, torch.stack(neurons)),
        (trace.residual[:-1], torch.cat(out.hidden_states[1:-1])),
    ):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalization", ["before", "after"])
def test_it_equals_the_encoder_of_torch_where_tokens_attend_to_all(normalization, generator):
    model = replace(SHAPE, normalization=normalization, attends="to all", activation=ReLU())
    params, prompt = generic(model, generator), normal(generator, 5, 3)
    mask = torch.tensor([True, False, True, True, True])
    first = normalization == "before"
    x = prompt @ params["E"] + params["e"] + params["P"][:5]
    for layer in range(model.layers):
        its = {name: leaf[layer] for name, leaf in params.items()}
        theirs = torch.nn.TransformerEncoderLayer(
            8, 2, 7, dropout=0.0, norm_first=first, batch_first=True, dtype=torch.float64
        )
        state = {
            "self_attn.in_proj_weight": torch.cat([side_by_side(its[f"W_{n}"]).T for n in "QKV"]),
            "self_attn.in_proj_bias": torch.cat([its[f"b_{n}"].flatten() for n in "QKV"]),
            "self_attn.out_proj.weight": its["W_O"].flatten(0, 1).T,
            "self_attn.out_proj.bias": its["b_O"],
            "linear1.weight": its["W_1"].T,
            "linear1.bias": its["b_1"],
            "linear2.weight": its["W_2"].T,
            "linear2.bias": its["b_2"],
            "norm1.weight": its["gain_1"],
            "norm1.bias": its["shift_1"],
            "norm2.weight": its["gain_2"],
            "norm2.bias": its["shift_2"],
        }
        theirs.load_state_dict(state)
        # Padding attends to itself as well.
        hidden = ~mask.expand(5, 5) & ~torch.eye(5, dtype=torch.bool)
        x = theirs(x[None], src_mask=hidden)[0]
    last = layer_norm(x, (8,), params["gain"], params["shift"]) if first else x
    trace = model.forward(params, prompt, mask)
    torch.testing.assert_close(trace.residual[-1], x, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        trace.output, last[-1] @ params["U"] + params["u"], rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("normalization", ["before", "after", "none"])
@pytest.mark.parametrize("held", [False, True])
def test_what_the_query_answers_is_what_the_trace_shows_of_the_last_layer(
    normalization, held, generator
):
    model = replace(SHAPE, normalization=normalization)
    params, prompt = generic(model, generator, 0.3), normal(generator, 5, 3)
    clamp = normal(generator, 3, 2, 5, 5).softmax(-1) if held else None
    trace = model.forward(params, prompt, EVERYTHING, clamp)
    every = replace(model, answers="every token").forward(params, prompt, EVERYTHING, clamp)
    torch.testing.assert_close(trace.output, every.output[-1], rtol=0, atol=1e-12)
    for ours, expected in zip(trace[1:], every[1:], strict=True):
        assert ours.equal(expected)


def products(layers: int, answers: str) -> int:
    """Multiplications and additions of a traced step, forwards and backwards."""
    model = replace(SHAPE, layers=layers, answers=answers, width=64, hidden=256)
    params, prompt = model.init(stream(0, "init")), torch.ones(5, 3, dtype=torch.float64)

    def loss(its):
        return model.forward(its, prompt, EVERYTHING).output.sum()

    step = Traced(grad(loss), params)
    with FlopCounterMode(display=False) as counted:
        step(list(params.values()))
    return counted.get_total_flops()


def test_training_computes_of_the_last_layer_what_the_query_needs():
    """Of all tokens the keys and the values: a sixth of what each makes of a layer."""
    layer = products(2, "every token") - products(1, "every token")
    saved = products(2, "every token") - products(2, "query")
    assert saved / layer == pytest.approx(5 / 6 * 4 / 5, rel=0.05)  # of four tokens among five


def test_without_normalization_and_positions_it_is_the_plain_sum_of_its_parts(generator):
    model = replace(SHAPE, layers=1, normalization="none", positions="none", activation=SiLU())
    params, prompt = generic(model, generator), normal(generator, 5, 3)
    assert not {"P", "gain", "gain_1", "shift_2"} & set(params)
    p = {name: leaf[0] for name, leaf in params.items()} | {k: params[k] for k in "EeUu"}
    x = prompt @ p["E"] + p["e"]
    read = p["b_O"].clone()
    for h in range(2):
        q, k, v = (x @ p[f"W_{n}"][h] + p[f"b_{n}"][h] for n in "QKV")
        scores = (q[-1] * k).sum(-1) / math.sqrt(4)
        read = read + (scores.exp() / scores.exp().sum()) @ v @ p["W_O"][h]
    last = x[-1] + read
    pre = last @ p["W_1"] + p["b_1"]
    last = last + pre / (1 + (-pre).exp()) @ p["W_2"] + p["b_2"]
    trace = model.forward(params, prompt, EVERYTHING)
    torch.testing.assert_close(trace.output, last @ p["U"] + p["u"], rtol=0, atol=1e-10)


def test_sinusoidal_positions_are_those_of_their_formula(generator):
    model = replace(SHAPE, positions="sinusoidal")
    params = generic(model, generator)
    at = model._positions(params, normal(generator, 5, 3))
    assert at[3, 2].item() == pytest.approx(math.sin(3 / 10_000 ** (2 / 4)))
    assert at[3, 4 + 1].item() == pytest.approx(math.cos(3 / 10_000 ** (1 / 4)))
    assert at.shape == (5, 8)
    assert replace(model, heads=1, width=7)._positions({}, normal(generator, 5, 3)).shape == (5, 7)


# Who sees what.


def test_what_comes_later_does_not_show_where_tokens_attend_to_earlier_ones(generator):
    model = replace(SHAPE, answers="every token")
    params, prompt = generic(model, generator), normal(generator, 5, 3)
    other = torch.cat([prompt[:3], normal(generator, 2, 3)])
    one, two = (model.forward(params, p, EVERYTHING).output for p in (prompt, other))
    assert one.shape == (5, 4)
    torch.testing.assert_close(one[:3], two[:3], rtol=0, atol=1e-13)
    assert not one[3:].isclose(two[3:]).any()
    all_seen = replace(model, attends="to all")
    one, two = (all_seen.forward(params, p, EVERYTHING).output for p in (prompt, other))
    assert not one.isclose(two).any()


@pytest.mark.parametrize("attends", ["to earlier", "to all"])
def test_padding_does_not_show_in_the_answer_wherever_it_stands(attends, generator):
    model = replace(SHAPE, attends=attends)
    params, prompt = generic(model, generator), normal(generator, 5, 3)
    mask = torch.tensor([False, True, False, True, True])
    other = torch.where(mask[:, None], prompt, normal(generator, 5, 3))
    one, two = (model.forward(params, p, mask) for p in (prompt, other))
    torch.testing.assert_close(one.output, two.output, rtol=0, atol=1e-13)
    torch.testing.assert_close(one.attention.sum(-1), torch.ones(3, 2, 5, dtype=torch.float64))
    assert (one.attention[..., 1:, 0] == 0).all()


def test_a_prompt_shorter_than_the_positions_takes_the_first_and_a_longer_one_is_refused(generator):
    params = generic(SHAPE, generator)
    with pytest.raises(ValueError, match="12 tokens, but the model has 11 positions"):
        SHAPE.forward(params, normal(generator, 12, 3), torch.ones(12, dtype=torch.bool))


# The start.


def test_it_starts_as_gpt2_does():
    params = replace(SHAPE, width=64, hidden=128, xi=0.02).init(stream(3, "init"))
    for name, quiet in (("W_Q", 1), ("W_1", 1), ("E", 1), ("W_O", 6**-0.5), ("W_2", 6**-0.5)):
        # The standard deviation of n normals strays by 1 / sqrt(2 n) of itself: five times that.
        relative = 5 / math.sqrt(2 * params[name].numel())
        assert params[name].std().item() == pytest.approx(0.02 * quiet, rel=relative)
    assert (params["gain_1"] == 1).all()
    assert all((params[name] == 0).all() for name in ("b_Q", "b_O", "b_1", "shift", "u", "e"))


def test_every_layer_starts_with_the_coefficients_of_its_activation_in_float64():
    params = replace(SHAPE, activation=PolyNorm()).init(stream(3, "init"))
    assert params["phi"].tolist() == [[0, 1 / 3, 1 / 3, 1 / 3]] * 3


@pytest.mark.parametrize("normalization", ["before", "after", "none"])
@pytest.mark.parametrize("activation", [GELU(), PolyReLU(), PolyNorm()])
def test_every_parameter_moves_but_the_keys_bias(normalization, activation, generator):
    """A bias of the keys adds the same to all scores of a query, which softmax does not see."""
    model = replace(SHAPE, normalization=normalization, activation=activation)
    params, prompt = generic(model, generator, 0.3), normal(generator, 5, 3)
    assert set(model.moving) == set(params)

    def risk(at):
        return model.forward(at, prompt, EVERYTHING).output.square().sum()

    gradient = torch.func.grad(risk)(params)
    sizes = {name: leaf.abs().max().item() for name, leaf in gradient.items()}
    still = {name for name, size in sizes.items() if size < 1e-12 * max(sizes.values())}
    assert still == {"b_K"}


# On every task of the lab.

ICL = InContextClassification(relevant=6, irrelevant=5, label_width=3, length=6)
COT = Reasoning(width=9, patterns=4, steps=2, length=3)
TASKS: dict[str, tuple[Task, str, int | None, str]] = {
    "icl": (ICL, "hinge", None, "query"),
    "out of domain": (OutOfDomain(trained=ICL), "hinge", None, "query"),
    "cot": (COT, "squared", 9, "query"),
    "noisy cot": (
        NoisyReasoning(trained=COT, transitions=noiseless(2, 3), length=4),
        "squared",
        9,
        "query",
    ),
    "texts": (CueText(length=40), "logistic", None, "query"),
    "mazes": (Pathfinder(size=4), "logistic", None, "query"),
    "regression": (
        FullBatch(of=TokenRegression(samples=3, tokens=5, width=7, outputs=2)),
        "token_squared",
        2,
        "every token",
    ),
    "keys and values": (FullBatch(of=KeysAndValues()), "squared", 1, "query"),
    "digits": (Digits(), "logistic", None, "query"),
}


@pytest.mark.parametrize("name", TASKS)
def test_it_trains_on(name):
    task, loss, outputs, answers = TASKS[name]
    model = replace(
        SHAPE,
        token_width=task.token_width,
        outputs=outputs,
        answers=answers,
        columns=task.columns,
        layers=2,
    )
    batch = max(task.balance, 3 if "regression" in name else task.balance * 2)
    run = Run(task=task, model=model, loss=loss, optimiser=Adam(), batch=batch, steps=2)
    training, _ = fit([run])
    assert training.loss.isfinite().all()
    trace = over_prompts(
        model, member(training.params, 0), sample(task, seed=0, size=batch, dtype=torch.float32)
    )
    assert trace.attention.shape == (batch, 2, 2, task.columns, task.columns)
    assert trace.neurons.shape == (batch, 2, task.columns, 7)


def test_no_task_of_the_lab_is_left_out():
    given = [task for task, *_ in TASKS.values()]
    tried = {type(task) for task in given} | {type(getattr(task, "of", task)) for task in given}
    public = [getattr(synthetic_tasks, name) for name in synthetic_tasks.__all__]
    assert {each for each in public if hasattr(each, "draw")} - {Task} <= tried


@pytest.mark.parametrize("activation", [GELU(), SiLU(), PolyReLU(), PolyNorm()])
def test_a_member_equals_its_solo_run(activation):
    """Bit for bit where rows have a multiple of 16 entries, so that none ends in a remainder."""
    model = replace(SHAPE, token_width=14, outputs=None, width=16, hidden=32, activation=activation)
    run = Run(task=ICL, model=model, optimiser=Adam(lr=0.01), batch=8, steps=4)
    runs = [replace(run, seed=seed) for seed in (3, 8, 5)]
    together, alone = fit(runs)[0], fit(runs[1:2])[0]
    assert_same(member(together.params, 1), member(alone.params, 0))
    start = model.init(stream(8, "init"))
    assert not member(alone.params, 0)["W_1"].isclose(start["W_1"].float()).all()


def test_it_fits_in_context_classification():
    """Three seeds, each to an error below 5 % of 200 prompts, from a half."""
    task = replace(ICL, length=12, kappa=0.2)
    model = Transformer(token_width=14, layers=2, width=16, hidden=32, columns=13, xi=0.1)
    run = Run(task=task, model=model, optimiser=Adam(lr=0.01), batch=32, steps=140)
    training, _ = fit([replace(run, seed=seed) for seed in range(3)])
    for seed in range(3):
        batch = sample(task, seed=seed, size=200)
        output = over_prompts(model, member(training.params, seed), batch).output
        assert (output * batch.target <= 0).float().mean() < 0.05


# What it refuses.


@pytest.mark.parametrize(
    ("field", "bad", "words"),
    [
        ("layers", 0, "layers is 0"),
        ("outputs", 0, "outputs is 0"),
        ("heads", 3, "width is 8, but must be a multiple of heads, 3"),
        ("normalization", "pre", "normalization is 'pre', but must be one of before, after, none"),
        ("positions", "rotary", "positions is 'rotary'"),
        ("attends", "causal", "attends is 'causal'"),
        ("answers", "all", "answers is 'all'"),
        ("xi", -1.0, "xi is -1.0"),
    ],
)
def test_it_refuses(field, bad, words):
    with pytest.raises(ValueError, match=words):
        replace(SHAPE, **{field: bad})


@pytest.mark.parametrize("unknown", ["relu", GELU], ids=["a name", "a class"])
def test_it_refuses_an_activation_that_is_none(unknown: Any):
    with pytest.raises(TypeError, match=r"activation is .*, but must be one, such as GELU\(\)"):
        replace(SHAPE, activation=unknown)
