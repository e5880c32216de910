"""Attention of Hugging Face's models, alone and inside one another."""

from typing import Any

import pytest
from torch import Tensor, nn
from transformers import GPT2LMHeadModel, GPT2Model

from tdlab.probes import capture, intervened
from tests.tdlab.probes import planted
from tests.tdlab.probes.planted import COLUMNS, KINDS


def test_a_hugging_face_model_hides_what_comes_later():
    seen = capture(planted.gpt2(), KINDS).attention
    assert list(seen) == ["attentions.0", "attentions.1", "attentions.2"]
    assert seen["attentions.1"].shape == (2, 2, COLUMNS, COLUMNS)
    assert (seen["attentions.1"].triu(1) == 0).all()


def test_activations_of_a_hugging_face_model_are_captured_too():
    model = planted.gpt2()
    seen = capture(model, KINDS, activations=["h.*.mlp.act"])
    assert [each.shape for each in seen.activations.values()] == [(2, COLUMNS, 7)] * 3
    last = seen.activations["h.2.mlp.act"]
    written = intervened(model, {"h.2.mlp.act": lambda _: last}, KINDS)
    assert written.last_hidden_state.equal(seen.output.last_hidden_state)
    assert last.abs().max() > 0


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


def test_fused_attention_of_hugging_face_is_refused():
    with pytest.raises(ValueError, match=r"GPT2Model has attn_implementation 'sdpa', which keeps"):
        capture(planted.gpt2(way="sdpa"), KINDS)


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
