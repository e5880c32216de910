"""The in-context-learning study: the chain from task to probe, tables, and what training reaches.

A table is held against `naive`: one member, one prompt after the other, the paper's formula in
float64, on prompts that `synthetic_tasks.sample` draws without the study.
"""

import itertools
import math
import re
from collections import Counter
from dataclasses import fields, replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from synthetic_tasks import Batch, InContextClassification, OutOfDomain, sample
from synthetic_tasks.threefry import stream
from synthetic_tasks.value import value
from tdlab.baselines import LEARNERS
from tdlab.studies.evaluation import evaluate, prompts, risks, risks_and_attention
from tdlab.studies.icl import (
    PRESETS,
    attention_pruning,
    coverage,
    coverage_tasks,
    dynamics,
    learners,
    neurons,
    out_of_domain,
    outside_span,
    prompt_shift,
    pruning,
    setting,
    shift,
    training_loss,
)
from tdlab.studies.icl.classical import BAYES, TRANSFORMER
from tdlab.studies.icl.coverage import task_sets, unseen_by_all
from tdlab.studies.icl.pruning import FRACTIONS
from tdlab.studies.icl.shift import (
    ALPHAS,
    COEFFICIENT_SUMS,
    KAPPAS,
    LENGTHS,
    MIXED,
    OUTSIDE,
    pairings,
)
from tdlab.sweep import final, trained
from tdlab.theory import li2024

TIDY = ["run", "seed", "step", "quantity", "source", "value"]
RISKS = {"hinge", "zero_one"}
MEASURED = RISKS | {"concentration", "entropy"}
PROMPT_SHIFTS = {"alpha": ALPHAS, "length": LENGTHS, "kappa": KAPPAS}

# float32 keeps 6e-8 of each number; an output is four products deep, of at most 60 terms each.
ROUNDING = 4 * 60 * 6e-8

# A generic point: no value is a default, and the seeds do not start at 0.
TINY = setting(
    "quick",
    seeds=2,
    first_seed=3,
    steps=5,
    snapshots=3,
    prompts=32,
    classical_prompts=12,
    lengths=(3, 7),
    length=4,
    alpha=0.7,
    kappa=0.4,
    beta=2.5,
    delta=0.17,
    neurons=48,
)
LEARNED = setting(
    "quick", seeds=3, steps=250, snapshots=3, prompts=400, classical_prompts=90, lengths=(6,)
)


@pytest.fixture(scope="module")
def tiny():
    return trained(TINY.runs())


@pytest.fixture(scope="module")
def learned():
    return trained(LEARNED.runs())


def where(table, **values):
    for name, wanted in values.items():
        table = table[table[name] == wanted]
    return table


def number(table, **values):
    (only,) = where(table, **values)["value"].tolist()
    return only


def assert_tidy(table, *axes, key):
    """The promised columns, one row for each point of the key, and nothing unmeasured."""
    assert list(table.columns[:6]) == TIDY
    assert set(axes) <= set(table.columns)
    measured = where(table, source="measured")
    assert not measured.duplicated(["quantity", "seed", "step", *key]).any()
    assert measured["value"].notna().all()
    assert set(table["source"]) <= {"measured", "theory"}


class Naive(NamedTuple):
    """What one member does with some prompts of its own, one after the other."""

    hinge: float
    zero_one: float
    concentration: float
    entropy: float


def on_prompts(params, batch):
    """Output and attention on each prompt, by the paper's formula in float64."""
    p = {name: leaf.double().numpy() for name, leaf in params.items()}
    for prompt in batch.prompt.double().numpy():
        context, query = prompt[:-1], prompt[-1]
        scores = [(p["W_K"] @ column) @ (p["W_Q"] @ query) for column in context]
        attention = np.exp(scores) / np.exp(scores).sum()
        pooled = sum(share * (p["W_V"] @ x) for share, x in zip(attention, context, strict=True))
        yield p["a"] @ np.maximum(0, p["W_O"] @ pooled), attention


def naive(params, batch, chosen=lambda b: True):
    rows = []
    for b, (output, attention) in enumerate(on_prompts(params, batch)):
        if chosen(b):
            z, relevant = batch.target[b].item(), batch.latent.relevant[b].tolist()
            mass = sum(a for a, is_one in zip(attention, relevant, strict=True) if is_one)
            surprise = -sum(a * math.log(a) for a in attention)
            rows.append((max(0.0, 1 - z * output), float(z * output <= 0), mass, surprise))
    return Naive(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))


def assert_agree(table, expected, quantities=MEASURED):
    """One row of each quantity, and each is the naive one."""
    assert set(table["quantity"]) == set(quantities)
    for quantity in quantities:
        assert number(table, quantity=quantity) == pytest.approx(
            getattr(expected, quantity), abs=ROUNDING
        )


# The chain from task to probe: attention before training.

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
    numbers = evaluate(start.runs(), [params], [task] * 2, start.prompts, risks_and_attention)
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

    numbers = evaluate(start.runs(), [params], [task] * 2, start.prompts, broken)
    assert deviation(numbers["concentration"], 0.8, 0.2, 3.0, 20, start.kappa) > 2


@pytest.mark.parametrize("wrong", [{"alpha": 0.72}, {"delta": 0.18}, {"beta": 2.7}])
def test_a_tenth_off_in_any_scalar_is_seen_before_training(wrong):
    start, params = before_training(0.2, 3.0)
    claimed = {"alpha": 0.8, "delta": 0.2, "beta": 3.0} | wrong
    tasks = [start.task] * 2
    numbers = evaluate(start.runs(), [params], tasks, start.prompts, risks_and_attention)
    assert deviation(numbers["concentration"], **claimed, length=20, kappa=start.kappa) > 2


