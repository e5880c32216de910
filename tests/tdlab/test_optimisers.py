import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from synthetic_tasks.threefry import fold, normals, stream
from synthetic_tasks.value import varying
from tdlab.optimisers import SGD, Adam, Backtracking, Leaves, Optimiser

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


@pytest.mark.parametrize("optimiser", [SGD(), Adam(), Backtracking()])
def test_an_optimiser_has_init_update_and_revision(optimiser):
    assert isinstance(optimiser, Optimiser)


# Backtracking.

Loss = Callable[[Leaves], Tensor]


def tensor(number: float) -> Tensor:
    return torch.tensor(number, dtype=torch.float64)


def quadratic(curvature: float) -> Loss:
    return lambda at: curvature / 2 * (at["W"].square().sum() + at["b"].square().sum())


def valley(at: Leaves) -> Tensor:
    """Curved, not convex, with couplings within and between the leaves; above zero."""
    W, b = at["W"].flatten(), at["b"]
    return (1 + (W[1:] - W[:-1] ** 2).square()).log().sum() + (b - W[:5]).square().sum() / 9


def backtrack(
    loss: Loss, optimiser: Backtracking, steps: int, params: Leaves
) -> list[tuple[Leaves, Leaves, float]]:
    """Each step's parameters, gradient there, and the step size that the state has afterwards."""
    state, passed = optimiser.init(params), []
    for _ in range(steps):
        gradient = torch.func.grad(loss)(params)
        moved, state = optimiser.update(scalars_of(optimiser), params, gradient, state, loss)
        passed.append((params, gradient, optimiser.lr * float(state["size"]["size"])))
        params = moved
    return [*passed, (params, torch.func.grad(loss)(params), passed[-1][2])]


def against(params: Leaves, gradient: Leaves, eta: float) -> Leaves:
    return {name: params[name] - eta * gradient[name] for name in params}


def suffices(
    loss: Loss, params: Leaves, gradient: Leaves, eta: float, decrease: float, slack: float = 0
) -> bool:
    """The Armijo inequality, written out."""
    square = sum(float(leaf.square().sum()) for leaf in gradient.values())
    after = float(loss(against(params, gradient, eta)))
    return after <= float(loss(params)) - decrease * eta * square + slack


@pytest.mark.parametrize(
    "optimiser",
    [
        Backtracking(),
        Backtracking(lr=1e-3, decrease=0.1),
        Backtracking(lr=300, decrease=0.8, tries=6),
        Backtracking(lr=0.3, decrease=0.3, tries=3),
    ],
    ids=str,
)
def test_the_step_taken_is_the_largest_tried_that_lowers_the_loss_by_enough(optimiser):
    passed, size, kinds = backtrack(valley, optimiser, 60, leaves(0)), optimiser.lr, set()
    for (params, gradient, left), (after, _, _) in pairwise(passed):
        tried = [size * 2.0 ** (1 - k) for k in range(optimiser.tries)]
        good = [eta for eta in tried if suffices(valley, params, gradient, eta, optimiser.decrease)]
        assert left == (max(good) if good else min(tried))
        taken = against(params, gradient, max(good)) if good else params
        torch.testing.assert_close(after, taken, rtol=1e-14, atol=1e-15)
        kinds.add(tried.index(left))
        size = left
    assert {0, 1, 2} <= kinds  # the step size doubled, stayed, and was halved
    assert valley(passed[-1][0]) < valley(passed[0][0]) - 1


def test_the_loss_never_rises_and_most_steps_lower_it():
    passed = backtrack(valley, Backtracking(), 80, leaves(0))
    losses = [float(valley(params)) for params, _, _ in passed]
    falls = [before - after for before, after in pairwise(losses)]
    assert min(falls) >= 0
    assert sum(fall > 0 for fall in falls) > 60


@pytest.mark.parametrize("lr", [1e-6, 0.3, 1e6])
@pytest.mark.parametrize("curvature", [0.013, 1.7, 900.0])
def test_on_a_quadratic_the_step_size_settles_between_half_and_all_of_one_over_the_curvature(
    lr, curvature
):
    """(1 - eta L)^2 <= 1 - eta L, the inequality at c = 1/2, holds up to eta = 1 / L."""
    passed = backtrack(quadratic(curvature), Backtracking(lr=lr), 55, leaves(0))
    # Doubled at most 27 times, or quartered at most 15 times, and then it stays.
    for _, _, eta in passed[45:]:
        assert 0.5 < eta * curvature <= 1 + 1e-9


@pytest.mark.parametrize("decrease", [0.1, 0.5, 0.9])
def test_decrease_sets_how_close_to_instability_a_step_may_come(decrease):
    """(1 - eta L)^2 <= 1 - 2 c eta L holds up to eta = 2 (1 - c) / L."""
    passed = backtrack(quadratic(1.7), Backtracking(decrease=decrease), 20, leaves(0))
    for _, _, eta in passed[10:]:
        assert 1 - decrease < eta * 1.7 <= 2 * (1 - decrease)


