"""Attention held at a given pattern, in every model of the laboratory."""

import pytest
import torch
from torch import Tensor

from synthetic_tasks import InContextClassification, sample
from synthetic_tasks.threefry import stream
from tdlab.models import (
    FactoredOneHead,
    KernelLayer,
    Model,
    OneHead,
    OneLayer,
    OneQuery,
    SequenceClassifier,
    Transformer,
    over_prompts,
)
from tdlab.models.clamp import clamped
from tdlab.probes import only

MODELS: list[Model] = [
    OneLayer(width=4, label_width=2, neurons=5, xi=0.5),
    OneHead(width=3, xi=0.5),
    FactoredOneHead(width=3),
    KernelLayer(width=6, heads=2, kernel="gaussian"),
    OneQuery(start=0.7),
    SequenceClassifier(token_width=6, columns=5, width=8, heads=2, layers=2, hidden=7),
    Transformer(token_width=6, columns=5, width=8, heads=2, layers=3, hidden=7, xi=0.5),
]
EVERYTHING = torch.ones(5, dtype=torch.bool)


@pytest.fixture(params=MODELS, ids=lambda model: type(model).__name__)
def model(request):
    return request.param


def normal(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(20261123)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def traced(model, clamp=None):
    params = model.init(stream(1, "init"))
    return model.forward(params, normal(5, model.token_width), EVERYTHING, clamp)


def test_its_own_attention_as_the_clamp_changes_nothing(model):
    own = traced(model)
    held = traced(model, own.attention)
    for one, other in zip(own, held, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


def test_a_clamp_of_another_number_of_prompts_is_refused():
    task, model = InContextClassification(), OneLayer()
    batch = sample(task, seed=0, size=6)
    params = {name: leaf.float() for name, leaf in model.init(stream(1, "init")).items()}
    own = over_prompts(model, params, batch).attention
    with pytest.raises(ValueError, match="holds the attention of 1 prompts, but there are 6: exp"):
        over_prompts(model, params, batch, own[:1])


def test_a_clamp_without_a_number_changes_nothing(model):
    own = traced(model)
    held = traced(model, torch.full_like(own.attention, torch.nan))
    assert all(one.equal(other) for one, other in zip(own, held, strict=True))


def test_what_is_held_is_what_the_output_is_made_of(model):
    own = traced(model)
    pattern = normal(*own.attention.shape).softmax(-1)
    held = traced(model, pattern)
    assert held.attention.equal(pattern)
    assert not held.output.isclose(own.output).any()


def test_a_clamp_of_another_shape_is_refused():
    own = traced(MODELS[0]).attention
    with pytest.raises(
        ValueError, match=r"attention of shape \(3,\), but the model's own has \(4,\)"
    ):
        clamped(own, own[:3])


@pytest.mark.parametrize("model", MODELS[-2:], ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("layers", [1, 4])
def test_a_clamp_of_another_number_of_layers_is_refused(model, layers):
    own = traced(model).attention
    words = f"the clamp holds {layers} layers, but the model has {model.layers}"
    with pytest.raises(ValueError, match=words):
        traced(model, own[:1].expand(layers, *own.shape[1:]))


def test_one_head_is_held_and_the_later_layers_follow():
    model = MODELS[-1]
    own = traced(model)
    uniform = torch.full_like(own.attention, 0.2)
    heads = torch.tensor([[False, False], [False, True], [False, False]])
    held = traced(model, only(uniform, heads))
    assert held.attention[1, 1].equal(uniform[1, 1])
    assert held.attention[0].equal(own.attention[0])
    assert held.attention[1, 0].equal(own.attention[1, 0])
    assert not held.attention[2].isclose(own.attention[2])[:, 1:].all()


def test_each_prompt_of_a_batch_has_a_clamp_of_its_own():
    """Of the examples that carry the query's pattern, as attention ought to be."""
    task = InContextClassification(relevant=3, irrelevant=1, label_width=2, length=9, alpha=1.0)
    model = OneLayer(width=4, label_width=2, neurons=5, xi=0.5)
    params = {name: leaf.float() for name, leaf in model.init(stream(1, "init")).items()}
    batch = sample(task, seed=3, size=20)
    wanted = batch.latent.relevant / batch.latent.relevant.sum(-1, keepdim=True)
    trace = over_prompts(model, params, batch, wanted)
    assert trace.attention.equal(wanted)
    alone = model.forward(params, batch.prompt[7], batch.mask[7], wanted[7])
    torch.testing.assert_close(alone.output, trace.output[7])


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        (torch.zeros(3, 2, dtype=torch.bool), "the clamp touches no head"),
        (torch.ones(2, 2, dtype=torch.bool), r"shape \(3, 2, 5, 5\), heads \(2, 2\), but must be"),
    ],
)
def test_a_clamp_that_touches_nothing_is_refused(heads, words):
    with pytest.raises(ValueError, match=words):
        only(torch.zeros(3, 2, 5, 5), heads)
