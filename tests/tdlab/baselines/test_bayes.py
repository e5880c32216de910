"""Bayes' predictor against enumeration."""

import itertools

import pytest
import torch

from tdlab.baselines import bayes_optimal, bayes_risk, classical
from tests.tdlab.baselines.drawn import draw

ALL_TASKS = torch.tensor([*itertools.permutations(range(6), 2)])


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
