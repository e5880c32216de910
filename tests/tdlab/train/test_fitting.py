"""A task, a model and a loss that do not fit are told apart, each in a line that names it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from synthetic_tasks import FullBatch, TokenRegression, value
from synthetic_tasks.icl import InContextClassification
from tdlab.models import KernelLayer, OneLayer
from tdlab.run import Run
from tests.tdlab.runs import MODEL, RUN, TASK, anew


def refused(run: Run) -> str:
    with pytest.raises(ValueError, match=r"^\w") as raised:
        anew([run])
    assert "\n" not in str(raised.value)
    return str(raised.value)


def drawing(change: Any) -> Run:
    """The run whose task draws what ``change`` makes of a batch and its uniforms."""

    @value
    class Recall(InContextClassification):
        def draw(self, world: Any, uniforms: Any) -> Any:
            return change(super().draw(world, uniforms), uniforms)

    return replace(RUN, task=Recall(**vars(TASK)))


def answering(change: Any) -> Run:
    """The run whose model answers what ``change`` makes of its trace."""

    @value
    class Mine(OneLayer):
        def forward(self, params: Any, prompt: Any, mask: Any, clamp: Any = None) -> Any:
            return change(super().forward(params, prompt, mask, clamp))

    return replace(RUN, model=Mine(**vars(MODEL)))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda batch, _: None,
            "Recall.draw fails: TypeError: it gives a NoneType, but must give a Batch",
        ),
        (
            lambda batch, _: batch._replace(mask=batch.mask[:, 1:]),
            "Recall.draw gives a mask of shape (1, 7), but must give (1, 8)",
        ),
        (
            lambda batch, _: batch._replace(mask=batch.mask.double()),
            "Recall.draw gives a mask of torch.float64, but must give booleans",
        ),
        (
            lambda batch, _: batch._replace(prompt=batch.prompt[..., :5]),
            "Recall.draw gives a prompt of shape (1, 8, 5), but must give (1, 8, 12)",
        ),
        (
            lambda batch, _: batch._replace(target=batch.target.sum()),
            "Recall.draw gives a target of shape (), but must give (1,)",
        ),
        (
            lambda batch, _: batch._replace(target=torch.randn(1)),
            "Recall.draw fails: draw from the uniforms that it is given, and from nothing else",
        ),
        (
            lambda batch, uniforms: batch if uniforms[0, 0] > 0.5 else None,
            "Recall.draw fails: an if or a loop over a tensor's value: torch.where chooses",
        ),
        (
            lambda batch, _: batch.nothing,
            "Recall.draw fails: AttributeError: 'Batch' object has no attribute 'nothing'",
        ),
    ],
)
def test_what_is_wrong_in_a_task_is_said_of_the_task(change, line):
    assert refused(replace(drawing(change), dtype="float64")) == line


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda trace: trace.output,
            "Mine.forward fails: TypeError: it gives a Tensor, but must give a named tuple",
        ),
        (
            lambda trace: (trace.output,),
            "Mine.forward fails: AttributeError: 'tuple' object has no attribute 'output'",
        ),
        (
            lambda trace: trace._replace(output=trace.output[None]),
            (
                "of one prompt the output of Mine has shape (1,), the target of "
                "InContextClassification (): they must be the same"
            ),
        ),
        (
            lambda trace: trace if trace.output > 0 else None,
            "Mine.forward fails: an if or a loop over a tensor's value: torch.where chooses",
        ),
    ],
)
def test_what_is_wrong_in_a_model_is_said_of_the_model(change, line):
    assert refused(answering(change)) == line


def test_outputs_of_another_shape_than_the_targets_are_not_broadcast():
    task = FullBatch(of=TokenRegression(samples=3, tokens=2, width=5, outputs=3))
    model = KernelLayer(width=5, heads=2, outputs=1)
    assert refused(Run(task=task, model=model, loss="token_squared", batch=3, steps=2)) == (
        "of one prompt the output of KernelLayer has shape (2, 1), the target of FullBatch (2, 3): "
        "they must be the same"
    )


@pytest.mark.parametrize("batch", [1, 9])
def test_a_loss_says_what_it_compares(batch):
    # The squared loss sums over the last axis, which with one output a prompt is the prompts.
    run = replace(RUN, loss="squared", batch=batch)
    assert refused(run) == (
        "of one prompt the output of OneLayer has shape (), the target of InContextClassification "
        "(), but loss 'squared' compares a vector, shape (y,)"
    )
    for loss in ("hinge", "logistic"):
        assert anew([replace(run, loss=loss)])[0].loss.isfinite().all()


def test_a_task_may_keep_no_latent_facts():
    assert anew([drawing(lambda batch, _: batch._replace(latent=None))])[0].finished
