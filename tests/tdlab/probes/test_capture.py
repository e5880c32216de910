"""Capturing what others wrote: planted answers, names, and probes that reduce."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tdlab.probes import Captured, capture, concentration, entropy
from tdlab.probes.landscape import peak_bytes
from tests.tdlab.probes import planted
from tests.tdlab.probes.planted import COLUMNS, KINDS, SAME, Written

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


def test_a_submodule_that_is_called_again_has_a_number():
    module = planted.multihead()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = module

        def forward(self, x: Tensor) -> Tensor:
            return self.attend(self.attend(x, x, x)[0], x, x)[0]

    assert list(capture(Twice().eval(), planted.tokens()).attention) == ["attend", "attend (2)"]


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


def test_patterns_that_name_a_submodule_twice_keep_it_once(x):
    model = nn.Sequential(Written(), Written()).eval()
    seen = capture(model, x, attention=["0.pattern", "*.pattern"], activations=["*", "0"])
    assert list(seen.attention) == ["0.pattern", "1.pattern"]
    assert {"0", "1"} <= set(seen.activations)
    assert not any("(2)" in name for name in seen.activations)


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
