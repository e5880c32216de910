"""Support vector machines of a batch: at the maximum, and scikit-learn's scores."""

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from tdlab.baselines.dual import dual
from tdlab.baselines.expansion import distance, gaussian, linear
from tdlab.baselines.face import face_step
from tdlab.baselines.learners import scores
from tdlab.baselines.pairs import nearness, pair_steps
from tdlab.baselines.support_vectors import support_vectors
from tests.tdlab.baselines.drawn import GENERIC, of_the_task

KERNELS = {"linear_svm": linear, "gaussian_svm": gaussian}
# LIBSVM needs millions of steps for some of these prompts, and such are left to the duality gap.
PATIENCE = 20_000


def of(prompts, learner):
    """Kernel, labels and what was found."""
    kernel = KERNELS[learner](prompts.x, prompts.query).context
    return kernel, prompts.label, support_vectors(kernel, prompts.label)


def times(kernel, weight):
    return torch.einsum("bij,bj->bi", kernel, weight)


def objective(state):
    return (state.weight * (state.label - times(state.kernel, state.weight) / 2)).sum(-1)


@pytest.mark.filterwarnings("ignore:Solver terminated early")
@pytest.mark.parametrize("learner", KERNELS)
@pytest.mark.parametrize("prompts", GENERIC.values(), ids=GENERIC)
def test_scores_are_those_of_scikit_learn(prompts, learner):
    measured = scores(learner, *prompts)
    kernel = {"linear_svm": "linear", "gaussian_svm": "rbf"}[learner]
    reference, compared = SVC(kernel=kernel, tol=1e-10, max_iter=PATIENCE), 0
    arrays = [values.numpy() for values in (prompts.x, prompts.label, prompts.query[:, None])]
    for x, y, q, score in zip(*arrays, measured.tolist(), strict=True):
        reference.fit(x, y)
        if reference.n_iter_[0] < PATIENCE:
            expected = reference.decision_function(q)[0]
            assert score == pytest.approx(expected, rel=1e-6, abs=1e-6)
            compared += 1
    assert compared > len(measured) / 2


@pytest.mark.parametrize("learner", KERNELS)
@pytest.mark.parametrize("prompts", GENERIC.values(), ids=GENERIC)
def test_there_is_no_duality_gap(prompts, learner):
    # Any feasible weights and intercept lie on the two sides of the optimum, so this needs nobody's
    # word: |w - w*|^2 is at most twice the gap.
    kernel, y, found = of(prompts, learner)
    a, Ka = found.weight, times(kernel, found.weight)
    assert ((y * a >= 0) & (y * a <= 1)).all()
    assert a.sum(-1).abs().max() < 1e-12
    square = (a * Ka).sum(-1)
    primal = square / 2 + (1 - y * (Ka + found.intercept[:, None])).clamp(min=0).sum(-1)
    assert (primal - ((y * a).sum(-1) - square / 2)).abs().max() < 1e-9


@pytest.mark.parametrize("learner", KERNELS)
def test_intercept_is_the_gradient_of_free_examples_or_else_the_middle(learner):
    for prompts in GENERIC.values():
        kernel, y, found = of(prompts, learner)
        gradient = y - times(kernel, found.weight)
        inside = (y * found.weight > 0) & (y * found.weight < 1)
        assert ((gradient - found.intercept[:, None])[inside].abs() < 1e-8).all()
        rises = torch.where(y > 0, y * found.weight < 1, y * found.weight > 0)
        falls = torch.where(y > 0, y * found.weight > 0, y * found.weight < 1)
        middle = (
            gradient.masked_fill(~rises, -torch.inf).amax(-1)
            + gradient.masked_fill(~falls, torch.inf).amin(-1)
        ) / 2
        none = ~inside.any(-1)
        torch.testing.assert_close(found.intercept[none], middle[none])


def test_without_free_examples_the_intercept_is_that_of_scikit_learn():
    x = torch.tensor([[[0.25, 0.0], [-0.125, 0.0], [0.5, 0.125], [0.0, 0.5]]], dtype=torch.float64)
    y = torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    found = support_vectors(linear(x, x[:, 0]).context, y)
    assert (y * found.weight == 1).all()
    reference = SVC(kernel="linear", tol=1e-10).fit(x[0].numpy(), y[0].numpy())
    for query in (x[:, 0], x[:, 3], torch.ones(1, 2, dtype=torch.float64)):
        expected = reference.decision_function(query.numpy())[0]
        assert scores("linear_svm", x, y, query).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("learner", KERNELS)
