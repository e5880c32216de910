"""Classical learners against scikit-learn's own, and Bayes' predictor against enumeration."""

import itertools
import sys
from typing import NamedTuple

import jaxtyping
import numpy as np
import pytest
import torch
from scipy.linalg import LinAlgWarning
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor

from tdlab.baselines import LEARNERS, bayes_optimal, bayes_risk, classical


def gaussian(x, context):
    """The kernel, whose width is set by the variance of the prompt's own examples."""
    return np.exp(-cdist(x, context, "sqeuclidean") / (context.shape[1] * context.var()))


# Each by another way than the one under test: another solver, kernels written out.
REFERENCE = {
    "logistic": LogisticRegression(solver="newton-cg", tol=1e-9),
    "linear_svm": SVC(kernel=lambda x, context: x @ context.T),
    "gaussian_svm": SVC(kernel=gaussian),
    "nearest_1": KNeighborsClassifier(1),
    "nearest_3": KNeighborsClassifier(3),
}
ALL_TASKS = torch.tensor([*itertools.permutations(range(6), 2)])


class Prompts(NamedTuple):
    x: Tensor
    pattern: Tensor
    label: Tensor
    query: Tensor
    query_pattern: Tensor
    target: Tensor


def draw(size, length, alpha, kappa, seed, patterns=6, irrelevant=14) -> Prompts:
    """Prompts of the in-context setting, drawn here once more so that no sampler is trusted."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    order = uniform(size, patterns).argsort(-1)  # the first two are the task
    weight = torch.full((patterns,), (1 - alpha) / (patterns - 2), dtype=torch.float64)
    weight[:2] = alpha / 2
    place = torch.multinomial(weight.expand(size, -1), length, True, generator=generator)
    coin = torch.where(uniform(size, length) < 0.5, 1.0, -1.0).double()
    label = torch.where(place == 0, 1.0, torch.where(place == 1, -1.0, coin))
    target = torch.where(uniform(size) < 0.5, 1.0, -1.0).double()
    pattern = order.gather(1, place)
    query_pattern = order.gather(1, (target < 0).long()[:, None])[:, 0]

    def noisy(pattern):
        eye = 3 * torch.eye(patterns + irrelevant, dtype=torch.float64)
        other = patterns + (uniform(*pattern.shape) * irrelevant).long()
        return eye[pattern] + kappa * (2 * uniform(*pattern.shape, 1) - 1) * eye[other]

    return Prompts(noisy(pattern), pattern, label, noisy(query_pattern), query_pattern, target)


def overlapping(size, length, seed) -> tuple[Tensor, Tensor, Tensor]:
    """Uneven classes that overlap in the plane, where a learner's penalty and width decide."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.ones(size, length, dtype=torch.float64)
    label[:, : length // 3] = -1
    x = label[..., None] + 2 * torch.randn(size, length, 2, generator=generator).double()
    return x, label, 2 * torch.randn(size, 2, generator=generator).double()


def of_the_setting(length) -> tuple[Tensor, Tensor, Tensor]:
    prompts = draw(30, length, alpha=0.6, kappa=2.0, seed=length)
    return prompts.x, prompts.label, prompts.query


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize(
    "prompts",
    [of_the_setting(3), of_the_setting(15), overlapping(100, 12, seed=2)],
    ids=["3 examples", "15 examples", "overlapping"],
)
def test_predictions_are_those_of_scikit_learn(learner, prompts):
    x, label, query = prompts
    measured = classical(x, label, query, (learner,))[learner]
    arrays = map(torch.Tensor.numpy, (x, label, query[:, None], measured))
    for examples, y, q, prediction in zip(*arrays, strict=True):
        one_class = (y == y[0]).all()
        alone = y[:1] if one_class else REFERENCE[learner].fit(examples, y).predict(q)
        assert prediction == alone[0]


@pytest.mark.parametrize("learner", LEARNERS)
def test_separable_prompt_is_classified(learner):
    x = torch.tensor([[[2.0, 0.0], [1.8, 0.1], [0.0, 2.0], [0.1, 1.9], [1.9, 0.2], [0.2, 2.0]]])
    label = torch.tensor([[1.0, 1.0, -1.0, -1.0, 1.0, -1.0]])
    for query, answer in (([[2.1, 0.1]], 1.0), ([[0.2, 2.1]], -1.0)):
        assert classical(x, label, torch.tensor(query), (learner,))[learner].tolist() == [answer]


def test_prompt_of_one_class_predicts_it():
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([[1.0] * 4, [-1.0] * 4])
    for prediction in classical(x, label, -x[:, 0]).values():
        assert prediction.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("labels", "three", "one"), [([1, -1, -1], -1, 1), ([-1, 1], -1, -1), ([1, -1], 1, 1)]
)
def test_neighbours_vote_and_a_split_vote_goes_to_the_nearest(labels, three, one):
    x = torch.arange(1.0, 1 + len(labels))[None, :, None]
    votes = classical(
        x, torch.tensor([labels]).float(), torch.zeros(1, 1), ("nearest_1", "nearest_3")
    )
    assert (votes["nearest_3"].item(), votes["nearest_1"].item()) == (three, one)


