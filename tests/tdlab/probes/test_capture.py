"""Attention of modules that others wrote: planted answers, and every way to hide it."""

import math
import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import GPT2LMHeadModel, GPT2Model

from tdlab.probes import Captured, capture, concentration, entropy, intervened
from tdlab.probes.landscape import peak_bytes
from tests.tdlab.probes import planted
from tests.tdlab.probes.planted import COLUMNS, KINDS, SAME


class Written(nn.Module):
    """Attention as people write it themselves, with a place where it can be seen."""

    def __init__(self, *, fused: bool = False, scores: bool = False) -> None:
        super().__init__()
        self.pattern, self.raw = nn.Identity(), nn.Identity()
        self.spoilt, self.inner = nn.Identity(), nn.Identity()  # in one row; without a head axis
        self.fused, self.scores = fused, scores
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return scaled_dot_product_attention(x, x, x)
        attention = self.raw(x @ x.mT / math.sqrt(x.shape[-1])).softmax(-1)
        _ = self.spoilt(attention[:, None] + 0.1 * torch.eye(5)[0] * torch.eye(5)[3][:, None])
        return self.pattern(self.inner(attention)[:, None])[:, 0] @ x


@pytest.fixture
def x():
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(7))


# Planted answers.


@pytest.mark.parametrize(
    ("module", "given", "layers"),
    [
        (planted.multihead(), (planted.tokens(),) * 3, 1),
        (planted.encoder(), (planted.tokens(),), 3),
        (planted.gpt2(), (KINDS,), 3),
    ],
    ids=["nn.MultiheadAttention", "nn.TransformerEncoder", "Hugging Face"],
)
def test_probes_of_captured_attention_give_the_planted_answer(module, given, layers):
    looks = capture(module, *given).from_query()
    assert looks.shape == (layers, 2, 2, COLUMNS)
    found = concentration(looks, SAME)
    same = SAME.float().mean(-1)
    torch.testing.assert_close(found[0, 0], planted.concentration_by_hand(), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0, 1], same)
    torch.testing.assert_close(entropy(looks)[0, 1], torch.full((2,), math.log(COLUMNS)))
    torch.testing.assert_close(found[1:], same.expand(layers - 1, 2, 2))


def test_a_cache_with_a_head_axis_goes_in_as_it_is():
    """As TransformerLens keeps it: a pattern (b, h, n, m) for each layer, by name."""
    seen = capture(planted.gpt2(), KINDS).attention
    cache = {f"blocks.{layer}.attn.hook_pattern": each for layer, each in enumerate(seen.values())}
    looks = cache["blocks.0.attn.hook_pattern"][:, :, -1]
    found = concentration(looks, SAME[:, None])
    torch.testing.assert_close(found[:, 0], planted.concentration_by_hand(), rtol=0, atol=1e-5)
    assert found.shape == (2, 2)


def test_a_hugging_face_model_hides_what_comes_later():
    seen = capture(planted.gpt2(), KINDS).attention
    assert list(seen) == ["attentions.0", "attentions.1", "attentions.2"]
    assert seen["attentions.1"].shape == (2, 2, COLUMNS, COLUMNS)
    assert (seen["attentions.1"].triu(1) == 0).all()


def test_padding_is_handed_on_block_by_block():
    """Where a probe reduces, an argument with a prompt axis is cut like the inputs."""
    there = torch.ones(2, COLUMNS, dtype=torch.int64)
    there[1, 0] = 0
    looks = capture(
        planted.gpt2(),
        KINDS,
        attention_mask=there,
        at_once=1,
        probe=lambda seen: seen.layers[0, :, 1, -1],
    )
    torch.testing.assert_close(looks[0], torch.full((COLUMNS,), 1 / COLUMNS))
    torch.testing.assert_close(looks[1], torch.tensor([0.0] + [1 / (COLUMNS - 1)] * 5))


