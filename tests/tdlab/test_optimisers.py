import math
from typing import Any

import pytest
import torch
from torch import Tensor

from synthetic_tasks.threefry import fold, normals, stream
from synthetic_tasks.value import varying
from tdlab.optimisers import SGD, Adam, Leaves, Optimiser

KEY = stream(6, "probe")
SHAPES = {"W": (3, 4), "b": (5,)}
STEPS = 6


def leaves(number: int, scale: float = 1) -> Leaves:
    """Generic numbers, of another size in each leaf."""
    return {
        name: scale * 3.0**-place * normals(fold(fold(KEY, number), place), shape, torch.float64)
        for place, (name, shape) in enumerate(SHAPES.items())
    }


def scalars_of(optimiser: Optimiser) -> dict[str, Tensor]:
    return {
        name: torch.tensor(number, dtype=torch.float64)
        for name, number in varying(optimiser).items()
    }


def unasked(_: Leaves) -> Tensor:
    raise AssertionError("this optimiser does not look at losses")


def trajectory(optimiser: Optimiser) -> list[Leaves]:
    params, passed = leaves(0), []
    state = optimiser.init(params)
    for step in range(STEPS):
        gradient = leaves(step + 1, 0.1)
        params, state = optimiser.update(scalars_of(optimiser), params, gradient, state, unasked)
        passed.append(params)
    return passed


def torchs(make: type[torch.optim.Optimizer], **settings: Any) -> list[Leaves]:
    params = {name: leaf.clone().requires_grad_() for name, leaf in leaves(0).items()}
    optimiser = make(params.values(), **settings)
    passed = []
    for step in range(STEPS):
        for name, gradient in leaves(step + 1, 0.1).items():
            params[name].grad = gradient
        optimiser.step()
        passed.append({name: leaf.detach().clone() for name, leaf in params.items()})
    return passed


def test_sgd_takes_torchs_steps():
    torch.testing.assert_close(
        trajectory(SGD(lr=0.37)), torchs(torch.optim.SGD, lr=0.37), rtol=0, atol=1e-15
    )


# eps = 0.01 is as large as the gradients, so that where it is added shows.
@pytest.mark.parametrize(
    ("lr", "beta1", "beta2", "eps"),
    [(0.05, 0.9, 0.999, 1e-8), (0.3, 0.7, 0.85, 0.01), (1.0, 0.0, 0.0, 1e-3)],
)
def test_adam_takes_torchs_steps(lr, beta1, beta2, eps):
    ours = trajectory(Adam(lr=lr, beta1=beta1, beta2=beta2, eps=eps))
    theirs = torchs(torch.optim.Adam, lr=lr, betas=(beta1, beta2), eps=eps)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "members",
    [
        [SGD(lr=0.1), SGD(lr=1), SGD(lr=0)],
        [Adam(), Adam(lr=1, beta1=0.5, beta2=0.6, eps=0.1), Adam(lr=0.2, beta1=0.1)],
    ],
    ids=["SGD", "Adam"],
)
def test_members_take_their_own_steps_under_vmap(members):
    rule, count = members[0], len(members)
    each = [scalars_of(member) for member in members]
    scalars = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    params = {name: leaf.expand(count, *leaf.shape) for name, leaf in leaves(0).items()}
    state = torch.vmap(rule.init)(params)
    for step in range(STEPS):
        gradient = leaves(step + 1, 0.1)
        step_all = torch.vmap(lambda *its: rule.update(*its, unasked), (0, 0, None, 0))
        params, state = step_all(scalars, params, gradient, state)
    for place, member in enumerate(members):
        alone = trajectory(member)[-1]
        torch.testing.assert_close(
            {name: leaf[place] for name, leaf in params.items()}, alone, rtol=1e-14, atol=0
        )


@pytest.mark.parametrize("optimiser", [SGD(), Adam()])
def test_nothing_is_changed_in_place(optimiser):
    params, gradient = leaves(0), leaves(1)
    state = optimiser.init(params)
    optimiser.update(scalars_of(optimiser), params, gradient, state, unasked)
    torch.testing.assert_close(params, leaves(0), rtol=0, atol=0)
    torch.testing.assert_close(gradient, leaves(1), rtol=0, atol=0)
    torch.testing.assert_close(state, optimiser.init(params), rtol=0, atol=0)


@pytest.mark.parametrize("optimiser", [SGD(), Adam()])
def test_an_optimiser_has_init_update_and_revision(optimiser):
    assert isinstance(optimiser, Optimiser)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: SGD(lr=-0.1), r"^lr is -0\.1, but must lie in \[0, inf\)$"),
        (lambda: SGD(lr=math.nan), r"^lr is nan, but must lie in \[0, inf\)$"),
        (lambda: SGD(lr=math.inf), r"^lr is inf, but must lie in \[0, inf\)$"),
        (lambda: Adam(lr=-1), r"^lr is -1, but must lie in \[0, inf\)$"),
        (lambda: Adam(beta1=-0.1), r"^beta1 is -0\.1, but must lie in \[0, 1\)$"),
        (lambda: Adam(beta1=1), r"^beta1 is 1, but must lie in \[0, 1\)$"),
        (lambda: Adam(beta2=1), r"^beta2 is 1, but must lie in \[0, 1\)$"),
        (lambda: Adam(eps=-1e-8), r"^eps is -1e-08, but must lie in \[0, inf\)$"),
    ],
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(wrong, line):
    with pytest.raises(ValueError, match=line):
        wrong()
