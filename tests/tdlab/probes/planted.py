"""Modules of other people with attention set by hand, so that what a probe says is known.

Tokens are of two kinds, a and b. The first head of the first layer gives a token of the query's own
kind ``FACTOR`` times the weight of the other; every other head looks everywhere alike.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import BartConfig, BartModel, GPT2Config, GPT2Model

FACTOR = 5.0
# Mean 0 and variance 1, so that layer normalization leaves them as they are (up to its epsilon).
A, B = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])
KINDS = torch.tensor([[0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 0]])  # the last token is the query
COLUMNS = KINDS.shape[1]
SAME = KINDS.eq(KINDS[:, -1:])  # whether a token is of the query's kind


def tokens() -> Tensor:
    return torch.stack([A, B])[KINDS]


def concentration_by_hand() -> Tensor:
    """Of the planted head on tokens of the query's kind, the query among them, for each prompt."""
    same = SAME.sum(-1)
    return FACTOR * same / (FACTOR * same + COLUMNS - same)


def read_out() -> Tensor:
    """Maps a to (c, 0) and b to (0, c), with c^2 over the root of the head's width = log FACTOR."""
    size = math.sqrt(math.log(FACTOR) * math.sqrt(2))
    return size * torch.stack([A, B]) / 4  # (w, d)


def plant(attention: nn.MultiheadAttention, *, focused: bool) -> None:
    with torch.no_grad():
        weight = attention.in_proj_weight  # q, k, v below each other, of head after head
        weight[:8] = 0
        if focused:
            weight[0:2] = weight[4:6] = read_out()
        attention.in_proj_bias.zero_()


def multihead() -> nn.MultiheadAttention:
    module = nn.MultiheadAttention(4, 2, batch_first=True)
    plant(module, focused=True)
    return module.eval()


def encoder(layers: int = 3, *, first: bool = True) -> nn.TransformerEncoder:
    """Normalized after each sum, so that the first layer sees the tokens as they are."""
    layer = nn.TransformerEncoderLayer(4, 2, 7, batch_first=first)
    module = nn.TransformerEncoder(layer, layers, enable_nested_tensor=first)
    for place, each in enumerate(module.layers):
        assert isinstance(each, nn.TransformerEncoderLayer)
        plant(each.self_attn, focused=place == 0)
    return module.eval()


def gpt2(layers: int = 3, way: str = "eager") -> GPT2Model:
    config = GPT2Config(
        n_embd=4,
        n_layer=layers,
        n_head=2,
        n_inner=7,
        n_positions=16,
        vocab_size=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2Model(config).eval()
    model.set_attn_implementation(way)
    with torch.no_grad():
        model.wpe.weight.zero_()
        model.wte.weight.copy_(torch.stack([A, B]))
        for place, block in enumerate(model.h):
            weight = block.attn.c_attn.weight  # (d, q k v side by side)
            weight[:, :8] = 0
            if place == 0:
                weight[:, 0:2] = weight[:, 4:6] = read_out().T
    return model


def bart() -> BartModel:
    """An encoder and a decoder, with the weights that it starts from."""
    config = BartConfig(
        vocab_size=2,
        d_model=4,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=7,
        decoder_ffn_dim=7,
        max_position_embeddings=16,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=1,
        forced_eos_token_id=None,
        decoder_start_token_id=0,
    )
    model = BartModel(config).eval()
    model.set_attn_implementation("eager")
    return model


class Written(nn.Module):
    """Attention as people write it themselves, with a place where it can be seen."""

    def __init__(self, *, fused: bool = False) -> None:
        super().__init__()
        self.pattern, self.raw = nn.Identity(), nn.Identity()
        self.spoilt, self.inner = nn.Identity(), nn.Identity()  # in one row; without a head axis
        self.fused = fused
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return scaled_dot_product_attention(x, x, x)
        attention = self.raw(x @ x.mT / math.sqrt(x.shape[-1])).softmax(-1)
        _ = self.spoilt(attention[:, None] + 0.1 * torch.eye(5)[0] * torch.eye(5)[3][:, None])
        return self.pattern(self.inner(attention)[:, None])[:, 0] @ x