def test_what_submodules_hand_out_is_captured_by_their_names(x):
    model = nn.Sequential(Written(), nn.Linear(4, 4), Written()).eval()
    seen = capture(model, x, attention="*.pattern", activations=["1"])
    assert list(seen.attention) == ["0.pattern", "2.pattern"]
    torch.testing.assert_close(
        seen.attention["0.pattern"][:, 0], (x @ x.mT / 2).softmax(-1), rtol=0, atol=1e-6
    )
    assert seen.activations["1"].equal(model[1](model[0](x)))
    assert seen.output.equal(model(x))


def test_activations_of_a_hugging_face_model_are_captured_too():
    model = planted.gpt2()
    seen = capture(model, KINDS, activations=["h.*.mlp.act"])
    assert [each.shape for each in seen.activations.values()] == [(2, COLUMNS, 7)] * 3
    last = seen.activations["h.2.mlp.act"]
    written = intervened(model, {"h.2.mlp.act": lambda _: last}, KINDS)
    assert written.last_hidden_state.equal(seen.output.last_hidden_state)
    assert last.abs().max() > 0


def test_a_submodule_that_is_called_again_has_a_number():
    module = planted.multihead()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = module

        def forward(self, x: Tensor) -> Tensor:
            return self.attend(self.attend(x, x, x)[0], x, x)[0]

    assert list(capture(Twice().eval(), planted.tokens()).attention) == ["attend", "attend (2)"]


# The model computes what it would without being looked at.


def test_the_encoder_answers_as_if_it_were_not_looked_at():
    module = planted.encoder()
    before = {name: leaf.clone() for name, leaf in module.state_dict().items()}
    with torch.no_grad():
        alone = module(planted.tokens())
    seen = capture(module, planted.tokens())
    torch.testing.assert_close(seen.output, alone, rtol=0, atol=1e-6)
    assert all(leaf.equal(before[name]) for name, leaf in module.state_dict().items())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ({}, (2, COLUMNS, COLUMNS)),
        ({"average_attn_weights": False}, (2, 2, COLUMNS, COLUMNS)),
        ({"need_weights": False}, None),
    ],
)
def test_who_calls_attention_gets_the_weights_that_it_asked_for(asked, shape):
    module, x = planted.multihead(), planted.tokens()
    seen = capture(module, x, x, x, **asked)
    weights = seen.output[1]
    assert (None if weights is None else tuple(weights.shape)) == shape
    expected = module(x, x, x, **asked)[1]
    if shape is not None:
        torch.testing.assert_close(weights, expected)
    assert seen.attention["attention"].shape == (2, 2, COLUMNS, COLUMNS)


def test_a_hook_that_was_there_sees_what_it_would_without_us():
    module, x, seen = planted.multihead(), planted.tokens(), []
    module.register_forward_hook(lambda _, args, output: seen.append(output[1]))
    capture(module, x, x, x, need_weights=False)
    assert seen == [None]


def test_a_star_stops_at_a_dot_and_two_do_not(x):
    model = nn.Sequential(nn.Sequential(Written()), Written()).eval()
    assert list(capture(model, x, attention="*.pattern").attention) == ["1.pattern"]
    both = ["0.0.pattern", "1.pattern"]
    assert list(capture(model, x, attention="**.pattern").attention) == both
    with pytest.raises(ValueError, match=r"no submodule 'pattern'; did you mean '0\.0\.pattern'\?"):
        capture(model, x, attention="pattern")
    with pytest.raises(ValueError, match=r"no submodule 'r\*w'; did you mean '0\.0\.r\*w'\?"):
        capture(model, x, attention="r*w")


def test_activations_are_captured_of_a_model_without_attention(x):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU()).eval()
    seen = capture(model, x, attention=None, activations="0")
    assert seen.activations["0"].equal(model[0](x))
    assert seen.attention == {}
    with pytest.raises(ValueError, match="there is no attention: it was not asked for"):
        _ = seen.layers
    fused = capture(Written(fused=True), x, attention=None)
    assert fused.output.equal(Written(fused=True)(x))