def test_logistic_regression_minimises_its_objective():
    # |w|^2 / 2 + sum_i log(1 + exp(-y_i (w x_i + c))), where the intercept c pays no penalty.
    x, label, query = overlapping(60, 8, seed=4)
    measured = classical(x, label, query, ("logistic",))["logistic"]

    def objective(weights, examples, y):
        return weights[:2] @ weights[:2] / 2 + np.logaddexp(0, -y * _score(weights, examples)).sum()

    for examples, y, q, prediction in zip(
        *map(torch.Tensor.numpy, (x, label, query)), measured, strict=True
    ):
        best = minimize(objective, np.zeros(3), (examples, y)).x
        assert prediction == np.sign(_score(best, q))
    assert len(measured.unique()) == 2


def _score(weights, x):
    return x @ weights[:2] + weights[2]


def test_logistic_regression_copes_with_wide_skewed_features():
    # The classes are far apart at this scale, so each example must get its own label.
    generator = torch.Generator().manual_seed(3)
    x = (30 * torch.randn(1, 10, 2, generator=generator, dtype=torch.float64)).square()
    label = torch.ones(1, 10, dtype=torch.float64)
    label[:, 0] = -1
    for example in range(10):
        predicted = classical(x, label, x[:, example], ("logistic",))["logistic"]
        assert predicted == label[:, example]


def test_logistic_regression_that_cannot_converge_says_so():
    x = torch.tensor([[[1e12, 1.0], [1e12, 2.0], [-1e3, 5.0]]])
    with pytest.raises(LinAlgWarning, match="ill-conditioned"):
        classical(x, torch.tensor([[1.0, -1.0, 1.0]]), x[:, 0], ("logistic",))


def test_learners_see_one_prompt_at_a_time():
    prompts = draw(20, 9, alpha=0.6, kappa=1.0, seed=5)
    together = classical(prompts.x, prompts.label, prompts.query)
    alone = classical(prompts.x[7:8], prompts.label[7:8], prompts.query[7:8])
    for learner in LEARNERS:
        assert together[learner][7] == alone[learner][0]


def enumerated(context, query, tasks, alpha, patterns):
    """The joint probability of a prompt with z = +1 and z = -1, by the story of the setting."""
    joint = {1: 0.0, -1: 0.0}
    for a, b in tasks:
        for z, answer in ((1, a), (-1, b)):
            probability = (query == answer) / 2 / len(tasks)
            for pattern, label in context:
                if pattern in (a, b):
                    probability *= alpha / 2 * (label == (1 if pattern == a else -1))
                else:
                    probability *= (1 - alpha) / (patterns - 2) / 2
            joint[z] += probability
    return joint


@pytest.mark.parametrize("alpha", [0.37, 0.8, 1.0, 0.0])
def test_posterior_is_that_of_enumeration(alpha):
    patterns, tasks = 4, [(0, 1), (1, 2), (2, 0), (0, 3), (1, 0)]
    example = [*itertools.product(range(patterns), (1, -1))]
    total, possible = 0.0, []
    for *context, query in itertools.product(example, example, range(patterns)):
        joint = enumerated(context, query, tasks, alpha, patterns)
        total += joint[1] + joint[-1]
        if joint[1] + joint[-1] > 0:
            possible.append((context, query, joint[1] / (joint[1] + joint[-1])))
    assert abs(total - 1) < 1e-12  # the enumeration itself is a distribution
    examples = torch.tensor([context for context, _, _ in possible])
    measured = bayes_optimal(
        examples[..., 0],
        examples[..., 1].double(),
        torch.tensor([query for _, query, _ in possible]),
        torch.tensor(tasks),
        alpha,
        patterns,
    )
    expected = torch.tensor([posterior for _, _, posterior in possible], dtype=torch.float64)
    torch.testing.assert_close(measured, expected)


def test_long_prompt_neither_underflows_nor_doubts():
    pattern, query = torch.zeros(1, 5000, dtype=torch.long), torch.tensor([0])
    tasks = torch.tensor([[0, 1], [2, 0], [1, 2]])
    measured = bayes_optimal(pattern, torch.ones(1, 5000), query, tasks, 0.5, 3)
    assert measured.item() == 1.0


