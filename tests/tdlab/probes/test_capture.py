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

from tdlab.probes import Captured, capture, concentration, entropy, intervened
from tdlab.probes.landscape import peak_bytes
from tests.tdlab.probes import planted
from tests.tdlab.probes.planted import COLUMNS, KINDS, SAME


class Written(nn.Module):
    """Attention as people write it themselves, with a place where it can be seen."""

    def __init__(self, *, fused: bool = False, scores: bool = False) -> None:
        super().__init__()
        self.pattern, self.raw = nn.Identity(), nn.Identity()
        self.fused, self.scores = fused, scores
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return scaled_dot_product_attention(x, x, x)
        attention = self.raw(x @ x.mT / math.sqrt(x.shape[-1])).softmax(-1)
        return self.pattern(attention[:, None])[:, 0] @ x


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
        ValueError, match=r"places have shape \(3,\), .* must be one for each prompt"
    ):
        seen.from_query(torch.tensor([1, 2, 3]))


def test_a_hugging_face_model_may_be_asked_for_tuples():
    seen = capture(planted.gpt2(), KINDS, return_dict=False)
    assert seen.layers.shape == (3, 2, 2, COLUMNS, COLUMNS)


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


def test_padding_of_the_encoder_is_seen_by_nobody():
    """In evaluation torch would put such prompts into one nested tensor, which shows nothing."""
    hidden = torch.zeros(2, COLUMNS, dtype=torch.bool)
    hidden[0, :2] = True
    looks = capture(planted.encoder(), planted.tokens(), src_key_padding_mask=hidden).layers
    assert (looks[:, 0, ..., :2] == 0).all()
    assert (looks[:, 1] > 0).all()


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
    with pytest.raises(ValueError, match=r"^backbone of Both is a Hugging Face model, which shows"):
        capture(model, KINDS)
    model.backbone.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match=r"h\.0\.attn has handed out None .*'eager'\)"):
        capture(model, KINDS, attention="backbone.h.*.attn")
    model.backbone.set_attn_implementation("eager")
    seen = capture(model, KINDS, attention="backbone.h.*.attn")
    assert seen.layers.equal(capture(model.backbone, KINDS).layers)


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
        ("raw", "rows of attention in raw miss the sum of one"),
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
    with pytest.raises(ValueError, match="miss the sum of one by nan"):
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
        assert each.equal(seen.attention[f"decoder.layers.{place}.multihead_attn"])


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
