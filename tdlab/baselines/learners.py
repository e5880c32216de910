"""Classical learners, each fitted on the examples of one prompt; many prompts at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from tdlab.baselines.expansion import gaussian, linear
from tdlab.baselines.labels import check_label
from tdlab.baselines.logistic import logistic
from tdlab.baselines.support_vectors import support_vectors

LEARNERS = ("logistic", "linear_svm", "gaussian_svm", "nearest_1", "nearest_3")
_FITTED = {
    "logistic": (linear, logistic),
    "linear_svm": (linear, support_vectors),
    "gaussian_svm": (gaussian, support_vectors),
}
_NEIGHBOURS = {"nearest_1": 1, "nearest_3": 3}
_NUMBERS = 2**21  # of the kernels held at once: more do not stay in a processor's cache


def classical(
    x: Float[Tensor, "b l d"],
    label: Float[Tensor, "b l"],
    query: Float[Tensor, "b d"],
    learners: tuple[str, ...] = LEARNERS,
) -> dict[str, Float[Tensor, " b"]]:
    """Each learner's prediction for each query, fitted on that prompt's own examples alone.

    The learners are those that scikit-learn has at its defaults, run to the end and in float64:
    ``LogisticRegression()``, ``SVC(kernel="linear")`` and ``SVC()``; and the nearest neighbours. A
    prompt with one class predicts it. Neighbours at equal distance count in context order, with
    fewer than three examples all vote, and a split vote goes to the nearest.

    Returns:
        Each learner's +1 or -1 for each prompt, under its name in ``LEARNERS``.

    Raises:
        ValueError: if a learner is unknown, shapes do not fit, the context is empty, a label is not
            +1 or -1, or a number is not finite.
        ArithmeticError: if a learner does not converge; features of order one help.
    """
    _check_prompts(x, label, query)
    if unknown := [name for name in learners if name not in LEARNERS]:
        raise ValueError(f"unknown learner {unknown[0]!r}; known are {', '.join(LEARNERS)}")
    mixed = label.amin(-1) != label.amax(-1)
    prompts = tuple(values[mixed].detach().double() for values in (x, label, query))
    predictions = {}
    for name in learners:
        predictions[name] = label[:, 0].clone()
        if mixed.any():
            k = _NEIGHBOURS.get(name)
            found = _nearest(k, *prompts) if k else scores(name, *prompts)
            predictions[name][mixed] = torch.where(found > 0, 1.0, -1.0).to(label)
    return predictions


def scores(
    name: str, x: Float[Tensor, "b l d"], label: Float[Tensor, "b l"], query: Float[Tensor, "b d"]
) -> Float[Tensor, " b"]:
    """What a fitted learner says of each query: its sign is the prediction, 0 the boundary.

    Returns:
        The score of each prompt, all of which must have both classes.
    """
    kernel, learner = _FITTED[name]
    size = max(1, _NUMBERS // label.shape[-1] ** 2)
    blocks = zip(*(values.split(size) for values in (x, label, query)), strict=True)
    found = []
    for examples, y, q in blocks:
        gram = kernel(examples, q)
        found.append(learner(gram.context, y).at(gram.query))
    return torch.cat(found)


def _nearest(
    k: int, x: Float[Tensor, "b l d"], label: Float[Tensor, "b l"], query: Float[Tensor, "b d"]
) -> Float[Tensor, " b"]:
    distance = (x - query[:, None]).square().sum(-1)
    votes = label.gather(-1, distance.argsort(dim=-1, stable=True)[:, :k])
    return (votes.sum(-1) + votes[:, 0] / 2).sign()  # the half decides a split vote, and only that


def _check_prompts(x: Tensor, label: Tensor, query: Tensor) -> None:
    if x.ndim != 3 or label.shape != x.shape[:2] or query.shape != (x.shape[0], x.shape[2]):
        raise ValueError(
            f"x has shape {[*x.shape]}, label {[*label.shape]}, query {[*query.shape]};"
            " need [b, l, d], [b, l] and [b, d]"
        )
    if x.shape[1] == 0:
        raise ValueError("the context has length 0; a learner needs at least one example")
    check_label(label)
    for name, values in (("x", x), ("query", query)):
        if not values.isfinite().all():
            place = (~values.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"{name}{place} is {values[tuple(place)]}; it must be finite")
