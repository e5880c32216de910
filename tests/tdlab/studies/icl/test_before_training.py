"""The chain from task to probe, on attention before training, which is known."""

import math
from dataclasses import replace

import pytest
import torch

from tdlab.studies.evaluation import evaluate, risks_and_attention
from tdlab.studies.icl import setting
from tdlab.sweep import trained
from tdlab.theory import li2024
from tdlab.trajectory import final

POINTS = [  # alpha', delta, beta, l'
    (0.8, 0.2, 3.0, 20),
    (0.8, 0.1, 3.0, 20),
    (0.55, 0.2, 4.3, 11),
    (1.0, 0.15, 2.1, 6),
    (0.31, 0.19, 6.0, 33),
]


def before_training(delta, beta):
    """A setting with untrained members, their parameters, and as many tasks as it has seeds."""
    start = setting("quick", seeds=2, steps=0, prompts=3000, delta=delta, beta=beta)
    return start, final(trained(start.runs()))


def deviation(concentration, alpha, delta, beta, length, kappa):
    """How far measured means lie from the theory, in units of what is allowed.

    Patterns are orthogonal, so concentration depends on the latent draw alone: prompts of all
    members are independent and of one distribution, and their mean has standard error s / sqrt(n).
    A false alarm at four of them has probability 6e-5. The kappa terms add uncorrelated noise of
    mean zero and variance v = (delta beta)^4 E[kappa^2]^2 / M2 to each score, which by the
    softmax's second derivative moves the mean by at most v c (1 - c) <= v / 4, to leading order;
    v itself is allowed.
    """
    v = (delta * beta) ** 4 * (kappa**2 / 3) ** 2 / 24
    error = concentration.std() / math.sqrt(concentration.numel())
    gap = concentration.mean() - li2024.initial_concentration(alpha, delta, beta, length)
    return (abs(gap) / (4 * error + v)).item()


@pytest.mark.parametrize(("alpha", "delta", "beta", "length"), POINTS)
def test_concentration_before_training_is_the_binomial_expectation(alpha, delta, beta, length):
    start, params = before_training(delta, beta)
    task = replace(start.task.on_unseen(), alpha=alpha, length=length)
    numbers = evaluate(start.runs(), [params], [task], start.prompts, risks_and_attention)
    assert deviation(numbers["concentration"], alpha, delta, beta, length, start.kappa) < 1


def uniform(attention, latent):
    return torch.full_like(attention, 1 / attention.shape[-1]), latent.relevant


def of_the_other_class(attention, latent):
    other = latent.task.sum(-1) - latent.pattern[..., -1]
    return attention, latent.pattern[..., :-1] == other[..., None]


def one_column_off(attention, latent):
    return attention, latent.relevant.roll(1, -1)


def of_the_whole_task(attention, latent):
    context = latent.pattern[..., :-1, None]
    return attention, (context == latent.task[..., None, :]).any(-1)


def averaged(attention, latent):
    return attention / attention.shape[-1], latent.relevant


FAULTS = [uniform, of_the_other_class, one_column_off, of_the_whole_task, averaged]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_anywhere_in_the_chain_is_seen_before_training(fault):
    start, params = before_training(0.2, 3.0)
    task = start.task.on_unseen()

    def broken(trace, batch):
        attention, relevant = fault(trace.attention, batch.latent)
        return {"concentration": (attention * relevant).sum(-1)}

    numbers = evaluate(start.runs(), [params], [task], start.prompts, broken)
    assert deviation(numbers["concentration"], 0.8, 0.2, 3.0, 20, start.kappa) > 2


@pytest.mark.parametrize("wrong", [{"alpha": 0.72}, {"delta": 0.18}, {"beta": 2.7}])
def test_a_tenth_off_in_any_scalar_is_seen_before_training(wrong):
    start, params = before_training(0.2, 3.0)
    claimed = {"alpha": 0.8, "delta": 0.2, "beta": 3.0} | wrong
    tasks = [start.task]
    numbers = evaluate(start.runs(), [params], tasks, start.prompts, risks_and_attention)
    assert deviation(numbers["concentration"], **claimed, length=20, kappa=start.kappa) > 2
