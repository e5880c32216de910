"""What was captured: its layers, where a token looks, and how it is shown."""

import re

import pytest
import torch
from torch import Tensor, nn

from tdlab.probes import capture
from tests.tdlab.probes import planted
from tests.tdlab.probes.planted import COLUMNS, KINDS, Written


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


def test_what_was_captured_is_shown_by_names_and_shapes(x):
    seen = capture(nn.Sequential(Written()).eval(), x, attention="0.pattern", activations="0")
    assert repr(seen) == (
        "Captured({'attention': {'0.pattern': (3, 1, 5, 5)}, 'activations': {'0': (3, 5, 4)}}, "
        "output: Tensor)"
    )


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