def test_where_each_prompt_has_a_last_token_of_its_own(x):
    """As of prompts that are padded on the right."""
    seen, last = capture(planted.gpt2(), KINDS), torch.tensor([3, 5])
    looks = seen.from_query(last)
    assert looks.shape == (3, 2, 2, COLUMNS)
    for prompt, place in enumerate(last.tolist()):
        assert looks[:, :, prompt].equal(seen.from_query(place)[:, :, prompt])
    with pytest.raises(
        ValueError, match=r"places have shape \(3,\), but there are 2 prompts; in a"
    ):
        seen.from_query(torch.tensor([1, 2, 3]))
    without_heads = capture(Written(), x, attention="inner")
    with pytest.raises(
        ValueError, match=r"\(1, 3, 5, 5\), but must be \(layer, b, h, n, m\) where"
    ):
        without_heads.from_query(torch.tensor([1, 2, 3]))


def test_a_probe_is_told_which_prompts_it_is_given():
    kinds = torch.randint(0, 2, (7, COLUMNS), generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor([3, 6, 1, 2, 5, 4, 6])
    found = capture(
        planted.gpt2(),
        kinds,
        at_once=3,
        probe=lambda seen: seen.from_query(lengths[seen.prompts] - 1).movedim(2, 0),
    )
    whole = capture(planted.gpt2(), kinds)
    assert kinds[whole.prompts].equal(kinds)
    torch.testing.assert_close(found, whole.from_query(lengths - 1).movedim(2, 0))


def test_what_was_captured_is_shown_by_names_and_shapes(x):
    seen = capture(nn.Sequential(Written()).eval(), x, attention="0.pattern", activations="0")
    assert repr(seen) == (
        "Captured({'attention': {'0.pattern': (3, 1, 5, 5)}, 'activations': {'0': (3, 5, 4)}}, "
        "output: Tensor)"
    )


def test_a_hugging_face_model_may_be_asked_for_tuples():
    seen = capture(planted.gpt2(), KINDS, return_dict=False)
    assert seen.layers.shape == (3, 2, 2, COLUMNS, COLUMNS)


def test_the_attention_of_an_encoder_and_a_decoder_of_hugging_face():
    model = planted.bart()
    seen = capture(model, KINDS, decoder_input_ids=KINDS[:, :4])
    shapes = {"encoder": (6, 6), "decoder": (4, 4), "cross": (4, 6)}
    assert {name: tuple(each.shape) for name, each in seen.attention.items()} == {
        f"{which}_attentions.{layer}": (2, 2, *shape)
        for which, shape in shapes.items()
        for layer in (0, 1)
    }
    own = model(KINDS, decoder_input_ids=KINDS[:, :4], output_attentions=True)
    for which in shapes:
        for layer, each in enumerate(getattr(own, f"{which}_attentions")):
            assert seen.attention[f"{which}_attentions.{layer}"].equal(each)


def test_what_the_model_writes_over_is_kept_as_it_was_handed_out(x):
    class Overwriting(Written):
        def forward(self, x: Tensor) -> Tensor:
            attention = self.pattern((x @ x.mT).softmax(-1)[:, None])
            mixed: Tensor = attention[:, 0] @ x
            attention.fill_(1 / 5)
            return mixed

    seen = capture(Overwriting(), x, attention="pattern")
    assert seen.layers[0, :, 0].equal((x @ x.mT).softmax(-1))
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True)).eval()
    kept = capture(model, x, attention=None, activations="0").activations["0"]
    assert kept.equal(model[0](x))
    assert kept.min() < 0


def test_patterns_that_name_a_submodule_twice_keep_it_once(x):
    model = nn.Sequential(Written(), Written()).eval()
    seen = capture(model, x, attention=["0.pattern", "*.pattern"], activations=["*", "0"])
    assert list(seen.attention) == ["0.pattern", "1.pattern"]
    assert {"0", "1"} <= set(seen.activations)
    assert not any("(2)" in name for name in seen.activations)


def test_fused_attention_elsewhere_is_nobodys_business_where_submodules_are_named(x):
    model = nn.Sequential(Written(fused=True), Written()).eval()
    assert list(capture(model, x, attention="1.pattern").attention) == ["1.pattern"]


