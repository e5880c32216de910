"""Each activation against its formula, written out, at generic points."""

import numpy as np
import pytest
import torch

from tdlab.models import GELU, PolyNorm, PolyReLU, ReLU, SiLU, SquaredReLU

X = torch.tensor([[-2.3, -0.4, 0.7], [1.9, -1.1, 0.2]], dtype=torch.float64)
A = torch.tensor([0.3, -0.7, 1.1, 0.4], dtype=torch.float64)
NONE = torch.empty(0, dtype=torch.float64)


def by_normal_distribution(x):
    return x * torch.distributions.Normal(0, 1).cdf(x)


def by_tanh(x):
    return 0.5 * x * (1 + torch.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


FORMULAS = {
    ReLU(): lambda x: torch.where(x > 0, x, 0),
    SquaredReLU(): lambda x: torch.where(x > 0, x**2, 0),
    SiLU(): lambda x: x / (1 + torch.exp(-x)),
    GELU(): by_tanh,
    GELU(approximate="none"): by_normal_distribution,
}


@pytest.mark.parametrize("activation", FORMULAS)
def test_an_activation_is_its_formula(activation):
    assert activation.start == ()
    torch.testing.assert_close(activation(X, NONE), FORMULAS[activation](X), rtol=1e-12, atol=0)


def test_poly_relu_is_the_sum_of_powers_of_relu():
    expected = 0.3 + sum(A[i] * X.clamp(min=0) ** i for i in (1, 2, 3))
    torch.testing.assert_close(PolyReLU()(X, A), expected, rtol=1e-12, atol=0)


def test_poly_norm_divides_each_power_by_its_root_mean_square_over_the_neurons():
    powers = [X**i for i in (1, 2, 3)]
    roots = [np.sqrt((each.numpy() ** 2).mean(-1, keepdims=True) + 1e-6) for each in powers]
    expected = 0.3 + sum(
        a * p / torch.from_numpy(r) for a, p, r in zip(A[1:], powers, roots, strict=True)
    )
    torch.testing.assert_close(PolyNorm()(X, A), expected, rtol=1e-12, atol=0)


def test_poly_norm_does_not_see_the_scale_of_what_it_reads():
    torch.testing.assert_close(PolyNorm()(X, A), PolyNorm()(50 * X, A), rtol=1e-4, atol=1e-4)
    assert not PolyReLU()(X, A).isclose(PolyReLU()(50 * X, A)).all()


@pytest.mark.parametrize("activation", [PolyReLU(), PolyNorm()])
def test_coefficients_have_gradients_and_start_at_thirds(activation):
    assert activation.start == (0, 1 / 3, 1 / 3, 1 / 3)
    assert torch.autograd.gradcheck(
        activation, (X.clone().requires_grad_(), A.clone().requires_grad_())
    )


def test_an_unknown_approximation_is_refused():
    with pytest.raises(ValueError, match="approximate is 'sigmoid', but must be one of tanh, none"):
        GELU(approximate="sigmoid")
