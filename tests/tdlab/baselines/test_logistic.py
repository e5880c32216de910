"""Logistic regression of a batch: its gradient vanishes, and scikit-learn finds the same scores."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tdlab.baselines.expansion import linear
from tdlab.baselines.learners import scores
from tdlab.baselines.logistic import logistic
from tests.tdlab.baselines.drawn import GENERIC


def wide_and_skewed():
    """Newton's full steps would never come to an end here."""
    generator = torch.Generator().manual_seed(3)
    x = (30 * torch.randn(1, 10, 2, generator=generator, dtype=torch.float64)).square()
    label = torch.ones(1, 10, dtype=torch.float64)
    label[:, 0] = -1
    return x, label


@pytest.mark.parametrize("prompts", GENERIC.values(), ids=GENERIC)
def test_scores_are_those_of_scikit_learn(prompts):
    arrays = [values.numpy() for values in (prompts.x, prompts.label, prompts.query[:, None])]
    reference = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    expected = [
        reference.fit(x, y).decision_function(q)[0] for x, y, q in zip(*arrays, strict=True)
    ]
    measured = scores("logistic", *prompts)
    torch.testing.assert_close(measured, measured.new_tensor(expected), atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("prompts", GENERIC.values(), ids=GENERIC)
def test_gradient_of_the_objective_vanishes(prompts):
    # |w|^2 / 2 + sum_i log(1 + exp(-y_i (w x_i + c))), where the intercept c pays no penalty.
    x, y, _ = prompts
    found = logistic(linear(x, x[:, 0]).context, y)
    w = torch.einsum("bl,bld->bd", found.weight, x - x.mean(1, keepdim=True))
    f = torch.einsum("bld,bd->bl", x - x.mean(1, keepdim=True), w) + found.intercept[:, None]
    pull = y * torch.sigmoid(-y * f)
    assert pull.sum(-1).abs().max() < 1e-9
    gradient = w - torch.einsum("bl,bld->bd", pull, x)
    assert gradient.abs().max() < 1e-9 * x.abs().max()


def test_wide_skewed_features_are_learned():
    # The classes are far apart at this scale, so each example must get its own label.
    x, label = wide_and_skewed()
    for example in range(10):
        assert scores("logistic", x, label, x[:, example]).sign() == label[:, example]


def test_examples_far_on_their_side_no_longer_count():
    x = torch.tensor([[[-1.0], [1.0], [5000.0]]], dtype=torch.float64)
    label = torch.tensor([[-1.0, 1.0, 1.0]], dtype=torch.float64)
    query = torch.tensor([[0.5]], dtype=torch.float64)
    without = scores("logistic", x[:, :2], label[:, :2], query)
    torch.testing.assert_close(scores("logistic", x, label, query), without)


def test_a_prompt_does_not_depend_on_the_others():
    easy, hard = GENERIC["separable"], GENERIC["copies"]
    x = torch.cat([easy.x, hard.x[..., :4]])
    label, query = torch.cat([easy.label, hard.label]), torch.cat([easy.query, hard.query[:, :4]])
    together = scores("logistic", x, label, query)
    for b in (0, 7, 40, 59):
        alone = scores("logistic", x[b : b + 1], label[b : b + 1], query[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], alone, atol=1e-9, rtol=1e-9)


def test_prompts_that_do_not_converge_are_counted():
    x, label, _ = GENERIC["20 of the task"]
    with pytest.raises(ArithmeticError, match=rf"logistic: {len(x)} of {len(x)} .* after 1 steps;"):
        logistic(linear(x, x[:, 0]).context, label, steps=1)
    beyond = torch.tensor([[[1e12, 1.0], [1e12, 2.0], [-1e3, 5.0]]], dtype=torch.float64)
    with pytest.raises(ArithmeticError, match=r"1 of 1 prompts .* features of order one help"):
        logistic(linear(beyond, beyond[:, 0]).context, label.new_tensor([[1.0, -1.0, 1.0]]))
