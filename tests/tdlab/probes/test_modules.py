"""Modules of others as functions of their parameters: pruned, sliced, differentiated."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from synthetic_tasks.threefry import stream
from tdlab.probes import (
    filter_normalized,
    functional,
    intervened,
    keep,
    mask_along,
    plane,
    pruned,
    top_eigenvalues,
    without_each,
)
from tests.tdlab.probes import planted
from tests.tdlab.probes.planted import KINDS

MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "nn.TransformerEncoder": (planted.encoder, planted.tokens),
    "Hugging Face": (planted.gpt2, lambda: KINDS),
    "Hugging Face, fused": (lambda: planted.gpt2(way="sdpa"), lambda: KINDS),
}


def output_of(module, x):
    made = module(x)
    return made if isinstance(made, Tensor) else made.last_hidden_state


@pytest.fixture(params=MODULES)
def module_and_input(request):
    make, given = MODULES[request.param]
    return make(), given()


def risk_of(forward, x):
    """Some function of the parameters to one number."""

    def risk(params):
        made = forward(params, x)
        made = made if isinstance(made, Tensor) else made.last_hidden_state
        return (made - torch.linspace(-1, 1, 4)).square().mean()

    return risk


# The module as a function.


def test_with_its_own_parameters_it_is_the_module(module_and_input):
    module, x = module_and_input
    forward, params = functional(module)
    with torch.no_grad():
        torch.testing.assert_close(
            output_of(lambda x: forward(params, x), x), output_of(module, x), rtol=0, atol=1e-5
        )
    assert params.keys() == dict(module.named_parameters()).keys()
    assert not any(leaf.requires_grad for leaf in params.values())


def test_a_plane_is_what_loading_the_parameters_point_by_point_gives(module_and_input):
    module, x = module_and_input
    forward, params = functional(module)
    before = {name: leaf.clone() for name, leaf in params.items()}
    right, up = (filter_normalized(params, stream(seed, "probe")) for seed in (1, 2))
    at = torch.tensor([-0.5, 0.0, 0.7])
    found = plane(risk_of(forward, x), params, right, up, at, at)
    assert all(leaf.equal(before[name]) for name, leaf in module.named_parameters())
    for j, second in enumerate(at):
        for i, first in enumerate(at):
            for name, leaf in module.named_parameters():
                leaf.data = before[name] + first * right[name] + second * up[name]
            with torch.no_grad():
                expected = risk_of(lambda _, x: module(x), x)(params)
            torch.testing.assert_close(found[j, i], expected, rtol=1e-4, atol=1e-5)


def test_the_top_of_the_hessian_is_that_of_the_dense_one():
    module, x = planted.gpt2(layers=1, way="sdpa").double(), KINDS
    forward, params = functional(module)
    risk = risk_of(forward, x)
    names = ["h.0.mlp.c_fc.bias", "h.0.attn.c_attn.weight"]
    flat = torch.cat([params[name].flatten() for name in names])

    def of_flat(vector):
        parts = vector.split([params[name].numel() for name in names])
        its = {name: p.view_as(params[name]) for name, p in zip(names, parts, strict=True)}
        return risk({**params, **its})

    dense = torch.func.hessian(of_flat)(flat)
    found = top_eigenvalues(risk, params, 2, stream(0, "probe"), moving=names)
    expected = torch.linalg.eigvalsh(dense).flip(0)[:2]
    torch.testing.assert_close(found.values, expected, rtol=1e-5, atol=1e-9)


def test_parameters_are_copies_on_both_sides():
    module = nn.Linear(2, 1).eval()
    before = module.weight.detach().clone()
    forward, params = functional(module)
    params["weight"].zero_()
    assert module.weight.equal(before)
    with torch.no_grad():
        module.weight.add_(1)
    forward, params = functional(module)
    with torch.no_grad():
        module.weight.add_(1)
    assert params["weight"].equal(before + 1)
    assert forward(params, torch.eye(2)).equal((before + 1).T + module.bias)


def test_buffers_stay_as_they_are():
    class Counting(nn.Module):
        count: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return self.weight * x + self.count

    module = Counting().eval()
    forward, params = functional(module)
    assert forward(params, torch.ones(())) == forward(params, torch.ones(())) == 3
    assert module.count == 0


def test_of_parameters_that_are_left_out_the_copies_count():
    module = nn.Linear(2, 1).eval()
    forward, params = functional(module)
    x, weight = torch.tensor([1.0, 2.0]), params.pop("weight")
    with torch.no_grad():
        module.weight.zero_()
    only_bias = forward({"bias": torch.tensor([5.0])}, x)
    torch.testing.assert_close(only_bias, weight @ x + 5)


def test_who_adds_to_the_parameters_does_not_add_to_the_function():
    forward, params = functional(nn.Linear(2, 1).eval())
    params["unknown"] = torch.zeros(1)
    with pytest.raises(ValueError, match="there is no parameter 'unknown'"):
        forward(params, torch.zeros(2))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"wieght": torch.zeros(1, 2)}, "there is no parameter 'wieght'; did you mean 'weight'"),
        ({"zzz": torch.zeros(1, 2)}, "there is no parameter 'zzz'; it has 2, such as weight, bias"),
        ({"weight": torch.zeros(2)}, r"weight has shape \(2,\), but must have \(1, 2\)"),
    ],
)
def test_a_parameter_that_would_touch_nothing_is_refused(params, words):
    forward, _ = functional(nn.Linear(2, 1).eval())
    with pytest.raises(ValueError, match=words):
        forward(params, torch.zeros(2))


def test_a_change_that_no_operation_reads_is_refused():
    """A mask over embeddings does nothing where these are given; beside another it is allowed."""
    module = planted.gpt2()
    forward, params = functional(module)
    gone = torch.zeros_like(params["wte.weight"], dtype=torch.bool)
    changed = pruned(params, "wte.weight", gone)
    given = {"inputs_embeds": planted.tokens()}
    with pytest.raises(
        ValueError, match=r"changing wte\.weight touched nothing: no operation read"
    ):
        forward(changed, **given)
    forward(pruned(changed, "h.1.mlp.c_fc.bias", gone.new_zeros(7)), **given)
    forward(changed, KINDS)


class Asks(nn.Module):
    """Reads one parameter for its numbers; of the others it asks what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.asked = (nn.Parameter(torch.eye(2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = (
            x.to(self.asked.dtype)
            .to(self.asked.device)
            .expand(self.asked.size(0), self.asked.dim())
        )
        return x @ self.read.T


def test_to_ask_a_parameter_for_its_dtype_is_not_to_read_it():
    forward, params = functional(Asks().eval())
    gone = torch.zeros(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="changing asked touched nothing"):
        forward(pruned(params, "asked", gone), torch.ones(2))
    assert forward(pruned(params, "read", gone), torch.ones(2)).eq(0).all()


def test_a_tied_parameter_is_refused_with_the_one_to_change():
    config = GPT2Config(n_embd=4, n_layer=1, n_head=2, vocab_size=3, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config).eval()
    forward, params = functional(model)
    with pytest.raises(ValueError, match=r"lm_head\.weight is tied to transformer\.wte\.weight"):
        forward({"lm_head.weight": torch.zeros(3, 4)}, KINDS)
    zero = {**params, "transformer.wte.weight": torch.zeros(3, 4)}
    assert (forward(zero, KINDS).logits == 0).all()


@pytest.mark.parametrize("call", [functional, lambda module: intervened(module, {"": abs}, KINDS)])
def test_a_module_in_training_mode_is_refused(call):
    with pytest.raises(ValueError, match=r"^Linear is in training mode, where dropout makes it"):
        call(nn.Linear(2, 1))
    part = nn.Sequential(nn.Linear(2, 1)).eval()
    part[0].train()
    with pytest.raises(ValueError, match=r"^0 of Sequential is in training mode"):
        call(part)


def test_a_module_that_goes_into_training_mode_later_is_refused_then():
    module = nn.Linear(2, 1).eval()
    forward, params = functional(module)
    module.train()
    with pytest.raises(ValueError, match="Linear is in training mode"):
        forward(params, torch.zeros(2))


def test_functions_in_two_threads_leave_the_process_as_it_was():
    """Attention in the open is a switch of the process, which the last to leave must not keep."""
    first_is_over = Event()

    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            threads.submit(other, params, x)
            time.sleep(0.2)
            return x

    class Second(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert first_is_over.wait(timeout=10)
            return x

    (forward, params), (other, _) = (functional(each().eval()) for each in (First, Second))
    before = torch.backends.cuda.flash_sdp_enabled()
    with ThreadPoolExecutor(1) as threads:
        forward(params, torch.zeros(2))
        first_is_over.set()
    assert torch.backends.cuda.flash_sdp_enabled() == before


# Pruned.


def test_pruned_heads_of_gpt2_are_heads_whose_output_is_zero():
    module, x = planted.gpt2(), KINDS
    forward, params = functional(module)
    name = "h.0.attn.c_proj.weight"
    kept = mask_along(params[name], 0, torch.tensor([True, False]))
    found = output_of(lambda x: forward(pruned(params, name, kept), x), x)
    # The second head's part of what goes into the projection, set to zero by hand.
    projection = module.get_submodule("h.0.attn.c_proj")
    handle = projection.register_forward_pre_hook(
        lambda _, args: torch.cat([args[0][..., :2], 0 * args[0][..., 2:]], dim=-1)
    )
    expected = output_of(module, x)
    handle.remove()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not found.isclose(output_of(module, x)).all()


def test_pruned_heads_of_torch_are_heads_whose_output_is_zero():
    module, x = planted.multihead(), planted.tokens()
    forward, params = functional(module)
    kept = mask_along(params["out_proj.weight"], 1, torch.tensor([False, True]))
    mixed, _ = forward(pruned(params, "out_proj.weight", kept), x, x, x)
    values = (x @ params["in_proj_weight"][10:].T).mean(1, keepdim=True)  # the head looks alike
    expected = values @ params["out_proj.weight"][:, 2:].T + params["out_proj.bias"]
    torch.testing.assert_close(mixed, expected.expand_as(mixed), rtol=0, atol=1e-5)


def test_the_model_without_each_head_in_turn():
    _, params = functional(planted.gpt2())
    name = "h.1.attn.c_proj.weight"
    variants = without_each(params, name, 0, 2)
    assert [(each[name] == 0).all(1).tolist() for each in variants] == [
        [True, True, False, False],
        [False, False, True, True],
    ]
    assert all(
        each[other] is params[other] for each in variants for other in params if other != name
    )
    with pytest.raises(ValueError, match=r"there is no parameter 'h\.9\.x'"):
        without_each(params, "h.9.x", 0, 2)


def test_neurons_that_are_columns_are_pruned_by_their_norm():
    _, params = functional(planted.gpt2())
    name = "h.1.mlp.c_fc.weight"
    kept = keep(params[name].T, 3 / 7)
    gone = (pruned(params, name, mask_along(params[name], 1, kept))[name] == 0).all(0)
    order = params[name].norm(dim=0).argsort()
    assert set(gone.nonzero()[:, 0].tolist()) == set(order[:3].tolist())


@pytest.mark.parametrize(("axis", "blocks"), [(0, 3), (2, 2), (-3, 2), (1, 0)])
def test_blocks_that_do_not_fit_are_refused(axis, blocks):
    with pytest.raises(ValueError, match=rf"shape \(4, 6\) has no {blocks} equal blocks along"):
        mask_along(torch.zeros(4, 6), axis, torch.ones(blocks, dtype=torch.bool))


def test_a_mask_along_the_last_axis_is_the_same_counted_from_the_end():
    kept = torch.tensor([True, False, True])
    one, other = (mask_along(torch.zeros(4, 6), axis, kept) for axis in (1, -1))
    assert one.equal(other)
    assert one[0].tolist() == [True, True, False, False, True, True]
