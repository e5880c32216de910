import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthetic_tasks import InContextClassification, sample
from synthetic_tasks.threefry import stream
from tests.synthetic_tasks.pattern_prompts import (
    MANY,
    SEED,
    SHIFTED,
    TASK,
    draw,
    noise,
    within,
    world_of,
)

ROOT = Path(__file__).parents[2]


# What a prompt is made of.


@pytest.mark.parametrize("task", [TASK, SHIFTED, replace(SHIFTED, outside=0.6)])
def test_an_input_is_its_relevant_pattern_plus_a_multiple_of_one_irrelevant_one(task):
    batch, world = draw(task, size=50), world_of(task)
    kappa = noise(task, batch)
    assert ((kappa.abs() > 1e-12).sum(-1) <= 1).all()
    assert (kappa.abs() <= 0.4).all()
    x = world.relevant[batch.latent.pattern] + torch.einsum(
        "bnk, kd -> bnd", kappa, world.irrelevant
    )
    torch.testing.assert_close(batch.prompt[..., : x.shape[-1]], x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", [TASK, SHIFTED])
def test_the_label_slot_holds_plus_or_minus_q_and_the_querys_is_empty(task):
    batch, world = draw(task, size=50), world_of(task)
    slot = batch.prompt[..., world.relevant.shape[-1] :]
    assert slot.shape == (50, 10, 4)
    assert slot[:, :-1].equal(batch.latent.label[..., None] * world.label)
    assert batch.latent.label.abs().eq(1).all()
    assert slot[:, -1].eq(0).all()


def test_the_two_patterns_of_the_task_are_labelled_by_it_and_so_is_the_query():
    batch = draw(TASK, size=200)
    first, second = batch.latent.task[:, :1], batch.latent.task[:, 1:]
    context, query = batch.latent.pattern[:, :-1], batch.latent.pattern[:, -1:]
    assert batch.latent.label[context == first].eq(1).all()
    assert batch.latent.label[context == second].eq(-1).all()
    assert ((query == first) | (query == second)).all()
    assert batch.target[:, None].equal(torch.where(query == first, 1.0, -1.0).double())


def test_relevant_are_the_examples_with_the_querys_pattern_and_they_carry_its_label():
    latent, target = draw(TASK, size=200).latent, draw(TASK, size=200).target
    assert latent.relevant.equal(latent.pattern[:, :-1] == latent.pattern[:, -1:])
    assert latent.label[latent.relevant].equal(target[:, None].expand(-1, 9)[latent.relevant])


def test_nothing_is_padded():
    batch = draw(TASK, size=3)
    assert batch.mask.shape == (3, 10)
    assert batch.mask.all()


def test_the_same_truth_is_drawn_in_either_precision():
    single, double = sample(TASK, seed=SEED, size=99), draw(TASK, size=99)
    assert all(a.equal(b.to(a.dtype)) for a, b in zip(single.latent, double.latent, strict=True))
    # Inputs are sums of two numbers below 1.7, each rounded to single precision.
    torch.testing.assert_close(single.prompt.double(), double.prompt, rtol=0, atol=2e-6)


@settings(max_examples=30)
@given(
    relevant=st.integers(3, 9),
    irrelevant=st.integers(1, 9),
    label_width=st.integers(1, 5),
    length=st.integers(1, 12),
    alpha=st.floats(0.05, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_prompts_of_any_shape_keep_what_is_promised(
    relevant, irrelevant, label_width, length, alpha, seed
):
    task = InContextClassification(
        relevant=relevant,
        irrelevant=irrelevant,
        label_width=label_width,
        length=length,
        alpha=alpha,
    )
    batch = sample(task, seed=seed, size=6, dtype=torch.float64)
    latent, width = batch.latent, relevant + irrelevant
    assert batch.prompt.shape == (6, length + 1, width + label_width)
    assert batch.prompt[:, -1, width:].eq(0).all()
    assert ((latent.pattern >= 0) & (latent.pattern < relevant)).all()
    assert batch.target.abs().eq(1).all()
    assert latent.label.abs().eq(1).all()
    assert all(tuple(pair) in task.pairs for pair in latent.task.tolist())
    # A pattern is as long as beta = 3, so an input overlaps with its own by exactly beta^2 = 9.
    own = task.world(stream(seed, "world")).relevant[latent.pattern]
    overlap = torch.einsum("bnd, bnd -> bn", batch.prompt[..., :width], own)
    torch.testing.assert_close(overlap, torch.full_like(overlap, 9))


# How often.


@pytest.mark.parametrize("alpha", [0.15, 0.7, 1.0])
def test_patterns_come_as_often_as_alpha_says(alpha):
    task = replace(TASK, alpha=alpha, tasks="all")
    latent = draw(task, size=MANY).latent
    context, count = latent.pattern[:, :-1], MANY * task.length
    assert within((context == latent.task[:, :1]).double().mean(), alpha / 2, count)
    assert within((context == latent.task[:, 1:]).double().mean(), alpha / 2, count)
    # Each of the other M1 - 2 with (1 - alpha) / (M1 - 2), whatever the task.
    for pair in task.pairs:
        rows = (latent.task == torch.tensor(pair)).all(-1)
        for other in set(range(5)) - set(pair):
            measured = (context[rows] == other).double().mean()
            assert alpha < 1 or measured == 0
            assert alpha == 1 or within(measured, (1 - alpha) / 3, int(rows.sum()) * 9)


# One uniform gives both an other pattern and its label. M1 - 2 is odd and even, because a
# wrong split passes where the number of patterns and the two labels have no common divisor.
@pytest.mark.parametrize("relevant", [5, 6])
def test_labels_of_the_other_patterns_are_fair_coins_whatever_the_pattern_and_the_target(relevant):
    batch = draw(replace(TASK, relevant=relevant, alpha=0.3), size=MANY)
    latent = batch.latent
    other = (latent.pattern[:, :-1, None] != latent.task[:, None]).all(-1)
    positive = (latent.label > 0).double()
    for pattern in range(relevant):
        for target in (-1, 1):
            chosen = other & (latent.pattern[:, :-1] == pattern) & (batch.target == target)[:, None]
            assert within(positive[chosen].mean(), 0.5, int(chosen.sum()))


def test_tasks_are_equally_likely_and_the_query_is_either_pattern_by_a_fair_coin():
    batch = draw(TASK, size=MANY)
    for pair in TASK.pairs:
        rows = (batch.latent.task == torch.tensor(pair)).all(-1)
        assert within(rows.double().mean(), 1 / 5, MANY)
        assert within((batch.target[rows] > 0).double().mean(), 0.5, int(rows.sum()))


def test_examples_do_not_know_of_each_other_nor_of_the_query():
    batch = draw(TASK, size=MANY)
    first = (batch.latent.pattern[:, :-1] == batch.latent.task[:, :1]).double()
    columns = torch.cat([first, batch.target[:, None]], dim=1)
    correlation = torch.corrcoef(columns.T) - torch.eye(10, dtype=torch.float64)
    assert (correlation.abs() < 5 / math.sqrt(MANY)).all()


def test_kappa_is_uniform_whatever_the_irrelevant_pattern_which_is_uniform_too():
    values, which = noise(TASK, draw(TASK, size=MANY)).flatten(0, 1).abs().max(-1)
    signed = noise(TASK, draw(TASK, size=MANY)).flatten(0, 1).sum(-1)
    torch.testing.assert_close(signed.abs(), values, rtol=0, atol=1e-12)
    count = len(which)
    for k in range(7):
        chosen = (which == k) & (values > 1e-9)
        assert within(chosen.double().mean(), 1 / 7, count)
        u = (signed[chosen] / 0.4 + 1) / 2
        # Kolmogorov and Smirnov: P(sqrt(n) D > 2.69) is at most 2 exp(-2 2.69^2) = 1e-6.
        grid = torch.arange(len(u) + 1, dtype=torch.float64) / len(u)
        distance = torch.maximum(u.sort().values - grid[:-1], grid[1:] - u.sort().values).max()
        assert math.sqrt(len(u)) * distance < 2.69


def test_noise_does_not_know_of_pattern_and_label():
    batch = draw(TASK, size=MANY)
    kappa = noise(TASK, batch)[:, :-1].sum(-1).flatten()
    which = noise(TASK, batch)[:, :-1].abs().argmax(-1).flatten()
    pattern, label = batch.latent.pattern[:, :-1].flatten(), batch.latent.label.flatten()
    noises = [kappa, kappa.abs(), *(which == k for k in range(6))]
    truths = [label, *(pattern == j for j in range(4))]
    correlation = torch.corrcoef(torch.stack([row.double() for row in [*noises, *truths]]))
    # Of independent numbers a correlation is N(0, 1/n).
    assert (correlation[:8, 8:].abs() < 5 / math.sqrt(len(kappa))).all()


def test_without_a_kappa_range_there_is_no_noise():
    assert noise(TASK, draw(replace(TASK, kappa=0), size=20)).abs().max() < 1e-12


# The world of a member.


def test_a_world_holds_orthogonal_patterns_of_norm_beta_a_unit_label_and_its_scalars():
    world = world_of(TASK)
    both = torch.cat([world.relevant, world.irrelevant])
    gram = 1.7**2 * torch.eye(12, dtype=torch.float64)
    torch.testing.assert_close(both @ both.T, gram, rtol=0, atol=1e-12)
    assert world.relevant.shape == (5, 12)
    assert world.label.norm().item() == pytest.approx(1, abs=1e-14)
    assert world.tasks.tolist() == [list(pair) for pair in TASK.pairs]
    assert (world.alpha.item(), world.kappa.item()) == (0.7, 0.4)
    assert all(leaf.dtype == torch.float64 for leaf in world if leaf.is_floating_point())


def test_scalars_of_the_task_change_no_pattern_but_by_its_length():
    one, other = world_of(TASK), world_of(replace(TASK, alpha=0.2, kappa=0, beta=3.4, length=2))
    torch.testing.assert_close(other.relevant, 2 * one.relevant)
    assert other.label.equal(one.label)


def test_members_have_their_own_patterns_and_labels():
    one, other = world_of(TASK, 1), world_of(TASK, 2)
    assert not one.relevant.allclose(other.relevant)
    assert not one.label.allclose(other.label)


def test_the_label_vector_knows_nothing_of_the_patterns():
    # Were both drawn from one key, q would be the first pattern where the widths agree.
    world = world_of(replace(TASK, label_width=12))
    overlaps = torch.cat([world.relevant, world.irrelevant]) @ world.label / 1.7
    assert overlaps.abs().max() < 0.95


# Task sets.


def test_task_sets_are_what_their_names_say():
    everything = {(a, b) for a in range(5) for b in range(5) if a != b}
    cyclic = {(a, (a + 1) % 5) for a in range(5)}
    named = {name: replace(TASK, tasks=name).pairs for name in ("cyclic", "all", "unseen")}
    assert {name: set(pairs) for name, pairs in named.items()} == {
        "cyclic": cyclic,
        "all": everything,
        "unseen": everything - cyclic,
    }
    assert all(len(set(pairs)) == len(pairs) for pairs in named.values())


def test_a_list_of_pairs_is_a_task_set():
    listed = ((0, 1), (1, 0), (2, 3), (3, 4), (4, 2))
    as_lists: Any = [list(pair) for pair in listed]
    task = replace(TASK, tasks=as_lists)
    assert task.pairs == listed
    assert {tuple(pair) for pair in draw(task, size=200).latent.task.tolist()} == set(listed)


@pytest.mark.parametrize("tasks", ["cyclic", ((0, 1), (1, 0), (2, 3), (3, 4), (4, 2))])
def test_on_unseen_has_every_task_that_the_set_leaves_out_and_nothing_else_changed(tasks):
    task = replace(TASK, tasks=tasks)
    unseen = task.on_unseen()
    assert set(unseen.pairs) | set(task.pairs) == set(replace(TASK, tasks="all").pairs)
    assert not set(unseen.pairs) & set(task.pairs)
    assert replace(unseen, tasks=tasks, coverage="required") == task
    assert world_of(unseen).relevant.equal(world_of(task).relevant)


CYCLE = ((0, 1), (1, 2), (2, 3), (3, 4))


@pytest.mark.parametrize(
    ("tasks", "shown"),
    [
        ((*CYCLE[:3], (3, 0)), "pattern 4 0 times as \\+1 and 0 times as -1"),
        (CYCLE, "pattern 0 1 times as \\+1 and 0 times as -1"),
        ((*CYCLE, (4, 0), (2, 0)), "pattern 0 1 times as \\+1 and 2 times as -1"),
    ],
)
def test_a_set_that_breaks_the_coverage_condition_must_be_meant(tasks, shown):
    with pytest.raises(ValueError, match=f"{shown}.*both labels equally often"):
        replace(TASK, tasks=tasks)
    violated = replace(TASK, tasks=tasks, coverage="violated")
    assert {tuple(pair) for pair in draw(violated, size=200).latent.task.tolist()} == set(tasks)


def test_patterns_may_be_shown_unequally_often_as_long_as_their_labels_are_balanced():
    tasks = (*CYCLE, (4, 1), (1, 0))
    assert replace(TASK, tasks=tasks).pairs == tasks


# Bad input.


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"alpha": -0.2}, ValueError, r"alpha is -0\.2, but must lie in \(0, 1\]"),
        ({"alpha": 0}, ValueError, r"alpha is 0, but must lie in \(0, 1\]"),
        ({"alpha": 1.01}, ValueError, r"alpha is 1\.01, but must lie in \(0, 1\]"),
        ({"alpha": math.nan}, ValueError, r"alpha is nan, but must lie in \(0, 1\]"),
        ({"alpha": True}, TypeError, "alpha is True, but must be a number"),
        ({"alpha": "0.8"}, TypeError, "alpha is '0.8', but must be a number"),
        ({"kappa": -0.1}, ValueError, r"kappa is -0\.1, but must lie in \[0, inf\)"),
        ({"kappa": math.inf}, ValueError, r"kappa is inf, but must lie in \[0, inf\)"),
        ({"beta": 0}, ValueError, r"beta is 0, but must lie in \(0, inf\)"),
        ({"beta": math.inf}, ValueError, r"beta is inf, but must lie in \(0, inf\)"),
        ({"relevant": 2}, ValueError, r"relevant \(M1\) is 2, but must be at least 3"),
        ({"irrelevant": 0}, ValueError, r"irrelevant \(M2\) is 0, but must be at least 1"),
        ({"label_width": 0}, ValueError, "label_width is 0, but must be at least 1"),
        ({"length": 0}, ValueError, "length is 0, but must be at least 1"),
        ({"length": True}, TypeError, "length is True, but must be an integer of at least 1"),
        ({"length": 2.0}, TypeError, r"length is 2\.0, but must be an integer of at least 1"),
        ({"relevant": "6"}, TypeError, r"relevant \(M1\) is '6', but must be an integer .* 3"),
        ({"alhpa": 1}, TypeError, ".* no field 'alhpa'; did you mean 'alpha'.*kappa.*"),
        (
            {"tasks": "every"},
            ValueError,
            "tasks is 'every', but must be one of cyclic, all, unseen",
        ),
        ({"tasks": []}, ValueError, r"tasks are \(\), but must be distinct pairs, at least one"),
        ({"tasks": [(0, 1), (0, 1)]}, ValueError, ".*distinct pairs.*"),
        ({"tasks": [(0, 5)]}, ValueError, r"tasks hold \(0, 5\), .* two patterns in 0\.\.4"),
        ({"tasks": [(0, -1)]}, ValueError, r"tasks hold \(0, -1\), .* two patterns in 0\.\.4"),
        ({"tasks": [(3, 3)]}, ValueError, r"tasks hold \(3, 3\), .* two patterns in 0\.\.4"),
        ({"tasks": [(0, 1), (1, 0)]}, ValueError, "the task set shows pattern 2 0 times .*"),
        ({"coverage": "broken"}, ValueError, "coverage is 'broken', .* required, violated"),
    ],
    ids=str,
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    settings = {"relevant": 5, "irrelevant": 7, **wrong}
    with pytest.raises(error, match=f"^{line}$") as caught:
        InContextClassification(**settings)
    assert caught.type is error
    assert "\n" not in str(caught.value)


