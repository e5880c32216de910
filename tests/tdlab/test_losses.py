"""Losses and errors, number by number, against their formulas in plain Python."""

import math

import pytest
import torch

from tdlab.losses import LOSSES, hinge, logistic, squared, token_squared, zero_one

OUTPUT = torch.tensor([[-2.3, -1.0, -0.4, 0.0], [0.0, 0.7, 1.0, 3.1]], dtype=torch.float64)
TARGET = torch.tensor([[1.0, -1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]], dtype=torch.float64)

FORMULAS = {
    hinge: lambda f, z: max(0.0, 1 - z * f),
    logistic: lambda f, z: math.log(1 + math.exp(-z * f)),
    zero_one: lambda f, z: float(z * f <= 0),
}


@pytest.mark.parametrize("loss", FORMULAS)
def test_each_prompt_has_its_own_loss(loss):
    expected = [
        [FORMULAS[loss](f, z) for f, z in zip(*rows, strict=True)]
        for rows in zip(OUTPUT.tolist(), TARGET.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        loss(OUTPUT, TARGET), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0
    )


def test_squared_loss_sums_over_the_last_axis_and_no_other():
    output = torch.tensor([[0.3, -1.2, 2.0], [1.1, 0.0, -0.7]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0.5, -1.0], [0.2, 0.9, 0.4]], dtype=torch.float64)
    expected = [
        sum((z - f) ** 2 for f, z in zip(*rows, strict=True)) / 2
        for rows in zip(output.tolist(), target.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        squared(output, target), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0
    )


def test_token_squared_loss_sums_over_tokens_and_outputs_and_no_other_axis():
    generator = torch.Generator().manual_seed(5)
    output, target = torch.randn(2, 4, 3, 5, 2, generator=generator, dtype=torch.float64)
    expected = [
        [
            sum((z - f) ** 2 for f, z in zip(*map(torch.flatten, pair), strict=True)).item() / 2
            for pair in zip(*rows, strict=True)
        ]
        for rows in zip(output, target, strict=True)
    ]
    torch.testing.assert_close(
        token_squared(output, target),
        torch.tensor(expected, dtype=torch.float64),
        rtol=1e-14,
        atol=0,
    )


def test_an_output_of_exactly_zero_is_an_error_whatever_the_target():
    zero = torch.zeros(2, dtype=torch.float64)
    assert zero_one(zero, torch.tensor([1.0, -1.0], dtype=torch.float64)).tolist() == [1.0, 1.0]


def test_hinge_pulls_with_unit_force_until_the_margin_is_one_and_not_beyond():
    output = torch.tensor([0.4, -2.0, 1.7, -1.3], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([1.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    hinge(output, target).sum().backward()
    assert output.grad is not None
    assert output.grad.tolist() == [-1.0, -1.0, 0.0, 0.0]


def test_logistic_loss_of_a_hopeless_prompt_is_finite_and_of_a_sure_one_is_not_negative():
    output = torch.tensor([-800.0, 800.0], dtype=torch.float64)
    assert logistic(output, torch.ones(2, dtype=torch.float64)).tolist() == [800.0, 0.0]


def test_a_run_finds_each_loss_under_its_own_name():
    named = {"hinge": hinge, "logistic": logistic, "squared": squared}
    assert {**named, "token_squared": token_squared} == LOSSES
