"""The tables of the chain-of-thought study against plain loops, one prompt after the other.

Trained and measured in float64, so that a table and a loop agree to the last few digits. A loop
knows the formulas of the paper and the prompts that `synthetic_tasks.sample` draws, no more.
"""

import itertools
import math
from collections import Counter
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from synthetic_tasks import InContextClassification, NoisyReasoning, sample
from synthetic_tasks.threefry import stream
from synthetic_tasks.transitions import noiseless
from tdlab.models import FactoredOneHead, OneLayer
from tdlab.run import Run
from tdlab.studies import cot
from tdlab.studies.cot.attention import MIXED
from tdlab.studies.cot.shift import COMPONENTS, NOISES
from tdlab.sweep import trained
from tdlab.theory import li2025
from tests.tdlab.studies.cot.settings import CHAINS
from tests.tdlab.studies.tidy import TIDY, of

# A generic point, trained half-way: errors lie between 0 and 1, and attention is everywhere.
TINY = replace(
    CHAINS,
    steps=30,
    lr=3.0,
    snapshots=5,
    prompts=22,  # no multiple of K M = 15
    test_alpha=0.6,
    tau_o=0.65,
    rho_o=0.6,
    failing=0.6,
    noise=0.3,
    lengths=(2, 4, 9),
    test_alphas=(0.6, 0.9),
    shift_alpha=0.3,
    shift_length=5,
)
PLACES = [f"{a} step, {b} pattern" for a in ("other", "same") for b in ("other", "same")]
CHAIN, IN_CONTEXT = "chain of thought", "in context"
K = 3


def train(runs):
    return trained([replace(run, dtype="float64") for run in runs])


@pytest.fixture(scope="module")
def base():
    return train(TINY.runs())


@pytest.fixture(scope="module")
def wide():
    return train(TINY.runs(TINY.wide_task))


def assert_tidy(table, results, *columns, steps=(TINY.steps,)):
    """The promised columns; what is measured has the seed and the run of a member."""
    assert list(table.columns[:6]) == TIDY
    assert set(columns) <= set(table.columns)
    assert set(table["source"]) <= {"measured", "theory"}
    rows = table[table["source"] == "measured"]
    members = {(result.run.seed, result.run.id) for result in results}
    assert set(zip(rows["seed"], rows["run"], strict=True)) == members
    assert set(rows["step"].dropna()) == set(steps)


def close(expected):
    return pytest.approx(expected, abs=1e-7)  # shares of mistakes are float32


# The loops.


class Prompt(NamedTuple):
    """What one prompt shows, without padding, and what is true of it."""

    columns: list[np.ndarray]  # the query last
    tags: list[tuple[int, int]]  # step and pattern of each column
    target: np.ndarray
    chain: list[int]  # z_0 .. z_K


def prompts(task, seed):
    size = math.ceil(TINY.prompts / task.balance) * task.balance
    batch = sample(task, seed=seed, size=size, dtype=torch.float64)
    for b in range(TINY.prompts):
        there = batch.mask[b]
        tags = torch.stack([batch.latent.step[b, there], batch.latent.pattern[b, there]], dim=-1)
        yield Prompt(
            columns=list(batch.prompt[b, there].numpy()),
            tags=[(step, pattern) for step, pattern in tags.tolist()],
            target=batch.target[b].numpy(),
            chain=batch.latent.chain[b].tolist(),
        )


def look(params, columns):
    """F(P), and the softmax of (W_K p_i)^T W_Q p_query over all columns but the query."""
    p = {name: leaf.numpy() for name, leaf in params.items()}
    W = p["W"] if "W" in p else p["W_K"].T @ p["W_Q"]
    *before, query = columns
    exps = np.exp(np.array(before) @ (W @ query))
    attention = exps / exps.sum()
    return p["W_V"] @ (attention @ np.array(before)), attention


def masses(attention, tags):
    """Attention by whether a column has the step of the query, and its pattern."""
    *before, (step, pattern) = tags
    found = dict.fromkeys(PLACES, 0.0)
    for share, (its_step, its_pattern) in zip(attention, before, strict=True):
        found[PLACES[2 * (its_step == step) + (its_pattern == pattern)]] += share
    return found