# Evaluation prompts.


def joined(blocks):
    """Prompts and targets of all blocks, (member, prompt, ...)."""
    blocks = list(blocks)
    return tuple(
        torch.cat([getattr(block, name) for block in blocks], dim=1)
        for name in ("prompt", "target", "mask")
    )


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        assert left.equal(right)


def test_prompts_are_a_function_of_task_and_seed():
    runs = TINY.runs()
    retrained = replace(TINY, steps=1, lr=0.3, neurons=8).runs()
    tasks = [TINY.task] * 2
    assert_same(joined(prompts(tasks, runs, 20)), joined(prompts(tasks, retrained, 20)))
    first, second = joined(prompts(tasks, runs, 20))[0]
    assert not first.equal(second)


def test_prompts_of_a_member_are_the_same_alone_and_beside_others():
    runs = LEARNED.runs()
    tasks = [replace(LEARNED.task, alpha=alpha, beta=beta) for alpha, beta in
             ((0.6, 3.0), (0.9, 2.0), (0.7, 3.5))]  # fmt: skip
    together = joined(prompts(tasks, runs, 300))
    for member, (task, run) in enumerate(zip(tasks, runs, strict=True)):
        alone = joined(prompts([task], [run], 300))
        assert_same([leaf[member] for leaf in together], [leaf[0] for leaf in alone])


def test_prompts_are_those_that_the_task_draws_by_itself():
    drawn = joined(prompts([TINY.task] * 2, TINY.runs(), 20))
    for member, run in enumerate(TINY.runs()):
        alone = sample(TINY.task, seed=run.seed, size=20)
        assert_same([leaf[member] for leaf in drawn], [alone.prompt, alone.target, alone.mask])


@pytest.mark.parametrize(("few", "many"), [(10, 300), (300, 700), (256, 257), (1, 2)])
def test_the_first_prompts_of_many_are_those_of_few(few, many):
    tasks, runs = [TINY.task] * 2, TINY.runs()
    longer = joined(prompts(tasks, runs, many))
    assert longer[0].shape[1] == many
    assert_same([leaf[:, :few] for leaf in longer], joined(prompts(tasks, runs, few)))


def test_prompts_are_held_in_blocks_of_bounded_size_and_no_block_is_repeated():
    sizes, seen = [], set()
    for block in prompts([TINY.task] * 2, TINY.runs(), 1100):
        sizes.append(block.prompt.shape[1])
        seen |= {tuple(prompt.flatten().tolist()) for prompt in block.prompt.flatten(0, 1)}
    assert max(sizes) <= 256
    assert sum(sizes) == 1100
    assert len(seen) == 2 * 1100


def test_no_evaluation_prompt_was_trained_on():
    asked = joined(prompts([TINY.task] * 2, TINY.runs(), 256))[0]
    for run, its_own in zip(TINY.runs(), asked, strict=True):
        seen = [
            sample(TINY.task, seed=run.seed, size=100, step=step, name="train").prompt
            for step in range(TINY.steps)
        ]
        assert torch.cdist(its_own.flatten(1), torch.cat(seen).flatten(1)).min() > 0.01


def test_every_variant_meets_the_same_prompts_and_has_numbers_of_its_own(tiny):
    runs = TINY.runs()
    start, end = (
        {name: torch.stack([r.at(s)[name] for r in tiny]) for name in tiny[0].final} for s in (0, 5)
    )
    tasks = [TINY.task] * 2
    both = evaluate(runs, [start, end], tasks, 300, risks)
    alone = evaluate(runs, [end], tasks, 300, risks)
    assert both["hinge"].shape == (2, 2, 300)
    for name, numbers in alone.items():
        torch.testing.assert_close(both[name][1:], numbers)
    assert not both["hinge"][0].equal(both["hinge"][1])


# Tables of the training.


def test_dynamics_has_a_row_for_each_quantity_seed_snapshot_and_task_set(tiny):
    table = dynamics(TINY, tiny)
    assert_tidy(table, "tasks", key=["tasks"])
    measured = where(table, source="measured")
    counts = Counter(measured["quantity"])
    assert counts == dict.fromkeys(MEASURED, len(tiny[0].steps) * 2 * 2)
    assert set(measured["step"]) == set(tiny[0].steps)
    assert set(zip(measured["seed"], measured["run"], strict=True)) == {
        (result.run.seed, result.run.id) for result in tiny
    }


@pytest.mark.parametrize("tasks", ["trained", "unseen"])
def test_dynamics_is_what_a_plain_loop_over_prompts_gives(tiny, tasks):
    table = where(dynamics(TINY, tiny), source="measured", tasks=tasks)
    everything = itertools.permutations(range(6), 2)
    cyclic = [(a, (a + 1) % 6) for a in range(6)]
    pairs = cyclic if tasks == "trained" else [p for p in everything if p not in cyclic]
    task = replace(TINY.task, tasks=tuple(pairs), coverage="violated")
    batch = sample(task, seed=4, size=TINY.prompts)
    for step in (0, tiny[1].steps[-2], 5):
        assert_agree(where(table, seed=4, step=step), naive(tiny[1].at(step), batch))


def test_dynamics_predicts_the_start_and_the_limits(tiny):
    theory = where(dynamics(TINY, tiny), source="theory")
    assert set(theory["tasks"]) == {"unseen"}
    assert len(theory) == 4
    start = number(theory, quantity="concentration", step=0)
    assert start == li2024.initial_concentration(0.7, 0.17, 2.5, 4)
    assert number(theory, quantity="concentration", step=5) == 1.0
    assert number(theory, quantity="hinge", step=5) == 0.0
    assert number(theory, quantity="zero_one", step=5) == 0.0