def test_examples_that_are_all_the_same_go_with_the_majority(learner):
    x = torch.ones(2, 3, 4, dtype=torch.float64)
    label = torch.tensor([[1.0, 1, -1], [-1, 1, -1]], dtype=torch.float64)
    torch.testing.assert_close(scores(learner, x, label, x[:, 0]), label.new_tensor([1, -1]))


@pytest.mark.parametrize("learner", KERNELS)
def test_a_prompt_does_not_depend_on_the_others(learner):
    x, label, query = GENERIC["20 of the task"]
    together = scores(learner, x, label, query)
    for b in range(0, len(x), 5):
        alone = scores(learner, x[b : b + 1], label[b : b + 1], query[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], alone, atol=1e-9, rtol=1e-9)


def test_a_pair_is_the_one_of_largest_gain():
    prompts = GENERIC["more examples than features"]
    state = dual(linear(prompts.x, prompts.query).context, prompts.label)
    near, once = nearness(state.kernel), torch.ones(len(state.label), dtype=torch.float64)
    state = pair_steps(state, near, once, 5)
    after = pair_steps(state, near, once, 1)
    far = distance(state.kernel)
    for b in range(len(state.label)):
        g = state.gradient[b].numpy()
        i = np.where(state.up[b] > 0, g, -np.inf).argmax()
        gain = [
            (g[i] - g[j]) ** 2 / far[b, i, j] if state.down[b, j] > 0 and g[j] < g[i] else -np.inf
            for j in range(len(g))
        ]
        moved = (after.weight - state.weight)[b]
        assert {*moved.nonzero()[:, 0].tolist()} == {i, int(np.argmax(gain))}
        assert moved[i] > 0
    torch.testing.assert_close(after.gradient, state.label - times(state.kernel, after.weight))
    assert (objective(after) > objective(state)).all()


def test_a_prompt_that_is_not_moving_keeps_its_weights():
    prompts = GENERIC["40 of the task"]
    state = dual(linear(prompts.x, prompts.query).context, prompts.label)
    moving = torch.arange(len(state.label)).remainder(2).double()
    after = pair_steps(state, nearness(state.kernel), moving, 3)
    assert (after.weight != 0).any(-1).tolist() == (moving > 0).tolist()


@pytest.mark.parametrize("learner", KERNELS)
@pytest.mark.parametrize("length", [20, 40])
def test_a_face_step_ends_at_the_maximum_of_the_face_or_on_a_bound(learner, length):
    prompts = of_the_task(length, size=200)
    state = dual(KERNELS[learner](prompts.x, prompts.query).context, prompts.label)
    state = pair_steps(state, nearness(state.kernel), torch.ones_like(state.gradient[:, 0]), 8)
    after, arrived = face_step(state)
    assert arrived.any()
    assert not arrived.all()
    assert (objective(after) >= objective(state) - 1e-12).all()
    for b in range(len(arrived)):
        free = state.free[b]
        if arrived[b] and free.any():
            spread = after.gradient[b][free]
            assert spread.max() - spread.min() < 1e-8
        if not arrived[b]:
            assert after.free[b].sum() < free.sum()
        assert (after.weight[b][~free] == state.weight[b][~free]).all()


def test_a_prompt_stays_on_its_face_so_that_rounds_end():
    # If pairs freed other examples before the maximum is reached, a few of these would go on.
    prompts = of_the_task(20, size=2016, on_a_grid=False)
    support_vectors(linear(prompts.x, prompts.query).context, prompts.label, rounds=40)


def test_prompts_are_solved_where_the_sides_meet():
    y = torch.tensor([[1.0, -1.0]] * 4, dtype=torch.float64)
    kernel = (
        torch.eye(2, dtype=torch.float64).expand(4, 2, 2)
        * y.new_tensor([1, 1, 1e8, 1e24])[:, None, None]
    )
    half = torch.full_like(y, 0.5)
    overlap = y.new_tensor([[1e-11], [1e-8], [1e-8], [1e-2]])
    state = dual(kernel, y)._replace(up=half, down=half, gradient=half + y * overlap / 2)
    # Rounding excuses the third, but no more than LIBSVM would.
    assert state.solved(1e-10).tolist() == [True, False, True, False]


@pytest.mark.parametrize("rounds", [1, 2])
def test_prompts_that_do_not_converge_are_counted(rounds):
    x, label, _ = GENERIC["40 of the task"]
    message = rf"support vectors: \d+ of {len(x)} prompts have not converged after {rounds} steps;"
    with pytest.raises(ArithmeticError, match=message):
        support_vectors(linear(x, x[:, 0]).context, label, rounds=rounds)
