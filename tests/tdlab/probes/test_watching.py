"""A model computes what it would, and every way to hide attention is refused."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tdlab.probes import capture
from tests.tdlab.probes import planted
from tests.tdlab.probes.planted import COLUMNS, Written

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