def test_where_no_step_suffices_the_parameters_stay_and_the_next_steps_are_smaller():
    # 1 / 1.3 is the largest: of 128, 64, 32, 16 none will do, of 32, 16, 8, 4 and 8, 4, 2, 1 none.
    passed = backtrack(quadratic(1.3), Backtracking(lr=64), 4, leaves(0))
    assert [eta for _, _, eta in passed[:4]] == [16, 4, 1, 0.5]
    for params, _, _ in passed[:4]:
        torch.testing.assert_close(params, leaves(0), rtol=0, atol=0)
    torch.testing.assert_close(passed[4][0], {k: 0.35 * leaf for k, leaf in leaves(0).items()})


def test_with_the_fewest_tries_a_step_far_too_long_is_left_behind_as_well():
    passed = backtrack(quadratic(1.3), Backtracking(lr=64, tries=3), 12, leaves(0))
    assert 0.5 < 1.3 * passed[-1][2] <= 1


@pytest.mark.parametrize("trap", [math.nan, math.inf])
def test_a_step_to_a_loss_that_is_no_number_is_not_taken(trap):
    def loss(at: Leaves) -> Tensor:
        square = quadratic(1.0)(at)
        return torch.where(square < 0.1 * quadratic(1.0)(leaves(0)), trap, square)

    # From (1 - eta)^2 = 0.1 on, at eta = 0.684, the loss is lost: 1 is refused, 1/2 is taken.
    (_, _, eta), (after, _, _) = backtrack(loss, Backtracking(), 1, leaves(0))
    assert eta == 0.5
    torch.testing.assert_close(after, {k: leaf / 2 for k, leaf in leaves(0).items()})


def test_at_a_loss_that_is_no_number_nothing_is_taken():
    optimiser, params = Backtracking(), leaves(0)
    moved, _ = optimiser.update(
        scalars_of(optimiser),
        params,
        leaves(1),
        optimiser.init(params),
        lambda at: tensor(math.nan),
    )
    torch.testing.assert_close(moved, params, rtol=0, atol=0)


def test_where_the_gradient_is_zero_parameters_and_step_size_stay():
    optimiser = Backtracking()
    params = {name: leaf.float() for name, leaf in leaves(0).items()}
    flat = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
    state = optimiser.init(params)
    scalars = {name: leaf.float() for name, leaf in scalars_of(optimiser).items()}
    moved = params
    for _ in range(140):
        moved, state = optimiser.update(scalars, moved, flat, state, lambda at: at["W"].sum())
    assert state["size"]["size"] == 1
    torch.testing.assert_close(moved, params, rtol=0, atol=0)


def test_members_backtrack_on_their_own():
    """One member's loss is steep, another's flat, and one starts with a step far too long."""
    curvature = torch.tensor([900.0, 0.02, 3.1], dtype=torch.float64)
    members = [Backtracking(), Backtracking(lr=0.4, decrease=0.2), Backtracking(lr=2.0**30)]
    rule = members[0]

    def step_all(scalars, params, state, its):
        loss = quadratic(its)
        return rule.update(scalars, params, torch.func.grad(loss)(params), state, loss)

    each = [scalars_of(member) for member in members]
    scalars = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    params = {name: leaf.expand(3, *leaf.shape) for name, leaf in leaves(0).items()}
    state = torch.vmap(rule.init)(params)
    for _ in range(20):
        params, state = torch.vmap(step_all)(scalars, params, state, curvature)
    sizes = set()
    for place, member in enumerate(members):
        alone, _, size = backtrack(quadratic(float(curvature[place])), member, 20, leaves(0))[-1]
        torch.testing.assert_close(
            {name: leaf[place] for name, leaf in params.items()}, alone, rtol=1e-13, atol=1e-200
        )
        assert member.lr * float(state["size"]["size"][place]) == size
        sizes.add(size)
    assert len(sizes) == 3


def test_backtracking_changes_nothing_in_place():
    optimiser, params, gradient = Backtracking(), leaves(0), leaves(1)
    state = optimiser.init(params)
    optimiser.update(scalars_of(optimiser), params, gradient, state, valley)
    torch.testing.assert_close((params, gradient), (leaves(0), leaves(1)), rtol=0, atol=0)
    torch.testing.assert_close(state, optimiser.init(leaves(0)), rtol=0, atol=0)


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
        (lambda: Backtracking(lr=0), r"^lr is 0, but must lie in \(0, inf\)$"),
        (lambda: Backtracking(lr=math.inf), r"^lr is inf, but must lie in \(0, inf\)$"),
        (lambda: Backtracking(decrease=0), r"^decrease is 0, but must lie in \(0, 1\)$"),
        (lambda: Backtracking(decrease=1), r"^decrease is 1, but must lie in \(0, 1\)$"),
        (lambda: Backtracking(tries=2), r"^tries is 2, but must be at least 3$"),
    ],
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(wrong, line):
    with pytest.raises(ValueError, match=line):
        wrong()