def test_settings_from_numpy_and_lists_are_plain_numbers_and_tuples():
    made: Any = {"length": np.int64(7), "alpha": np.float64(0.5), "tasks": [[0, np.int64(1)]]}
    task = InContextClassification(**made, coverage="violated")
    assert (type(task.length), type(task.alpha), task.tasks) == (int, float, ((0, 1),))


def alone(program: str) -> str:
    """What a program prints in a process that has no shape checks and cannot import tdlab."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['tdlab'] = None\n{program}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tasks_draw_and_refuse_where_tdlab_and_the_shape_checks_are_not():
    printed = alone(
        "from synthetic_tasks import InContextClassification as Trained, OutOfDomain, sample\n"
        "print(tuple(sample(OutOfDomain(trained=Trained()), seed=1, size=4).prompt.shape))\n"
        "for wrong in [\n"
        "    lambda: Trained(tasks=[(0, 1, 2)]),\n"
        "    lambda: Trained(tasks=[(0, 1.5)], coverage='violated'),\n"
        "    lambda: Trained(tasks=[0, 1]),\n"
        "    lambda: Trained(tasks=5),\n"
        "    lambda: OutOfDomain(trained=Trained(), pairing=[(0, 1), (2, 3), (4, 5, 1)]),\n"
        "    lambda: OutOfDomain(trained=Trained(), coefficient_sum='1'),\n"
        "    lambda: Trained(alpha=None),\n"
        "]:\n"
        "    try:\n"
        "        print('accepted', wrong())\n"
        "    except (TypeError, ValueError) as error:\n"
        "        print(error)\n"
    ).splitlines()
    patterns = [
        r"\(4, 21, 60\)",
        r"tasks hold \(0, 1, 2\), but .* ordered pair .* 0\.\.5",
        r"tasks hold \(0, 1\.5\), but .* ordered pair .* 0\.\.5",
        r"tasks hold 0, but .* ordered pair .* 0\.\.5",
        r"tasks is 5, but must be .*pairs",
        r".*\(4, 5, 1\).* pair .*0\.\.5",
        r"coefficient_sum is '1', but must be a number",
        r"alpha is None, but must be a number",
    ]
    assert len(printed) == len(patterns)
    for line, pattern in zip(printed, patterns, strict=True):
        assert re.fullmatch(pattern, line), line