def test_training_loss_has_every_step_of_every_run(tiny):
    table = training_loss(tiny)
    assert_tidy(table, key=[])
    assert len(table) == 2 * 5
    assert set(table["quantity"]) == {"loss"}
    for result in tiny:
        its_own = where(table, seed=result.run.seed, run=result.run.id).sort_values("step")
        assert its_own["step"].tolist() == [0, 1, 2, 3, 4]
        assert its_own["value"].tolist() == result.loss.double().tolist()


def test_the_first_training_loss_is_the_mean_hinge_of_the_first_training_batch(tiny):
    batch = sample(TINY.task, seed=4, size=TINY.batch, step=0, name="train")
    expected = naive(tiny[1].at(0), batch).hinge
    assert number(training_loss(tiny), seed=4, step=0) == pytest.approx(expected, abs=ROUNDING)


def degrees_between(one, other):
    cosine = one @ other / math.sqrt((one @ one) * (other @ other))
    return math.degrees(math.acos(cosine))


def test_neurons_has_angle_and_norm_of_both_parts_of_every_row(tiny):
    table = neurons(TINY, tiny)
    assert_tidy(table, "neuron", "sign", "part", key=["neuron", "part"])
    measured = where(table, source="measured")
    assert len(measured) == 2 * 2 * 2 * len(tiny[0].steps) * 48
    world = TINY.task.world(stream(4, "world"))
    for step, neuron in ((0, 7), (5, 0), (5, 31), (5, 47)):
        params = {name: leaf.double().numpy() for name, leaf in tiny[1].at(step).items()}
        row, sign = params["W_O"][neuron] @ params["W_V"], math.copysign(1, params["a"][neuron])
        here = where(measured, seed=4, step=step, neuron=neuron)
        feature, label = (where(here, part=part) for part in ("feature", "label"))
        assert set(here["sign"]) == {sign}
        mean_pattern = world.relevant.numpy().mean(0)
        # 1e-3 degrees are 2e-5 of a unit vector: float32 on either side.
        assert number(feature, quantity="angle") == pytest.approx(
            degrees_between(row[:30], mean_pattern), abs=1e-3
        )
        assert number(label, quantity="angle") == pytest.approx(
            degrees_between(row[30:], sign * world.label.numpy()), abs=1e-3
        )
        for part, piece in ((feature, row[:30]), (label, row[30:])):
            assert number(part, quantity="norm") == pytest.approx(math.hypot(*piece), rel=1e-5)


def test_neurons_are_predicted_to_point_along_both_directions(tiny):
    theory = where(neurons(TINY, tiny), source="theory")
    assert theory[["quantity", "part", "step", "value"]].to_numpy().tolist() == [
        ["angle", "feature", 5, 0.0],
        ["angle", "label", 5, 0.0],
    ]


# Tables of the shifts.


@pytest.mark.parametrize("name", PROMPT_SHIFTS)
def test_prompt_shift_is_what_a_plain_loop_gives_at_every_value(tiny, name):
    table = prompt_shift(TINY, tiny, name)
    assert_tidy(table, name, key=[name])
    measured = where(table, source="measured")
    assert len(measured) == len(MEASURED) * len(PROMPT_SHIFTS[name]) * 2
    assert set(measured["step"]) == {5}
    for x in PROMPT_SHIFTS[name][::2]:
        shifted: dict[str, Any] = {name: x}
        task = replace(TINY.task.on_unseen(), **shifted)
        batch = sample(task, seed=3, size=TINY.prompts)
        assert_agree(where(measured, seed=3, **{name: x}), naive(tiny[0].final, batch))


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("alpha", {0.4, 0.6, 0.8, 1.0}),  # 4 >= 1 / alpha', so not 0.2
        ("length", {5.0, 10.0, 20.0, 40.0, 80.0}),  # all above 1 / 0.7
        ("kappa", {0.25}),  # at most the 0.4 of training
    ],
)
def test_prompt_shift_predicts_where_the_condition_holds_and_nowhere_else(tiny, name, covered):
    theory = where(prompt_shift(TINY, tiny, name), source="theory")
    assert set(theory[name]) == covered
    assert set(theory["value"]) == {0.0}
    assert set(theory["quantity"]) == {"hinge"}


def test_outside_span_is_what_a_plain_loop_gives(tiny):
    table = outside_span(TINY, tiny)
    assert_tidy(table, "outside", key=["outside"])
    assert len(table) == len(MEASURED) * len(OUTSIDE) * 2
    for r in (0.0, 0.6):
        mixing = OutOfDomain(trained=TINY.task, coefficient_sum=MIXED, outside=r)
        batch = sample(mixing, seed=4, size=TINY.prompts)
        assert_agree(where(table, seed=4, outside=r), naive(tiny[1].final, batch))


def test_outside_span_starts_from_queries_that_mix_two_patterns(tiny, monkeypatch):
    # At a coefficient sum of 1 a mixture is one trained pattern alone, which shifts nothing.
    assert MIXED > li2024.bound_shift_threshold() == 1
    assert MIXED in COEFFICIENT_SUMS
    module, asked = import_module("tdlab.studies.icl.shift"), []

    def spy(runs, variants, tasks, *rest):
        asked.extend(tasks)
        return evaluate(runs, variants, tasks, *rest)

    monkeypatch.setattr(module, "evaluate", spy)
    outside_span(replace(TINY, prompts=2), tiny)
    assert {(task.coefficient_sum, task.outside) for task in asked} == {(MIXED, r) for r in OUTSIDE}
    relevant = TINY.task.world(stream(4, "world")).relevant
    for task, mixes in ((asked[0], True), (replace(asked[0], coefficient_sum=1.0), False)):
        batch = sample(task, seed=4, size=20)
        share = batch.prompt[:, -1, :30].double() @ relevant.T / (relevant[0] @ relevant[0])
        assert ((share.topk(2).values[:, 1] > 0.1) == mixes).all()


