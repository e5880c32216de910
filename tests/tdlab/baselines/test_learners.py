"""Classical learners against scikit-learn's own."""

import jaxtyping
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor

from tdlab.baselines import LEARNERS, bayes_optimal, classical
from tests.tdlab.baselines.drawn import draw, overlapping


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


def test_learners_see_one_prompt_at_a_time():
    prompts = draw(20, 9, alpha=0.6, kappa=1.0, seed=5)
    together = classical(prompts.x, prompts.label, prompts.query)
    alone = classical(prompts.x[7:8], prompts.label[7:8], prompts.query[7:8])
    for learner in LEARNERS:
        assert together[learner][7] == alone[learner][0]


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
