"""Modules of others with the outputs of submodules changed."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from tdlab.probes import functional, intervened, pruned
from tests.tdlab.probes import planted
from tests.tdlab.probes.outside import in_a_process_of_its_own
from tests.tdlab.probes.planted import COLUMNS, KINDS


def test_an_edit_of_a_submodule_shows_in_the_output():
    module, x = planted.encoder(layers=2), planted.tokens()
    found = intervened(module, {"layers.1": torch.zeros_like}, x)
    assert (found == 0).all()
    assert not (module(x) == 0).any()
    assert not any(each._forward_hooks for each in module.modules())


def test_an_edit_of_attention_changes_its_first_output_and_keeps_the_others():
    module = planted.gpt2()
    found = intervened(module, {"h.*.attn": torch.zeros_like}, KINDS).last_hidden_state
    forward, params = functional(module)
    for place in range(3):
        for name in ("weight", "bias"):
            leaf = f"h.{place}.attn.c_proj.{name}"
            params = pruned(params, leaf, torch.zeros_like(params[leaf], dtype=torch.bool))
    torch.testing.assert_close(found, forward(params, KINDS).last_hidden_state, rtol=0, atol=1e-5)


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@pytest.mark.parametrize(
    "made",
    [
        lambda x: (x, 2 * x),
        lambda x: [x, 2 * x],
        lambda x: {"first": x, "second": 2 * x},
        lambda x: Pair(x, 2 * x),
        lambda x: BaseModelOutput(last_hidden_state=x, hidden_states=2 * x),
    ],
    ids=["tuple", "list", "dict", "named tuple", "Hugging Face"],
)
def test_of_several_outputs_the_first_is_edited_in_whatever_they_come(made):
    class Several(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return made(x)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Several()

        def forward(self, x: Tensor) -> Any:
            return self.part(x)

    module, x = Whole().eval(), torch.ones(2, 3)
    found = intervened(module, {"part": torch.neg}, x)
    assert type(found) is type(made(x))
    values = found.values() if isinstance(found, dict) else found
    assert [each.unique().tolist() for each in values] == [[-1], [2]]
    if isinstance(found, BaseModelOutput):
        assert found.last_hidden_state is found["last_hidden_state"]


def test_a_submodule_that_hands_out_no_tensor_is_named():
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> None:
            return None

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Nothing()

        def forward(self, x: Tensor) -> Tensor:
            self.part(x)
            return x

    with pytest.raises(ValueError, match="part has handed out None where a tensor was wanted"):
        intervened(Whole().eval(), {"part": torch.neg}, torch.ones(2))


def test_an_edit_of_an_encoder_sees_padded_prompts_without_gradients_too():
    """Torch would put them into one nested tensor."""
    hidden, x = torch.zeros(2, COLUMNS, dtype=torch.bool), planted.tokens()
    hidden[0, 4:] = True
    shapes = []

    def edit(x: Tensor) -> Tensor:
        shapes.append(x.shape)
        return 0 * x

    with torch.no_grad():
        found = intervened(planted.encoder(), {"*.2": edit}, x, src_key_padding_mask=hidden)
    assert shapes == [(2, COLUMNS, 4)]
    assert found.eq(0).all()


def test_an_edit_that_gives_no_tensor_is_refused():
    def in_place(x: Tensor) -> Any:
        """Forgets to return it, as is easily done where it is changed in place."""
        x.zero_()

    with pytest.raises(
        TypeError, match=r"the edit of layers\.0 gives what is of type NoneType, but"
    ):
        intervened(planted.encoder(), {"layers.0": in_place}, planted.tokens())


def test_what_is_no_function_and_no_module_is_refused_in_one_line():
    done = in_a_process_of_its_own("""
import torch
from torch import nn
from tdlab.models import OneLayer
from tdlab.probes import capture, functional, intervened
module, x = nn.Sequential(nn.Linear(2, 2)).eval(), torch.ones(1, 2)
for make in (
    lambda: intervened(module, {"0": torch.zeros(2)}, x),
    lambda: intervened(module, [("0", torch.neg)], x),
    lambda: capture(OneLayer(), x),
    lambda: functional(OneLayer()),
    lambda: intervened(OneLayer(), {"0": torch.neg}, x),
):
    try:
        make()
    except TypeError as error:
        print(error)
""")
    *edits, one, two, three = done.stdout.splitlines()
    assert edits == [
        "the edit of 0 is of type Tensor, but must be a function",
        "edits are of type list, but must map names of submodules to functions",
    ], done.stderr
    assert one == two == three
    assert one.startswith("the model is a OneLayer, but must be an nn.Module; models of this lab")


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({}, "the intervention touches nothing: there is no edit"),
        ({"layers.7": torch.zeros_like}, r"TransformerEncoder has no submodule 'layers\.7'"),
        ({"layers.0.self_attn.out_proj": torch.neg}, "touched no tensor: the module did not call"),
        ({"layers.0": lambda x: x[:1]}, r"layers\.0 makes \(1, 6, 4\) of \(2, 6, 4\)"),
        ({"layers.0": Tensor.double}, r"layers\.0 makes torch\.float64 of torch\.float32"),
        (
            {"layers.*": torch.neg, "layers.1": torch.neg},
            r"1 has two edits, that of 'layers\.\*' an",
        ),
    ],
)
def test_an_intervention_that_touches_nothing_is_refused(edits, words):
    module = planted.encoder()
    with pytest.raises(ValueError, match=words):
        intervened(module, edits, planted.tokens())
    assert not any(each._forward_hooks for each in module.modules())