def pair_behind_the_query(task, seed, batch):
    """The two IDR patterns that the query of each prompt mixes, read off the prompt itself."""
    relevant = TINY.task.world(stream(seed, "world")).relevant  # the trained member's, mu
    share = (batch.prompt[:, -1, :30].double() @ relevant.T).abs()
    return [frozenset(row.topk(2).indices.tolist()) for row in share]


@pytest.fixture(scope="module")
def mixed(tiny):
    return out_of_domain(TINY, tiny)


@pytest.mark.parametrize("pairing", pairings(6))
def test_out_of_domain_separates_queries_whose_pair_was_a_training_task(tiny, mixed, pairing):
    table = where(mixed, source="measured", pairing=pairing)
    neighbours = {frozenset((a, (a + 1) % 6)) for a in range(6)}
    task = OutOfDomain(trained=TINY.task, coefficient_sum=0.7, pairing=pairings(6)[pairing])
    for member, seed in enumerate((3, 4)):
        batch = sample(task, seed=seed, size=TINY.prompts)
        pairs = pair_behind_the_query(task, seed, batch)
        found = {"trained" if pair in neighbours else "other" for pair in pairs}
        here = where(table, seed=seed, coefficient_sum=0.7)
        assert set(here["pair"]) == found | {"any"}
        assert_agree(where(here, pair="any"), naive(tiny[member].final, batch))
        for kind in found:
            chosen = [(pair in neighbours) == (kind == "trained") for pair in pairs]
            expected = naive(tiny[member].final, batch, chosen.__getitem__)
            assert_agree(where(here, pair=kind), expected)


def test_drawn_pairings_differ_between_seeds_and_some_mix_both_kinds(mixed):
    many = [OutOfDomain(trained=TINY.task).pairs(stream(seed, "world")) for seed in range(12)]
    assert len({str(pairs.tolist()) for pairs in many}) == 12
    kinds = where(mixed, source="measured", pairing="drawn")
    assert set(kinds["pair"]) == {"trained", "other", "any"}


def test_any_pair_weights_every_prompt_alike_and_not_every_kind(mixed):
    # One pair in three was a training task: the mean of two kinds would weight its prompts twice.
    table = where(mixed, source="measured", pairing="drawn", quantity="concentration")
    values = table.pivot(index=["seed", "coefficient_sum"], columns="pair", values="value").dropna()
    assert len(values)
    share = (values["any"] - values["other"]) / (values["trained"] - values["other"])
    # A share of the 32 prompts, as far as the difference of the kinds resolves it.
    resolved = (values["trained"] - values["other"]).abs() > 1e-3
    prompts_ = share[resolved] * TINY.prompts
    assert resolved.any()
    np.testing.assert_allclose(prompts_, prompts_.round(), atol=32 * ROUNDING / 1e-3)
    assert (prompts_.round() != TINY.prompts / 2).any()


def test_named_pairings_are_made_of_training_tasks_or_of_none():
    cyclic = {frozenset((a, (a + 1) % 6)) for a in range(6)}
    named = pairings(6)
    for name, expected in (("neighbours", cyclic), ("opposite", set())):
        pairs = {frozenset(pair) for pair in named[name]}
        assert len(pairs) == 3
        assert set().union(*pairs) == set(range(6))
        assert pairs & cyclic == pairs & expected == (pairs if expected else set())


def test_out_of_domain_has_every_coefficient_sum_and_predicts_from_the_threshold(mixed):
    key = ["coefficient_sum", "pairing", "pair"]
    assert_tidy(mixed, *key, key=key)
    measured, theory = (where(mixed, source=source) for source in ("measured", "theory"))
    for pairing in ("neighbours", "opposite"):
        each = where(measured, pairing=pairing)
        assert len(each) == 2 * len(MEASURED) * len(COEFFICIENT_SUMS) * 2  # its kind, and any
        assert set(each["pair"]) == {"any", {"neighbours": "trained"}.get(pairing, "other")}
    anyone = where(measured, pair="any")
    assert len(anyone) == 3 * len(MEASURED) * len(COEFFICIENT_SUMS) * 2
    assert set(theory["coefficient_sum"]) == {1.0, 1.1, 1.2, 1.3, 1.4}
    assert set(theory["value"]) == {0.0}


def test_shift_is_all_shifts_in_one_table_and_says_which(tiny, mixed):
    table = shift(TINY, tiny)
    parts = {
        "coefficient_sum": mixed,
        "outside": outside_span(TINY, tiny),
        **{name: prompt_shift(TINY, tiny, name) for name in PROMPT_SHIFTS},
    }
    assert Counter(table["shift"]) == {name: len(part) for name, part in parts.items()}
    for name, part in parts.items():
        here = where(table, shift=name)
        assert here["value"].tolist() == part["value"].tolist()
        assert here[name].notna().all()


# Tables of the pruning.


def without(params, name, dead):
    """Parameters with those rows at zero."""
    weights = params[name].clone()
    for row in dead:
        weights[row] = 0
    return params | {name: weights}


@pytest.fixture(scope="module")
def pruned_table(learned):
    return pruning(replace(LEARNED, prompts=200), learned)


