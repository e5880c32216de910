"""What a prompt gives away without a transformer: classical learners, and the Bayes predictor.

Axes: b prompt, l context example, d feature, t task. Labels and predictions are +1 or -1.
"""

import warnings

import torch
from einops import einsum
from jaxtyping import Float, Int
from scipy.linalg import LinAlgWarning
from torch import Tensor

LEARNERS = ("logistic", "linear_svm", "gaussian_svm", "nearest_1", "nearest_3")
_NEIGHBOURS = {"nearest_1": 1, "nearest_3": 3}


def classical(
    x: Float[Tensor, "b l d"],
    label: Float[Tensor, "b l"],
    query: Float[Tensor, "b d"],
    learners: tuple[str, ...] = LEARNERS,
) -> dict[str, Float[Tensor, " b"]]:
    """Each learner's prediction for each query, fitted on that prompt's own examples alone.

    The learners are scikit-learn's at their defaults: ``LogisticRegression()`` (run to the end),
    ``SVC(kernel="linear")`` and ``SVC()``; and the nearest neighbours. A prompt with one class
    predicts it. Neighbours at equal distance count in context order, with fewer than three
    examples all vote, and a split vote goes to the nearest.

    Returns:
        Each learner's +1 or -1 for each prompt, under its name in ``LEARNERS``.

    Raises:
        ValueError: if a learner is unknown, shapes do not fit, the context is empty, a label is not
            +1 or -1, or a number is not finite.
        ModuleNotFoundError: if scikit-learn is missing and more than neighbours are asked for.
        ConvergenceWarning, LinAlgWarning: scikit-learn's and SciPy's, as errors, if logistic
            regression does not converge; features of order one help.
    """
    _check_prompts(x, label, query)
    if unknown := [name for name in learners if name not in LEARNERS]:
        raise ValueError(f"unknown learner {unknown[0]!r}; known are {', '.join(LEARNERS)}")
    mixed = label.amin(-1) != label.amax(-1)
    prompts = tuple(values[mixed].detach().cpu().double() for values in (x, label, query))
    predictions = {}
    for name in learners:
        predictions[name] = label[:, 0].clone()
        if mixed.any():
            k = _NEIGHBOURS.get(name)
            found = _nearest(k, *prompts) if k else _fitted(name, *prompts)
            predictions[name][mixed] = found.to(label)
    return predictions


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


def _fitted(
    name: str, x: Float[Tensor, "b l d"], label: Float[Tensor, "b l"], query: Float[Tensor, "b d"]
) -> Float[Tensor, " b"]:
    """Predictions of a scikit-learn estimator, fitted prompt by prompt."""
    try:
        import sklearn
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import SVC
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs scikit-learn: pip install tdlab[baselines]"
        ) from error
    estimator = {
        # The default solver takes as long, and leaves scores wrong by up to 0.01.
        "logistic": LogisticRegression(solver="newton-cholesky", tol=1e-9),
        "linear_svm": SVC(kernel="linear"),
        "gaussian_svm": SVC(),
    }[name]
    prompts = zip(x.numpy(), label.numpy(), query[:, None].numpy(), strict=True)
    # `classical` has checked the numbers already, and doing it again costs as much as some fits.
    with (
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
        warnings.catch_warnings(),
    ):
        for category in (ConvergenceWarning, LinAlgWarning):
            warnings.simplefilter("error", category)
        found = [estimator.fit(examples, y).predict(q)[0] for examples, y, q in prompts]
    return torch.tensor(found, dtype=label.dtype)


def _nearest(
    k: int, x: Float[Tensor, "b l d"], label: Float[Tensor, "b l"], query: Float[Tensor, "b d"]
) -> Float[Tensor, " b"]:
    distance = (x - query[:, None]).square().sum(-1)
    votes = label.gather(-1, distance.argsort(dim=-1, stable=True)[:, :k])
    return (votes.sum(-1) + votes[:, 0] / 2).sign()  # the half decides a split vote, and only that


def _log_power(base: float, count: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """The logarithm of ``base ** count``, with ``0 ** 0`` equal to 1."""
    return torch.xlogy(count, torch.tensor(base, dtype=count.dtype))


def _check_prompts(x: Tensor, label: Tensor, query: Tensor) -> None:
    if x.ndim != 3 or label.shape != x.shape[:2] or query.shape != (x.shape[0], x.shape[2]):
        raise ValueError(
            f"x has shape {[*x.shape]}, label {[*label.shape]}, query {[*query.shape]};"
            " need [b, l, d], [b, l] and [b, d]"
        )
    if x.shape[1] == 0:
        raise ValueError("the context has length 0; a learner needs at least one example")
    _check_label(label)
    for name, values in (("x", x), ("query", query)):
        if not values.isfinite().all():
            place = (~values.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"{name}{place} is {values[tuple(place)]}; it must be finite")


def _check_label(label: Tensor) -> None:
    if (wrong := label[label.abs() != 1]).numel():
        raise ValueError(f"a label is {wrong[0]:g}; labels are +1 or -1")


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
    _check_label(label)


def _refuse_impossible(log_likelihood: Float[Tensor, " b"]) -> None:
    if (where := log_likelihood.isneginf().nonzero()).numel():
        raise ValueError(
            f"prompt {where[0].item()} ({len(where)} such of {len(log_likelihood)}) is impossible"
            " under every task given; are tasks and alpha those that drew it?"
        )