class World:
    """The patterns and position codes of a member, and what its greedy inference does with them."""

    def __init__(self, task, result):
        made = task.world(stream(result.run.seed, "world"))
        self.mu, self.codes = made.patterns.numpy(), made.codes.numpy()
        self.zero, self.params = np.zeros_like(self.mu[0]), result.final

    def nearest(self, F):
        return min(range(len(self.mu)), key=lambda j: np.linalg.norm(F - self.mu[j]))

    def reason(self, columns, tags):
        """v_1 .. v_K and the masses of each step, on a prompt that grows by a column a step."""
        columns, tags, steps = list(columns), list(tags), []
        for k in range(K):
            F, attention = look(self.params, columns)
            v = self.nearest(F)
            steps.append((v, masses(attention, tags)))
            columns[-1] = np.concatenate([columns[-1][: len(self.zero)], self.mu[v]])
            if k + 1 < K:
                columns.append(np.concatenate([self.mu[v] + self.codes[k + 1], self.zero]))
                tags.append((k + 1, v))
        return steps

    def answer(self, columns):
        """The answer to E_i = [x_i, 0, .., 0; y_{i,K}, 0, .., 0], with the position codes."""
        *context, query = columns
        half, shown = len(self.zero), []
        for first in range(0, len(context), K):
            shown.append(np.concatenate([context[first][:half], context[first + K - 1][half:]]))
            shown += [np.concatenate([self.codes[k], self.zero]) for k in range(1, K)]
        return self.nearest(look(self.params, [*shown, query])[0])


def along(results, task):
    """Mass by seed, output and place, and error by seed and output."""
    sums: Counter[Any] = Counter()
    for result in results:
        world, seed = World(task, result), result.run.seed
        for prompt in prompts(task, seed):
            for k, (v, found) in enumerate(world.reason(prompt.columns, prompt.tags), start=1):
                sums[seed, k] += v != prompt.chain[k]
                for place, mass in found.items():
                    sums[seed, k, place] += mass
    mean = {point: total / TINY.prompts for point, total in sums.items()}
    return [{point: x for point, x in mean.items() if len(point) == n} for n in (3, 2)]


def assert_along(table, results, task):
    mass, error = along(results, task)
    assert of(table, "seed", "output", "place", quantity="mass") == close(mass)
    assert of(table, "seed", "output", quantity="error") == close(error)


def wrong(results, task, lengths=TINY.lengths):
    """Errors by seed, length, inference and output."""
    sums: Counter[Any] = Counter()
    for result in results:
        world, seed = World(task, result), result.run.seed
        for prompt in prompts(task, seed):
            for n in lengths:
                columns = [*prompt.columns[: n * K], prompt.columns[-1]]
                steps = world.reason(columns, [*prompt.tags[: n * K], prompt.tags[-1]])
                misses = [v != z for (v, _), z in zip(steps, prompt.chain[1:], strict=True)]
                for k, miss in enumerate(misses, start=1):
                    sums[seed, n, CHAIN, f"step {k}"] += miss
                    sums[seed, n, CHAIN, "mean over steps"] += miss / K
                sums[seed, n, CHAIN, "final answer"] += misses[-1]
                sums[seed, n, IN_CONTEXT, "final answer"] += (
                    world.answer(columns) != prompt.chain[-1]
                )
    return {point: total / TINY.prompts for point, total in sums.items()}


ERROR = ("seed", "length", "inference", "output")


# Training.


def over_training(results, alpha):
    """Loss by seed and step, and mass by seed, step and place."""
    task = replace(TINY.task, alpha=alpha)
    loss: Counter[Any] = Counter()
    mass: Counter[Any] = Counter()
    for result in results:
        for prompt in prompts(task, result.run.seed):
            for step in result.steps:
                F, attention = look(result.at(step), prompt.columns)
                point = (result.run.seed, step)
                loss[point] += 0.5 * ((prompt.target - F) ** 2).sum() / TINY.prompts
                for place, share in masses(attention, prompt.tags).items():
                    mass[(*point, place)] += share / TINY.prompts
    return dict(loss), dict(mass)


def test_dynamics_is_what_a_plain_loop_over_prompts_gives(base):
    table = cot.dynamics(TINY, base)
    assert_tidy(table, base, "alpha", "place", steps=base[0].steps)
    assert set(table["alpha"]) == {0.7, 0.6}
    for alpha in (0.7, 0.6):
        loss, mass = over_training(base, alpha)
        assert of(table, "seed", "step", alpha=alpha, quantity="loss") == close(loss)
        assert of(table, "seed", "step", "place", alpha=alpha, quantity="mass") == close(mass)


