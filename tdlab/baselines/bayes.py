"""Bayes' predictor, which knows what draws the prompts."""

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from tdlab.baselines.labels import check_label


def bayes_optimal(
    pattern: Int[Tensor, "b l"],
    label: Float[Tensor, "b l"],
    query: Int[Tensor, " b"],
    tasks: Int[Tensor, "t 2"],
    alpha: float,
    patterns: int,
) -> Float[Tensor, " b"]:
    r"""The prediction of one who knows the task set and alpha, as a probability of +1.

    Patterns are orthogonal, so an input reveals its pattern and nothing else matters. Under task
    :math:`(a, b)` an example is *right*, (a, +1) or (b, -1), with probability :math:`\alpha/2`
    each; *wrong*, (a, -1) or (b, +1), never; and any *other* of the :math:`M_1` patterns with a
    given label with probability :math:`(1 - \alpha) / 2 (M_1 - 2)`. Counting each kind, and with
    :math:`q` the query's pattern,

    .. math::
        L_{ab} = (\alpha/2)^{n_\mathrm{right}}\, 0^{n_\mathrm{wrong}}
                 \Big(\frac{1 - \alpha}{2 (M_1 - 2)}\Big)^{n_\mathrm{other}}, \qquad
        P(z = +1) = \frac{\sum_{a = q} L_{ab}}{\sum_{a = q} L_{ab} + \sum_{b = q} L_{ab}}

    Tasks are uniform over the rows of ``tasks``. Computed in float64, in logarithms.

    Returns:
        The posterior :math:`P(z = +1 \mid \mathrm{prompt})`, float64.

    Raises:
        ValueError: if no task can produce a prompt, alpha is not in [0, 1], an index is not one
            of ``patterns``, a task repeats its pattern, shapes do not fit, or a label is not +-1.
    """
    _check_patterns(pattern, label, query, tasks, alpha, patterns)
    onehot = torch.nn.functional.one_hot(pattern.long(), patterns).double()
    positive = einsum(onehot, (label > 0).double(), "b l pattern, b l -> b pattern")
    negative = onehot.sum(1) - positive
    a, b = tasks.long().unbind(-1)

    right = positive[:, a] + negative[:, b]
    wrong = negative[:, a] + positive[:, b]
    other = pattern.shape[1] - right - wrong
    log_likelihood = (
        _log_power(alpha / 2, right)
        + _log_power(0.0, wrong)
        + _log_power((1 - alpha) / (2 * (patterns - 2)), other)
    )

    impossible = torch.tensor(-torch.inf, dtype=torch.float64)
    plus = torch.where(query[:, None] == a, log_likelihood, impossible).logsumexp(-1)
    minus = torch.where(query[:, None] == b, log_likelihood, impossible).logsumexp(-1)
    _refuse_impossible(torch.maximum(plus, minus))
    return (plus - minus).sigmoid()


def bayes_risk(posterior: Float[Tensor, "*b"], target: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Zero-one error of predicting the likelier sign: 0 or 1 per prompt, and 1/2 at a tie."""
    # Equal likelihoods round differently, so a tie is a posterior within 1e-9 of 1/2.
    sure = 2 * posterior - 1
    sign = torch.where(sure.abs() < 2e-9, 0.0, sure.sign())
    return (1 - sign * target.sign()) / 2


def _log_power(base: float, count: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """The logarithm of ``base ** count``, with ``0 ** 0`` equal to 1."""
    return torch.xlogy(count, torch.tensor(base, dtype=count.dtype))


def _check_patterns(
    pattern: Tensor, label: Tensor, query: Tensor, tasks: Tensor, alpha: float, patterns: int
) -> None:
    if label.shape != pattern.shape or query.shape != pattern.shape[:1] or tasks.shape[1:] != (2,):
        raise ValueError(
            f"pattern has shape {[*pattern.shape]}, label {[*label.shape]}, query {[*query.shape]},"
            f" tasks {[*tasks.shape]}; need [b, l], [b, l], [b] and [t, 2]"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must lie between 0 and 1")
    if patterns < 3:
        raise ValueError(f"patterns is {patterns}; a task and one other pattern need at least 3")
    for name, index in (("pattern", pattern), ("query", query), ("tasks", tasks)):
        if (wrong := index[(index < 0) | (index >= patterns)]).numel():
            raise ValueError(f"{name} holds index {wrong[0]}; it must lie in 0..{patterns - 1}")
    if (same := tasks[tasks[:, 0] == tasks[:, 1]]).numel():
        raise ValueError(f"task {same[0].tolist()} has one pattern for both labels; need two")
    check_label(label)


def _refuse_impossible(log_likelihood: Float[Tensor, " b"]) -> None:
    if (where := log_likelihood.isneginf().nonzero()).numel():
        raise ValueError(
            f"prompt {where[0].item()} ({len(where)} such of {len(log_likelihood)}) is impossible"
            " under every task given; are tasks and alpha those that drew it?"
        )
