"""Risk of models that are not ours, prompt by prompt, against a plain loop."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from synthetic_tasks import InContextClassification, sample
from tdlab.losses import logistic, zero_one
from tdlab.probes import risk

ROOT = Path(__file__).parents[3]
TASK = InContextClassification(relevant=4, irrelevant=3, label_width=2, length=5)


@pytest.fixture
def batch():
    return sample(TASK, seed=3, size=9, dtype=torch.float64)


def foreign(params, prompt):
    """A model of somebody else: a quadratic form of the query and the mean of the context."""
    return prompt[-1] @ params["W"] @ prompt[:-1].mean(0) + params["c"]


@pytest.fixture
def params():
    generator = torch.Generator().manual_seed(4)
    weights = torch.randn(9, 9, generator=generator, dtype=torch.float64) / 4
    return {"W": weights, "c": torch.tensor(0.3, dtype=torch.float64)}


def test_risk_is_the_hinge_loss_of_each_prompt(batch, params):
    measured = risk(foreign, params, batch.prompt, batch.target)
    expected = [
        max(0.0, 1 - z * foreign(params, prompt).item())
        for prompt, z in zip(batch.prompt, batch.target.tolist(), strict=True)
    ]
    assert len(set(expected)) > 4  # prompts differ, so an average would not pass
    torch.testing.assert_close(measured, torch.tensor(expected, dtype=torch.float64))


def lopsided(output, target):
    return output - 2 * target


@pytest.mark.parametrize("loss", [logistic, zero_one, lopsided])
def test_any_loss_can_be_asked_for(batch, params, loss):
    outputs = torch.stack([foreign(params, prompt) for prompt in batch.prompt])
    torch.testing.assert_close(
        risk(foreign, params, batch.prompt, batch.target, loss), loss(outputs, batch.target)
    )


def test_a_shifted_task_is_another_batch(params):
    shifted = InContextClassification(
        relevant=4, irrelevant=3, label_width=2, length=11, alpha=0.4, kappa=1.5
    )
    longer = sample(shifted, seed=3, size=6, dtype=torch.float64)
    expected = [
        max(0.0, 1 - z * foreign(params, prompt).item())
        for prompt, z in zip(longer.prompt, longer.target.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        risk(foreign, params, longer.prompt, longer.target),
        torch.tensor(expected, dtype=torch.float64),
    )


def test_a_constant_output_is_wrong_on_every_prompt_of_the_other_class(batch):
    def always_plus(params, prompt):
        return params["c"] + 0 * prompt.sum()

    params = {"c": torch.tensor(0.3, dtype=torch.float64)}
    measured = risk(always_plus, params, batch.prompt, batch.target, zero_one)
    assert measured.tolist() == [float(z < 0) for z in batch.target.tolist()]
    assert 0 < measured.sum() < 9


def test_an_output_that_is_no_single_number_is_refused_in_one_line_with_both_shapes():
    # An output of shape (1,) would broadcast against the targets to every prompt with every other.
    script = """
import torch
from synthetic_tasks import InContextClassification, sample
from tdlab.probes import risk
task = InContextClassification(relevant=4, irrelevant=3, label_width=2, length=5)
batch, one = sample(task, seed=3, size=9), torch.ones(())
try:
    forward = lambda params, prompt: params["w"] * prompt.sum()[None]
    print(risk(forward, {"w": one}, batch.prompt, batch.target).shape)
except ValueError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    (line,) = done.stdout.splitlines() or [done.stderr]
    assert line.startswith("ValueError "), line
    assert "(9, 1)" in line, line
    assert "(9,)" in line, line