@pytest.fixture(scope="module")
def unseen_batch():
    """Prompts of the second member at alpha' = 0.6, where the others are at 0.8."""
    task = replace(LEARNED.task.on_unseen(), alpha=0.6)
    return sample(task, seed=1, size=256)


@pytest.fixture(scope="module")
def one_block(learned):
    """The second member's table on one block of prompts, so that `sample` draws them all."""
    return pruning(replace(LEARNED, prompts=256), learned[1:2])


def test_pruning_has_a_row_for_each_order_fraction_alpha_and_seed(pruned_table):
    assert_tidy(
        pruned_table, "fraction", "order", "alpha", "large", key=["order", "fraction", "alpha"]
    )
    measured = where(pruned_table, source="measured")
    each = {(risk, alpha, seed) for risk in RISKS for alpha in (0.6, 0.8, 1.0) for seed in range(3)}
    for order in ("smallest", "random", "largest", "all small"):
        rows = where(measured, order=order)
        points = Counter(zip(rows["quantity"], rows["alpha"], rows["seed"], strict=True))
        assert points == dict.fromkeys(each, 1 if order == "all small" else len(FRACTIONS))
        if order != "all small":
            assert set(rows["fraction"]) == set(FRACTIONS)


@pytest.mark.parametrize("order", ["smallest", "largest"])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_pruned_risk_is_what_a_plain_loop_gives(learned, one_block, unseen_batch, order, fraction):
    params = learned[1].final
    norms = [math.hypot(*row) for row in params["W_O"].double().tolist()]
    by_norm = sorted(range(64), key=norms.__getitem__, reverse=order == "largest")
    expected = naive(without(params, "W_O", by_norm[: round(64 * fraction)]), unseen_batch)
    here = where(one_block, source="measured", alpha=0.6, order=order, fraction=fraction)
    assert_agree(here, expected, RISKS)


def test_nothing_pruned_is_the_same_in_every_order(pruned_table):
    nothing = where(pruned_table, fraction=0.0, source="measured")
    spread = nothing.groupby(["quantity", "alpha", "seed"])["value"].agg(["min", "max", "size"])
    assert (spread["size"] == 3).all()
    assert (spread["min"] == spread["max"]).all()


def test_all_small_prunes_every_row_whose_label_part_is_short(learned, one_block, unseen_batch):
    params = learned[1].final
    rows = params["W_O"].double().numpy() @ params["W_V"].double().numpy()
    small = [m for m in range(64) if math.hypot(*rows[m, 30:]) <= 0.1]
    assert 0 < len(small) < 32
    here = where(one_block, source="measured", alpha=0.6, order="all small")
    assert set(here["fraction"]) == {len(small) / 64}  # sixty-fourths are exact
    assert set(here["large"]) == {1 - len(small) / 64}
    assert_agree(here, naive(without(params, "W_O", small), unseen_batch), RISKS)


def test_a_member_alone_loses_the_same_random_rows_as_beside_others(learned):
    few = replace(LEARNED, prompts=40)
    tables = [pruning(few, results) for results in (learned[1:2], learned)]
    alone, together = (
        where(table, source="measured", order="random", seed=1).sort_values(
            ["quantity", "alpha", "fraction"]
        )["value"]
        for table in tables
    )
    np.testing.assert_allclose(alone, together, atol=ROUNDING)


def test_copies_of_a_member_under_two_seeds_lose_different_random_rows(learned, monkeypatch):
    seen = []

    def spy(runs, variants, *rest):
        seen.append([(params["W_O"] == 0).all(-1) for params in variants])
        return evaluate(runs, variants, *rest)

    # The name `tdlab.studies.icl.pruning` is the function; its module is asked for by import.
    monkeypatch.setattr(import_module("tdlab.studies.icl.pruning"), "evaluate", spy)
    twins = [replace(learned[1], run=result.run) for result in learned[:2]]
    pruning(replace(LEARNED, prompts=2), twins)
    differ = [gone for gone in seen[0] if not gone[0].equal(gone[1])]
    assert len(differ) == len(FRACTIONS) - 1  # the random order, and wherever something is pruned
    assert [gone.sum(-1).tolist() for gone in differ] == [
        [round(64 * fraction)] * 2 for fraction in FRACTIONS[1:]
    ]


def test_pruned_hinge_is_predicted_by_equal_shares_of_the_large_neurons(
    learned, one_block, unseen_batch
):
    table = where(one_block, alpha=0.6)
    theory = where(table, source="theory")
    assert set(theory["quantity"]) == {"hinge"}
    assert set(theory["order"]) == {"smallest", "random", "largest"}
    (large,) = set(where(table, source="measured")["large"])
    outputs = [output for output, _ in on_prompts(learned[1].final, unseen_batch)]
    margins = np.array(outputs) * unseen_batch.target.numpy()
    for fraction in FRACTIONS:
        lost = {
            "largest": min(1.0, fraction / large),
            "smallest": max(0.0, fraction - (1 - large)) / large,
            "random": fraction,
        }
        for order, share in lost.items():
            expected = sum(max(0.0, 1 - (1 - share) * m) for m in margins) / len(margins)
            measured = number(theory, order=order, fraction=fraction)
            assert measured == pytest.approx(expected, abs=ROUNDING)


def test_members_without_a_large_neuron_are_pruned_all_the_same(tiny):
    table = pruning(TINY, tiny)
    assert_tidy(table, key=["order", "fraction", "alpha"])
    assert set(where(table, source="measured")["large"]) == {0.0}
    assert set(where(table, order="all small")["fraction"]) == {1.0}