def test_dynamics_predicts_uniform_attention_and_the_limit(base):
    predicted = of(cot.dynamics(TINY, base), "quantity", "alpha", "step", "place", source="theory")
    expected = {}
    for alpha in (0.7, 0.6):
        other, same = li2025.initial_mass(alpha, 3, 6)
        expected["mass", alpha, 0, "same step, other pattern"] = other
        expected["mass", alpha, 0, "same step, same pattern"] = same
        expected["mass", alpha, 30, "same step, same pattern"] = 1.0
    assert predicted == expected


@pytest.fixture(scope="module")
def ablated():
    calm = replace(TINY, lr=0.5, steps=6, delta=0.3)
    return {name: train(runs) for name, runs in cot.ablation_runs(calm).items()}


def test_ablations_train_other_matrices_and_nothing_else():
    runs = cot.ablation_runs(TINY)
    assert list(runs) == ["W", "W and W_V", "W_Q and W_K"]
    for both, apart, own in zip(runs["W and W_V"], runs["W_Q and W_K"], TINY.runs(), strict=True):
        assert both == replace(own, trained=("W", "W_V"))
        assert apart == replace(own, model=FactoredOneHead(width=9, delta=TINY.delta))


def test_ablations_are_what_a_plain_loop_over_prompts_gives(ablated):
    table = cot.ablations(TINY, ablated)
    everyone = itertools.chain(*ablated.values())
    assert_tidy(table, everyone, "place", "alpha", steps=ablated["W"][0].steps)
    assert set(table["alpha"]) == {0.7}
    assert set(table["trained"]) == set(ablated)
    for name, results in ablated.items():
        loss, mass = over_training(results, 0.7)
        here = table[table["trained"] == name]
        assert of(here, "seed", "step", quantity="loss") == close(loss)
        assert of(here, "seed", "step", "place", quantity="mass") == close(mass)


# Test prompts.


def clean(trained_task, component=1.0, noise=0.0, alpha=0.6, length=6):
    return NoisyReasoning(
        trained=trained_task,
        transitions=noiseless(3, 4),
        length=length,
        alpha=alpha,
        component=component,
        noise=noise,
    )


@pytest.fixture(scope="module")
def attention(base, wide):
    return cot.attention(TINY, base, wide)


def test_attention_is_what_chains_built_column_by_column_give(base, wide, attention):
    assert_tidy(attention, [*base, *wide], "prompts", "output", "place")
    noisy = replace(clean(TINY.task), transitions=TINY.chain_noise, noise=0.3)
    kinds = {
        "clean": (base, clean(TINY.task)),
        "noisy": (base, noisy),
        "out of domain": (wide, clean(TINY.wide_task, component=MIXED)),
    }
    assert set(attention["prompts"]) == set(kinds)
    for kind, (results, task) in kinds.items():
        assert_along(attention[attention["prompts"] == kind], results, task)
    assert 0 < MIXED < 1


def test_attention_is_predicted_to_reach_one_at_every_step_of_the_chain(attention):
    kinds, place = ("clean", "noisy", "out of domain"), "same step, same pattern"
    names = ("quantity", "prompts", "output", "place", "step")
    assert of(attention, *names, source="theory") == {
        ("mass", kind, k, place, 30): 1.0 for kind in kinds for k in (1, 2, 3)
    }


def test_along_a_chain_a_step_is_asked_from_where_the_chain_went(base):
    # Where steps go wrong often, the pattern in question is v_{k-1} and not z_{k-1}.
    task = TINY.test(TINY.failing_noise, length=3, noise=0.6)
    table = cot.along_chain(TINY, base, task)
    assert_tidy(table, base, "output", "place")
    assert min(of(table, "seed", "output", quantity="error").values()) > 0.2
    assert_along(table, base, task)


def test_shift_is_what_chains_built_column_by_column_give(wide):
    table = cot.shift(TINY, wide)
    assert_tidy(table, wide, "varied", "at", "output", "place")
    few = {"alpha": 0.3, "length": 5}
    tasks = {("component", x): clean(TINY.wide_task, component=x, **few) for x in COMPONENTS}
    tasks |= {("noise", x): clean(TINY.wide_task, noise=x, **few) for x in NOISES}
    assert set(zip(table["varied"], table["at"], strict=True)) == set(tasks)
    for varied, at in [("component", 0.0), ("component", 0.4), ("noise", 0.2), ("noise", 0.7)]:
        here = table[(table["varied"] == varied) & (table["at"] == at)]
        assert_along(here, wide, tasks[varied, at])
    points = of(table, "varied", "at", "seed", "output", quantity="error")
    assert len(points) == len(tasks) * 2 * 3
    expected = {("error", *point): 0.0 for point in tasks if point != ("component", 0.0)}
    assert of(table, "quantity", "varied", "at", source="theory") == expected