def test_threads_that_capture_the_same_module_see_their_own_calls():
    inside = Barrier(2, timeout=10)

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = planted.multihead()

        def forward(self, x: Tensor) -> Tensor:
            inside.wait()  # both have set their hooks
            mixed: Tensor = self.attend(x, x, x)[0]
            inside.wait()
            return mixed

    module, x = Slow().eval(), planted.tokens()
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda x: capture(module, x), (x, x.flip(0))))
    for seen, given in zip(both, (x, x.flip(0)), strict=True):
        (heads,) = seen.attention.values()
        alone = capture(module.attend, given, given, given)
        assert heads.equal(alone.attention["attention"])


def test_a_mask_of_the_encoder_goes_into_what_is_shared():
    causal = nn.Transformer.generate_square_subsequent_mask(COLUMNS)
    looks = capture(
        planted.encoder(),
        planted.tokens(),
        shared={"mask": causal},
        probe=lambda seen: seen.layers.movedim(1, 0),
        at_once=1,
    )
    assert looks.shape == (2, 3, 2, COLUMNS, COLUMNS)
    assert (looks.triu(1) == 0).all()


@pytest.mark.parametrize("names", [(), "layers.*.self_attn"])
def test_padding_of_the_encoder_is_seen_by_nobody(names):
    """In evaluation torch would put such prompts into one nested tensor, which shows nothing."""
    hidden = torch.zeros(2, COLUMNS, dtype=torch.bool)
    hidden[0, 4:] = True
    given = {"src_key_padding_mask": hidden, "attention": names}
    seen = capture(planted.encoder(), planted.tokens(), activations="layers.*.linear1", **given)
    assert seen.layers.shape == (3, 2, 2, COLUMNS, COLUMNS)
    assert (seen.layers[:, 0, ..., 4:] == 0).all()
    assert (seen.layers[:, 1] > 0).all()
    assert [each.shape for each in seen.activations.values()] == [(2, COLUMNS, 7)] * 3
    blocks = capture(
        planted.encoder(),
        planted.tokens(),
        **given,
        at_once=1,
        probe=lambda seen: seen.from_query(3).movedim(2, 0),
    )
    torch.testing.assert_close(blocks.movedim(0, 2)[0, 0], seen.from_query(3)[0, 0])


def test_prompts_may_be_along_another_axis_of_each_argument():
    """As of torch's modules that are not ``batch_first``, whose masks have prompts first."""
    module, hidden = planted.encoder(first=False), torch.zeros(2, COLUMNS, dtype=torch.bool)
    hidden[1, 4:] = True
    tokens = planted.tokens().transpose(0, 1)

    def looks(**how: Any) -> Any:
        return capture(
            module, probe=lambda seen: seen.from_query(3).movedim(2, 0), at_once=1, **how
        )

    found = looks(src=tokens, src_key_padding_mask=hidden, prompt_axis={"src": 1})
    assert found.shape == (2, 3, 2, COLUMNS)
    assert (found[1, ..., 4:] == 0).all()
    together = capture(module, tokens, src_key_padding_mask=hidden).from_query(3)[0, 0]
    torch.testing.assert_close(found[:, 0, 0], together)
    alone = capture(
        module, tokens, probe=lambda seen: seen.layers.movedim(1, 0), prompt_axis=1, at_once=1
    )
    torch.testing.assert_close(alone[:, 0, 0], capture(module, tokens).layers[0, :, 0])
    with pytest.raises(ValueError, match=r"have \[2, 6\] prompts along axis 1, .* prompt_axis"):
        looks(src=tokens, src_key_padding_mask=hidden, prompt_axis=1)
    with pytest.raises(ValueError, match=r"names 'scr', but the arguments with a name are src$"):
        looks(src=tokens, prompt_axis={"scr": 1})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_of_low_precision_sum_to_one_up_to_their_rounding(dtype):
    module = nn.MultiheadAttention(4, 2, batch_first=True).to(dtype).eval()
    x = torch.randn(2, 900, 4, generator=torch.Generator().manual_seed(5)).to(dtype)
    layers = capture(module, x, x, x).layers
    assert layers.dtype == dtype
    assert (layers.double().sum(-1) - 1).abs().max() > 1e-5