def test_attention_pruning_is_what_a_plain_loop_gives(tiny):
    table = attention_pruning(TINY, tiny)
    assert_tidy(table, "fraction", "matrix", key=["fraction", "matrix"])
    fractions = (*FRACTIONS, 0.95, 0.99)
    assert len(table) == len(RISKS) * 2 * len(fractions) * 2
    assert set(table["fraction"]) == set(fractions)
    batch = sample(TINY.task.on_unseen(), seed=4, size=TINY.prompts)
    for matrix, fraction in (("W_Q", 0.0), ("W_Q", 0.99), ("W_K", 0.95)):
        params = tiny[1].final
        weights = params[matrix].flatten().tolist()
        order = sorted(range(len(weights)), key=lambda place: abs(weights[place]))
        flat = without({"flat": params[matrix].flatten()}, "flat", order[: round(3600 * fraction)])
        changed = params | {matrix: flat["flat"].reshape(60, 60)}
        here = where(table, seed=4, matrix=matrix, fraction=fraction)
        assert_agree(here, naive(changed, batch), RISKS)


# Tables of the comparisons.


@pytest.mark.parametrize("count", [5, 6, 9])
def test_task_sets_are_equally_large_and_leave_out_what_they_say(count):
    sets = task_sets(count)
    assert list(sets) == ["nothing", "a pattern", "a label"]
    shown = {}
    for left_out, pairs in sets.items():
        assert len(pairs) == len(set(pairs)) == count
        assert all(a != b and {a, b} <= set(range(count)) for a, b in pairs)
        plus, minus = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
        shown[left_out] = [(plus[j], minus[j]) for j in range(count)]
    assert shown["nothing"] == [(1, 1)] * count
    assert shown["a pattern"][-1] == (0, 0)
    assert all(min(both) >= 1 for both in shown["a pattern"][:-1])
    assert shown["a label"][-1] == (0, 1)
    assert all(min(both) >= 1 for both in shown["a label"][:-1])


@pytest.mark.parametrize("count", [5, 6, 9])
def test_the_tasks_that_are_in_no_set_are_all_the_others(count):
    task = unseen_by_all(replace(TINY, relevant=count))
    trained_on = set().union(*task_sets(count).values())
    everything = set(itertools.permutations(range(count), 2))
    assert len(set(task.pairs)) == len(task.pairs)
    assert set(task.pairs) == everything - trained_on
    assert not set(task.pairs) & trained_on
    assert {j for pair in task.pairs for j in pair} == set(range(count))  # no pattern is missing


def test_coverage_measures_all_sets_on_the_same_tasks_that_are_in_none():
    tasks = coverage_tasks(TINY)
    assert {name: task.pairs for name, task in tasks.items()} == task_sets(6)
    results = {name: trained(TINY.runs(task)) for name, task in tasks.items()}
    table = coverage(TINY, results)
    assert_tidy(table, "left_out", key=["left_out"])
    assert len(table) == len(RISKS) * 3 * 2
    in_some = set().union(*task_sets(6).values())
    rest = tuple(p for p in itertools.permutations(range(6), 2) if p not in in_some)
    same = replace(TINY.task, tasks=rest, coverage="violated")
    batch = sample(same, seed=4, size=TINY.prompts)
    for left_out in task_sets(6):
        expected = naive(results[left_out][1].final, batch)
        assert_agree(where(table, left_out=left_out, seed=4), expected, RISKS)


@pytest.fixture(scope="module")
def learners_table(tiny):
    return learners(TINY, tiny)


def test_learners_has_a_row_for_each_learner_length_alpha_kappa_and_seed(learners_table):
    assert_tidy(
        learners_table,
        *("learner", "length", "alpha", "kappa"),
        key=["learner", "length", "alpha", "kappa"],
    )
    points = itertools.product(
        [TRANSFORMER, BAYES, *LEARNERS], (3, 7), (0.6, 0.8), (0.5, 1.0, 2.0), (3, 4)
    )
    columns = [learners_table[name] for name in ("learner", "length", "alpha", "kappa", "seed")]
    assert Counter(zip(*columns, strict=True)) == Counter(points)
    sources = set(zip(learners_table["learner"], learners_table["source"], strict=True))
    names = (TRANSFORMER, *LEARNERS)
    assert sources == {(BAYES, "theory")} | {(name, "measured") for name in names}


def nearest_label(batch, b):
    """The label of the context example whose input lies nearest to the query's."""
    x, labels = batch.prompt[b, :, :30].double(), batch.latent.label[b].tolist()
    far = [((column - x[-1]) ** 2).sum().item() for column in x[:-1]]
    return labels[far.index(min(far))]


def bayes_error(task, batch, b):
    """The error of the likelier sign, every task of the set being as likely beforehand."""
    *context, query = batch.latent.pattern[b].tolist()
    labels = batch.latent.label[b].tolist()
    likelihood = {1.0: 0.0, -1.0: 0.0}
    for plus, minus in task.pairs:
        if query in (plus, minus):
            each = [
                ({plus: 1.0, minus: -1.0}[j] == y) * task.alpha / 2
                if j in (plus, minus)
                else (1 - task.alpha) / 4 / 2  # four other patterns, two labels
                for j, y in zip(context, labels, strict=True)
            ]
            likelihood[1.0 if query == plus else -1.0] += math.prod(each)
    if likelihood[1.0] == pytest.approx(likelihood[-1.0], rel=1e-9):
        return 0.5
    return float(max(likelihood, key=likelihood.__getitem__) != batch.target[b].item())