# Errors.


def test_errors_are_what_plain_loops_over_the_first_examples_give(base):
    task = TINY.test(TINY.chain_noise, length=7, alpha=0.5)
    table = cot.errors(TINY, base, task)
    assert_tidy(table, base, *ERROR[1:])
    assert of(table, *ERROR) == close(wrong(base, task, lengths=(2, 4)))  # 9 are more than 7


GRIDS = [  # a function, the prompts of its curves, what it infers, what is wrong, and tau and rho
    (cot.chain_errors, "chain_grids", CHAIN, "mean over steps", (0.6, 0.5)),
    (cot.in_context_errors, "outcome_grids", IN_CONTEXT, "final answer", (0.65, 0.6)),
]


@pytest.mark.parametrize(("function", "grids", "inference"), [case[:3] for case in GRIDS])
def test_error_grids_are_what_plain_loops_give_at_every_point(base, function, grids, inference):
    table = function(TINY, base)
    assert_tidy(table, base, "varied", "at", *ERROR[1:])
    expected = {
        (varied, at, *point): error
        for varied, tasks in getattr(TINY, grids).items()
        for at, task in tasks.items()
        for point, error in wrong(base, task).items()
        if inference in point
    }
    assert of(table, "varied", "at", *ERROR, quantity="error") == close(expected)


@pytest.mark.parametrize(("function", "grids", "inference", "output", "noise"), GRIDS)
def test_error_grids_have_the_bounds_of_their_points(
    base, function, grids, inference, output, noise
):
    # Bounds are below 1 with many examples only; a prompt of them is enough.
    long = replace(TINY, lengths=(400, 150), prompts=1)
    table = function(long, base)
    rows = table[table["source"] == "theory"].assign(length=table["length"].fillna(0))
    assert set(rows["step"]) == {30}
    assert set(rows["inference"]) == {inference}
    assert set(rows["output"]) == {output}
    expected = {}
    for varied, tasks in getattr(long, grids).items():
        for at in tasks:
            tau, rho = noise
            numbers = {"alpha": 0.6, "tau": tau, "rho": rho} | {varied.removesuffix("_o"): at}
            for n in long.lengths:
                bound = li2025.bound_vote_error(n, **numbers, patterns=4)
                expected["error_bound", varied, at, n] = bound
                assert bound < 0.6
            expected["error", varied, at, 400] = 0.0
            expected["length_bound", varied, at, 0] = li2025.bound_test_length(**numbers)
    found = of(rows, "quantity", "varied", "at", "length", source="theory")
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("function", "grids"), [case[:2] for case in GRIDS])
def test_a_curve_that_stands_in_several_grids_is_measured_once(base, monkeypatch, function, grids):
    module, asked = import_module("tdlab.studies.cot.inference"), []
    plain = module.measured

    def noting(runs, variants, tasks, *rest):
        asked.extend(tasks)
        return plain(runs, variants, tasks, *rest)

    monkeypatch.setattr(module, "measured", noting)
    function(replace(TINY, prompts=2), base)
    standing = [task for tasks in getattr(TINY, grids).values() for task in tasks.values()]
    assert len(standing) == 6
    assert len(asked) == len(set(asked)) == len(set(standing)) < 6
    assert set(asked) == set(standing)


def test_conditions_are_both_errors_on_the_same_prompts_with_and_without_condition_1(base):
    table = cot.conditions(TINY, base)
    assert_tidy(table, base, "condition_1", *ERROR[1:])
    assert set(table["condition_1"]) == {"holds", "fails"}
    for condition, noise in (("holds", TINY.chain_noise), ("fails", TINY.failing_noise)):
        here = of(table[table["condition_1"] == condition], *ERROR, quantity="error")
        assert here == close(wrong(base, TINY.test(noise)))
        assert {output for *_, output in here} == {
            *("step 1", "step 2", "step 3", "mean over steps", "final answer")
        }


def test_a_model_that_cannot_answer_a_prompt_in_two_parts_is_named(base):
    run = Run(task=InContextClassification(), model=OneLayer())
    other = [replace(result, run=replace(run, seed=result.run.seed)) for result in base]
    for ask in (cot.errors, cot.along_chain):
        with pytest.raises(TypeError, match=r"^the model is OneLayer\(.*with a method `answer`$"):
            ask(TINY, other, TINY.test(TINY.chain_noise))