@pytest.mark.slow
def test_no_classical_learner_beats_bayes():
    # Paired on the same N prompts: the mean difference of errors, which is >= 0 in expectation, has
    # standard error sd / sqrt(N); four of them leave 3e-5 for a false alarm.
    prompts = draw(1000, 10, alpha=0.6, kappa=0.5, seed=11)
    posterior = bayes_optimal(
        prompts.pattern, prompts.label, prompts.query_pattern, ALL_TASKS, 0.6, 6
    )
    best = bayes_risk(posterior, prompts.target)
    for prediction in classical(prompts.x, prompts.label, prompts.query).values():
        excess = (prediction != prompts.target).double() - best
        assert excess.mean() > -4 * excess.std() / 1000**0.5


def test_bayes_is_calibrated():
    # Given a prompt the error is Bernoulli with mean m = min(p, 1 - p), so its average over N
    # prompts deviates from that of m by sqrt(mean(m (1 - m)) / N).
    prompts = draw(20_000, 6, alpha=0.6, kappa=0.0, seed=12)
    posterior = bayes_optimal(
        prompts.pattern, prompts.label, prompts.query_pattern, ALL_TASKS, 0.6, 6
    )
    doubt = torch.minimum(posterior, 1 - posterior)
    error = (doubt * (1 - doubt)).mean().div(20_000).sqrt()
    assert (bayes_risk(posterior, prompts.target).mean() - doubt.mean()).abs() < 4 * error


def test_bayes_risk_counts_a_tie_as_half():
    posterior = torch.tensor([0.9, 0.9, 0.1, 0.5, 0.5 + 1e-13], dtype=torch.float64)
    target = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    assert bayes_risk(posterior, target).tolist() == [0, 1, 1, 0.5, 0.5]


def test_prompt_that_no_task_can_produce_is_refused():
    pattern, label = torch.tensor([[0, 1], [0, 0]]), torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    with pytest.raises(ValueError, match=r"prompt 1 \(1 such of 2\) is impossible under every"):
        bayes_optimal(pattern, label, torch.tensor([0, 0]), torch.tensor([[0, 1]]), 0.8, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.2}, r"alpha is 1\.2"),
        ({"patterns": 2}, "patterns is 2"),
        ({"query": torch.tensor([3])}, r"query holds index 3; it must lie in 0\.\.2"),
        ({"tasks": torch.tensor([[1, 1]])}, r"task \[1, 1\] has one pattern for both labels"),
        ({"label": torch.tensor([[0.0]])}, "a label is 0; labels are"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(change, message):
    good = {"pattern": torch.tensor([[0]]), "label": torch.tensor([[1.0]])}
    good |= {"query": torch.tensor([0]), "tasks": torch.tensor([[0, 1]])}
    with pytest.raises(ValueError, match=message):
        bayes_optimal(**good | {"alpha": 0.8, "patterns": 3} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learners": ("forest",)}, "unknown learner 'forest'; known are logistic"),
        ({"label": torch.full((2, 3), 0.5)}, r"a label is 0\.5; labels are"),
        ({"x": torch.full((2, 3, 4), torch.nan)}, r"x\[0, 0, 0\] is nan; it must be finite"),
        ({"x": torch.ones(2, 0, 4), "label": torch.ones(2, 0)}, "the context has length 0"),
    ],
)
def test_prompts_that_no_learner_can_use_are_refused(change, message):
    good = {"x": torch.ones(2, 3, 4), "label": torch.ones(2, 3), "query": torch.ones(2, 4)}
    with pytest.raises(ValueError, match=message):
        classical(**good | change)


def test_shapes_that_do_not_fit_are_refused_without_the_shape_checks_too():
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"query \[2, 5\]; need \[b, l, d\]"):
            classical(torch.ones(2, 3, 4), torch.ones(2, 3), torch.ones(2, 5))
        with pytest.raises(ValueError, match=r"tasks \[2\]; need \[b, l\]"):
            bayes_optimal(
                torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1), torch.zeros(2), 0.5, 3
            )
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("learner", ["logistic", "linear_svm", "gaussian_svm"])
def test_missing_scikit_learn_names_the_extra(learner, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    prompts = draw(20, 6, alpha=0.6, kappa=0.5, seed=1)
    with pytest.raises(ModuleNotFoundError, match=rf"{learner} .* pip install tdlab\[baselines\]"):
        classical(prompts.x, prompts.label, prompts.query, (learner,))
    classical(prompts.x, prompts.label, prompts.query, ("nearest_1", "nearest_3"))