@pytest.mark.parametrize(("alpha", "kappa", "length"), [(0.6, 2.0, 7), (0.8, 0.5, 3)])
def test_learners_are_judged_on_the_prompts_of_their_point(
    tiny, learners_table, alpha, kappa, length
):
    task = replace(TINY.task.on_unseen(), alpha=alpha, kappa=kappa, length=length)
    size = 6  # a point has 12 prompts over two seeds
    batch = sample(task, seed=4, size=size)
    here = where(learners_table, seed=4, alpha=alpha, kappa=kappa, length=length)
    targets = batch.target.tolist()
    expected = {
        TRANSFORMER: naive(tiny[1].final, batch).zero_one,
        "nearest_1": sum(nearest_label(batch, b) != z for b, z in enumerate(targets)) / size,
        BAYES: sum(bayes_error(task, batch, b) for b in range(size)) / size,
    }
    for learner, error in expected.items():
        assert number(here, learner=learner) == pytest.approx(error, abs=ROUNDING)


def test_the_bayes_optimal_predictor_is_told_what_drew_the_prompts(tiny, monkeypatch):
    module, told = import_module("tdlab.studies.icl.classical"), set()
    bayes_optimal = module.bayes_optimal

    def spy(pattern, label, query, tasks, alpha, patterns):
        told.add((frozenset(map(tuple, tasks.tolist())), alpha, patterns))
        return bayes_optimal(pattern, label, query, tasks, alpha, patterns)

    monkeypatch.setattr(module, "bayes_optimal", spy)
    learners(replace(TINY, lengths=(2,), classical_prompts=2), tiny)
    cyclic = {(a, (a + 1) % 6) for a in range(6)}
    unseen = frozenset(itertools.permutations(range(6), 2)) - cyclic
    assert told == {(unseen, 0.6, 6), (unseen, 0.8, 6)}


def test_no_learner_is_better_than_the_bayes_optimal_predictor(learned):
    table = learners(LEARNED, learned)
    prompts_a_point = 90
    mean = table.groupby(["learner", "alpha", "kappa"])["value"].mean().unstack("learner")
    for learner in (TRANSFORMER, *LEARNERS):
        # Both on the same prompts: they differ on at most a fraction p + q of them, and a
        # difference of 0 or +-1 has at most that variance.
        error = ((mean[learner] + mean[BAYES]) / prompts_a_point) ** 0.5
        assert (mean[BAYES] <= mean[learner] + 4 * error).all(), learner
    # And at much noise it is better than each: so it is not some learner's own row.
    loud = mean.xs(2.0, level="kappa")
    assert (loud[BAYES] < loud[list(LEARNERS)].min(axis=1)).all()


# The presets.


def test_the_paper_preset_is_the_papers_setting():
    paper = setting("paper")
    assert paper == PRESETS["paper"]
    chosen = {"relevant": 6, "irrelevant": 24, "alpha": 0.8, "length": 20, "kappa": 0.5}
    ours = {"neurons": 64, "delta": 0.2, "xi": 0.02, "beta": 3.0, "lr": 0.1, "batch": 100}
    for name, expected in (chosen | ours | {"steps": 400, "seeds": 32}).items():
        assert getattr(paper, name) == expected
    assert paper.task.pairs == tuple((a, (a + 1) % 6) for a in range(6))
    assert (paper.task.width, paper.task.label_width) == (30, 30)


def test_the_quick_preset_is_the_same_training_with_fewer_seeds_and_prompts():
    quick, paper = setting(), setting("paper")
    assert quick == PRESETS["quick"]
    fewer = ("seeds", "prompts", "classical_prompts", "lengths", "lr_factors")
    assert replace(paper, **{name: getattr(quick, name) for name in fewer}) == quick
    assert all(len(getattr(quick, name)) < len(getattr(paper, name)) for name in fewer[3:])
    assert all(getattr(quick, name) < getattr(paper, name) for name in fewer[:3])
    assert [run.id for run in quick.runs()] == [run.id for run in paper.runs()[: quick.seeds]]


def test_none_means_the_presets_value_and_anything_else_is_taken():
    assert setting("quick", alpha=None, seeds=None) == setting("quick")
    changed = setting("paper", alpha=0.6, seeds=None, kappa=0.0, lengths=[4, 9])
    assert (changed.alpha, changed.seeds, changed.kappa, changed.lengths) == (0.6, 32, 0.0, (4, 9))


def test_a_setting_reaches_the_runs_it_asks_for():
    def of(thing, names):
        return [getattr(thing, name) for name in names.split()]

    assert [run.seed for run in TINY.runs()] == [3, 4]
    for run in TINY.runs():
        assert of(run.task, "alpha length kappa beta") == [0.7, 4, 0.4, 2.5]
        assert of(run.model, "delta neurons width label_width") == [0.17, 48, 30, 30]
        assert of(run, "steps batch loss") == [5, 100, "hinge"]
    other = setting("quick", lr=0.3, batch=7, xi=0.05, relevant=4, irrelevant=5, snapshots=2)
    run = other.runs()[0]
    assert of(run.model, "xi width label_width") == [0.05, 9, 9]
    assert of(run.optimiser, "lr") == [0.3]
    assert run.batch == 7
    assert run.snapshots.steps(run.steps) == (0, 1, 400)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "papre"}, r"^preset is 'papre', but must be one of paper, quick$"),
        ({"alpha": -0.1}, r"^alpha is -0\.1, but must lie in \(0, 1\]$"),
        ({"alpha": 1.2}, r"^alpha is 1\.2, but must lie in \(0, 1\]$"),
        ({"kappa": math.nan}, r"^kappa is nan, but must lie in \[0, inf\)$"),
        ({"beta": 0.0}, r"^beta is 0\.0, but must lie in \(0, inf\)$"),
        ({"delta": 0.5}, r"^delta is 0\.5, but must lie in \(0, 0\.2\]$"),
        ({"xi": -1.0}, r"^xi is -1\.0, but must lie in \[0, inf\)$"),
        ({"lr": -0.1}, r"^lr is -0\.1, but must lie in \(0, inf\)$"),
        ({"lr": 0.0}, r"^lr is 0\.0, but must lie in \(0, inf\)$"),
        ({"relevant": 2}, r"^relevant \(M1\) is 2, but must be at least 3$"),
        ({"irrelevant": 0}, r"^irrelevant \(M2\) is 0, but must be at least 1$"),
        ({"length": 0}, r"^length is 0, but must be at least 1$"),
        ({"neurons": 0}, r"^neurons is 0, but must be at least 1$"),
        ({"seeds": 1}, r"^seeds is 1, but must be at least 2$"),
        ({"first_seed": -1}, r"^seed is -1, but must be at least 0$"),
        ({"batch": 0}, r"^batch is 0, but must be at least 1$"),
        ({"steps": -1}, r"^steps is -1, but must be at least 0$"),
        ({"prompts": 0}, r"^prompts is 0, but must be at least 1$"),
        ({"classical_prompts": 3}, r"^classical_prompts is 3, but must be at least 8$"),
        ({"lengths": (5, 0)}, r"^lengths is 0, but must be at least 1$"),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(given, message):
    with pytest.raises(ValueError, match=message):
        setting(**given)