def test_hooks_are_gone_after_an_error():
    module = planted.encoder()
    with pytest.raises(AssertionError, match="embedding dimension"):
        capture(module, torch.zeros(2, 3, 5))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


# Attention that is not there to be seen.


def test_fused_attention_of_hugging_face_is_refused():
    with pytest.raises(ValueError, match=r"GPT2Model has attn_implementation 'sdpa', which keeps"):
        capture(planted.gpt2(way="sdpa"), KINDS)


def test_fused_attention_of_anybody_is_refused(x):
    with pytest.raises(ValueError, match="Written calls scaled_dot_product_attention, which is"):
        capture(Written(fused=True), x)
    mixed = nn.Sequential(planted.encoder(), Written(fused=True)).eval()
    with pytest.raises(ValueError, match="Sequential calls scaled_dot_product_attention"):
        capture(mixed, x)


def of_the_library(x: Tensor) -> Tensor:
    return torch.ops.aten.scaled_dot_product_attention(x, x, x)


def of_the_encoder(x: Tensor) -> Tensor:
    of = nn.MultiheadAttention(4, 2)
    weights = (of.in_proj_weight, of.in_proj_bias, of.out_proj.weight, of.out_proj.bias)
    return torch._native_multi_head_attention(x, x, x, 4, 2, *weights, need_weights=False)[0]


@pytest.mark.parametrize("fused", [of_the_library, of_the_encoder])
def test_fused_attention_is_refused_by_whatever_name_it_is_called(fused):
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = planted.multihead()

        def forward(self, x: Tensor) -> Tensor:
            x = fused(x)
            mixed: Tensor = self.attend(x, x, x)[0]
            return mixed

    with pytest.raises(ValueError, match=r"^Beside calls \w+_attention, which is fused and keeps"):
        capture(Beside().eval(), planted.tokens())


def test_attention_of_torch_with_a_forward_of_its_own_is_refused(x):
    """It may hand out the mean over heads, which looks like the attention of a prompt."""

    class Own(nn.MultiheadAttention):
        def forward(self, *given: Any, **named: Any) -> Any:
            return super().forward(*given, **named)

    module = Own(4, 2, batch_first=True).eval()
    with pytest.raises(ValueError, match=r"^the model is a Own, an nn\.MultiheadAttention with a"):
        capture(module, x, x, x)
    with pytest.raises(ValueError, match=r"^0 is a Own"):
        capture(nn.Sequential(module).eval(), x)


def test_a_model_without_attention_is_refused(x):
    with pytest.raises(ValueError, match=r"^Linear has shown no attention: it called no nn\.Mul"):
        capture(nn.Linear(4, 4).eval(), x)


def test_submodules_that_are_not_called_are_said(x):
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Written()

        def forward(self, x: Tensor) -> Tensor:
            return x

    model = nn.Sequential(Idle(), Written()).eval()
    for shown, kept in (("**.pattern", ()), ("1.pattern", "0.inner")):
        with pytest.raises(
            ValueError, match=r"Sequential did not call 0\.inner.*: there is nothing"
        ):
            capture(model, x, attention=shown, activations=kept)
    assert capture(model, x, attention="1.pattern")


def test_a_hugging_face_model_inside_another_is_not_passed_over():
    """Its attention would be missing beside that of torch."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.pool = planted.gpt2(), planted.multihead()

        def forward(self, kinds: Tensor) -> Tensor:
            hidden = self.backbone(kinds).last_hidden_state
            return self.pool(hidden, hidden, hidden)[0]

    model = Both().eval()
    with pytest.raises(ValueError, match=r"^backbone of Both is a Hugging Face model whose att"):
        capture(model, KINDS)
    model.backbone.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match=r"h\.0\.attn has handed out None .*'eager'\)"):
        capture(model, KINDS, attention="backbone.h.*.attn")
    model.backbone.set_attn_implementation("eager")
    seen = capture(model, KINDS, attention="backbone.h.*.attn")
    assert seen.layers.equal(capture(model.backbone, KINDS).layers)


def test_a_hugging_face_model_hides_no_other_inside_it():
    """As a language model with a tower for pictures, which is not asked for its attention."""

    class Tower(GPT2Model):
        def __init__(self, *, asks: bool) -> None:
            super().__init__(planted.gpt2().config)
            self.tower, self.asks = planted.gpt2(), asks

        def forward(self, kinds: Tensor, **named: Any) -> Any:
            self.tower(kinds, output_attentions=self.asks)
            return super().forward(kinds, **named)

    for asks in (False, True):
        model = Tower(asks=asks).eval()
        model.set_attn_implementation("eager")
        with pytest.raises(ValueError, match=r"^tower of Tower is a Hugging Face model whose"):
            capture(model, KINDS)
        assert capture(model, KINDS, attention="tower.h.*.attn").layers.shape[0] == 3


def test_a_hugging_face_model_that_contains_its_own_shows_it_once():
    model = GPT2LMHeadModel(planted.gpt2().config).eval()
    model.set_attn_implementation("eager")
    assert list(capture(model, KINDS).attention) == [f"attentions.{layer}" for layer in range(3)]


def test_attention_of_torch_in_a_hugging_face_model_is_shown_too():
    class Pooled(GPT2Model):
        def __init__(self) -> None:
            super().__init__(planted.gpt2().config)
            self.pool = planted.multihead()

        def forward(self, kinds: Tensor, **named: Any) -> Any:
            output = super().forward(kinds, **named)
            last = output.last_hidden_state
            self.pool(last, last, last)
            return output

    model = Pooled().eval()
    model.set_attn_implementation("eager")
    seen = capture(model, KINDS)
    assert list(seen.attention) == [*(f"attentions.{layer}" for layer in range(3)), "pool"]
    with pytest.raises(ValueError, match="attention of several kinds"):
        _ = seen.layers


def test_a_hugging_face_model_that_hands_out_none_is_refused(monkeypatch):
    model = planted.gpt2()
    plain = model.forward

    def forgetful(*args: Tensor, **named: object) -> object:
        output = plain(*args, **named)
        output.attentions = (*output.attentions[:1], None, *output.attentions[2:])
        return output

    monkeypatch.setattr(model, "forward", forgetful)
    with pytest.raises(ValueError, match="GPT2Model has handed out no attention in layer 1 of its"):
        capture(model, KINDS)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            "raw",
            r"in raw, of shape \(3, 5, 5\), miss the sum of one by 2\.8\d: is that its attention\?",
        ),
        ("spoilt", r"in spoilt, .* miss the sum of one by 0\.1: is"),
        ("patern", "Written has no submodule 'patern'; did you mean 'pattern'"),
        ("", "Written has no submodule ''"),
    ],
)
def test_a_submodule_that_hands_out_something_else_is_refused(names, words, x):
    with pytest.raises(ValueError, match=words):
        capture(Written(), x, attention=[names])


def test_a_model_in_training_mode_is_refused_though_only_a_part_of_it_is():
    """Its dropout changes attention, its batch statistics the model."""
    module = planted.encoder()
    module.layers[1].train()
    with pytest.raises(ValueError, match=r"^layers\.1 of TransformerEncoder is in training mode"):
        capture(module, planted.tokens())


def test_rows_of_a_token_that_sees_nothing_are_refused():
    x = planted.tokens()
    hidden = torch.ones(2, COLUMNS, dtype=torch.bool)
    with pytest.raises(
        ValueError, match=r"\(2, 2, 6, 6\), are no numbers: is there a token that sees nothing"
    ):
        capture(planted.multihead(), x, x, x, key_padding_mask=hidden)


def test_layers_of_different_shapes_are_not_stacked(x):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pattern = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.pattern((x @ x.mT).softmax(-1)[:, None]) @ self.pattern(
                (x @ x[:, :2].mT).softmax(-1)[:, None]
            )

    with pytest.raises(ValueError, match=r"layers differ .*\(3, 1, 5, 5\).*\(3, 1, 5, 2\)"):
        _ = capture(Two().eval(), x, attention="pattern").layers


def test_an_encoder_and_a_decoder_are_not_one_axis():
    x = planted.tokens()
    model = nn.Transformer(4, 2, 1, 2, 7, batch_first=True).eval()
    seen = capture(model, x, x)
    kinds = ["encoder.layers.*.self_attn", "decoder.layers.*.self_attn"]
    with pytest.raises(ValueError, match=r"several kinds, " + r"\S*, ".join(map(re.escape, kinds))):
        _ = seen.layers
    assert len(seen.attention) == 5
    across = capture(model, x, x, attention="decoder.layers.*.multihead_attn")
    for place, each in enumerate(across.layers):
        torch.testing.assert_close(each, seen.attention[f"decoder.layers.{place}.multihead_attn"])


def test_attention_to_oneself_and_to_others_is_not_one_axis_though_names_differ_in_a_number():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn1, self.attn2 = planted.multihead(), planted.multihead()

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.attn1(x, x, x)[0]
            mixed: Tensor = self.attn2(x, x.flip(1), x.flip(1))[0]
            return mixed

    model = nn.Sequential(Block(), Block()).eval()
    with pytest.raises(ValueError, match=r"several kinds, \*\.attn1, \*\.attn2, which one axis"):
        _ = capture(model, planted.tokens()).layers
    assert len(capture(model, planted.tokens(), attention="*.attn1").layers) == 2


# Reducing probes.


def test_a_reducing_probe_says_the_same_block_by_block():
    kinds = torch.randint(0, 2, (23, COLUMNS), generator=torch.Generator().manual_seed(3))
    model = planted.gpt2()
    whole = capture(model, kinds)
    looks = capture(
        model, kinds, at_once=5, probe=lambda seen: {"looks": (seen.from_query().movedim(2, 0),)}
    )
    torch.testing.assert_close(looks["looks"][0], whole.from_query().movedim(2, 0))


def test_memory_does_not_grow_with_the_prompts_where_a_probe_reduces():
    model = planted.gpt2()

    def most(count: int, **how: Any) -> int:
        kinds = torch.randint(0, 2, (count, 16), generator=torch.Generator().manual_seed(3))
        return peak_bytes(lambda kinds: capture(model, kinds, **how), kinds)

    def of_one_head(seen: Captured) -> Tensor:
        return seen.from_query()[0, 0]  # a view, which would keep all the rest

    few, many = (most(count, probe=of_one_head, at_once=16) for count in (64, 1024))
    # What the probe returns, 16 numbers a prompt, and once more when it is joined.
    assert many - few <= 2 * 16 * 4 * (1024 - 64)
    assert most(1024) > 10 * many


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (lambda seen: seen.layers, r"made \(3, 1, 2, 6, 6\) of 1 prompts"),
        (lambda seen: seen.layers.mean().item(), r"made 0\.\d+ of 1 prompts"),
    ],
)
def test_a_probe_that_has_no_prompt_axis_is_refused(probe, words):
    with pytest.raises(ValueError, match=words):
        capture(planted.gpt2(), KINDS, probe=probe, at_once=1)


def test_a_probe_whose_first_axis_has_the_length_of_a_block_by_chance_is_refused():
    three = KINDS[[0, 1, 0]]  # as many prompts as layers
    with pytest.raises(ValueError, match=r"made \(3, 1, 2, 6, 6\) of 1 prompts"):
        capture(planted.gpt2(), three, probe=lambda seen: seen.layers, at_once=3)


def test_inputs_with_different_numbers_of_prompts_are_refused():
    there = torch.ones(3, COLUMNS)
    with pytest.raises(ValueError, match=r"inputs have \[2, 3\] prompts along axis 0"):
        capture(planted.gpt2(), KINDS, attention_mask=there, probe=lambda seen: seen.layers)