def test_a_notebook_shows_every_field_of_a_setting_with_its_value():
    shown = TINY._repr_html_()
    numbers = shown.removeprefix("<p>Setting: ").removesuffix("</p>")
    # Fields are split at commas outside of tuples.
    assert re.split(r", (?=\w+ = )", numbers) == [
        f"{name} = {number}" for name, number in vars(TINY).items()
    ]
    assert len(vars(TINY)) == len(fields(TINY)) > 10
    assert shown != PRESETS["quick"]._repr_html_()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sedds": 4}, r"^Setting has no field 'sedds'; did you mean 'seeds'\? \(it has: .*\)$"),
        ({"zzz": 4}, r"^Setting has no field 'zzz' \(it has: seeds, .*\)$"),
        ({"seeds": 2.5}, r"^seeds is 2\.5, but must be an integer of at least 2$"),
        ({"alpha": "0.6"}, r"^alpha is '0\.6', but must be a number$"),
        ({"prompts": True}, r"^prompts is True, but must be an integer of at least 1$"),
    ],
)
def test_an_unknown_field_or_a_wrong_type_is_named_in_one_line(given, message):
    with pytest.raises(TypeError, match=message):
        setting(**given)


# What the theorem promises, and what it does not.


def last_on_unseen(results, quantity):
    """The final value of each seed on tasks it was not trained on."""
    table = where(dynamics(LEARNED, results), source="measured", tasks="unseen", step=250)
    return where(table, quantity=quantity)["value"].to_numpy()


def test_a_trained_member_solves_unseen_tasks_by_attending_to_the_querys_pattern(learned):
    error, mass = (last_on_unseen(learned, name) for name in ("zero_one", "concentration"))
    assert len(error) == len(mass) == 3
    assert (error < 0.02).all()
    assert (mass > 0.8).all()


def test_large_neurons_of_a_trained_member_point_along_the_mean_pattern_and_the_label(learned):
    table = where(neurons(LEARNED, learned), source="measured", step=250)
    for seed in range(3):
        here = where(table, seed=seed)
        norms = where(here, quantity="norm", part="label").set_index("neuron")["value"]
        large = norms.index[norms > 0.1]
        assert len(large) > 32
        angles = where(here, quantity="angle")
        angles = angles[angles["neuron"].isin(large)]
        assert set(angles["sign"]) == {1.0, -1.0}
        assert (angles.groupby(["part", "sign"])["value"].median() < 30).all()


def test_pruning_small_rows_of_a_trained_member_is_free_and_large_ones_is_not(pruned_table):
    hinge = where(pruned_table, source="measured", quantity="hinge", alpha=0.8)
    whole = where(hinge, order="largest", fraction=0.0).set_index("seed")["value"]
    smallest = where(hinge, order="smallest", fraction=0.1).set_index("seed")["value"]
    largest = where(hinge, order="largest", fraction=0.4).set_index("seed")["value"]
    assert ((smallest - whole).abs() < 0.001).all()
    assert (largest - whole > 0.1).all()


@value
class Unlearnable(InContextClassification):
    """The same prompts, each with the context labels of another one."""

    def draw(self, world, uniforms) -> Batch:
        batch = InContextClassification.draw(self, world, uniforms)
        x, y = batch.prompt[..., : self.width], batch.prompt[..., self.width :]
        return batch._replace(prompt=torch.cat([x, y.roll(1, dims=0)], dim=-1))


@pytest.fixture(scope="module")
def misled():
    shuffled = Unlearnable(**vars(LEARNED.task))
    return shuffled, trained(LEARNED.runs(shuffled))


def test_the_same_training_on_shuffled_labels_learns_nothing(misled):
    shuffled, results = misled
    # Where each task and its opposite are asked alike, inputs alone say nothing of the answer:
    # half of the answers are wrong, whatever is predicted; 400 coins have their mean within
    # 4 / (2 * 20) of it.
    tasks = [replace(shuffled, tasks="all")] * 3
    numbers = evaluate([result.run for result in results], [final(results)], tasks, 400, risks)
    assert ((numbers["zero_one"][0].mean(-1) - 0.5).abs() < 0.1).all()
    # Nor does it answer prompts whose labels are right, or attend as the theorem says.
    error, mass = (last_on_unseen(results, name) for name in ("zero_one", "concentration"))
    assert (error > 0.02).all()
    assert (mass < 0.8).all()
