"""Numbers of every table against one member and one prompt at a time."""

from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from synthetic_tasks import NoisyReasoning, OutOfDomain, sample
from synthetic_tasks.threefry import stream
from synthetic_tasks.transitions import noiseless
from tdlab.probes import keep
from tdlab.studies import multilayer
from tdlab.studies.multilayer.setting import CHAIN, IN_CONTEXT
from tdlab.sweep import trained
from tests.tdlab.studies.multilayer.settings import TINY
from tests.tdlab.studies.tidy import TIDY, of

LAYERS, HEADS = TINY.layers, TINY.heads
CLOSE = 2e-5  # float32 over two layers
SEED = 4


def few(task, seed=SEED):
    """The first prompts of the member, which a balanced batch may be longer than."""
    size = max(task.balance, TINY.prompts)
    batch = sample(task, seed=seed, size=size)
    return tree_map(lambda leaf: leaf[: TINY.prompts], batch)


def prompts_of(kind):
    return TINY.in_context().on_unseen() if kind == IN_CONTEXT else TINY.chain


class Numbers(NamedTuple):
    masses: Tensor  # layer, head
    error: float
    loss: float


def one_by_one(kind, params, batch, world, change=lambda params: params, hold=None):
    """What is measured of one member, prompt after prompt."""
    model, masses, wrong, losses = TINY.model(kind), [], [], []
    params = change(params)
    for b in range(len(batch.prompt)):
        clamp = None
        if hold is not None:
            n = len(batch.mask[b])
            clamp = torch.full((LAYERS, HEADS, n, n), torch.nan)
            for row in range(n):
                sees = [j == row or (j < row and bool(batch.mask[b, j])) for j in range(n)]
                clamp[hold][row] = torch.tensor(sees) / sum(sees)
        trace = model.forward(params, batch.prompt[b], batch.mask[b], clamp)
        latent = batch.latent
        if kind == IN_CONTEXT:
            right = latent.pattern[b, :-1] == latent.pattern[b, -1]
            wrong.append(float(trace.output * batch.target[b] <= 0))
            losses.append(max(0.0, 1 - (trace.output * batch.target[b]).item()))
        else:
            asked = (latent.step[b, -1], latent.pattern[b, -1])
            steps, patterns = latent.step[b, :-1].tolist(), latent.pattern[b, :-1].tolist()
            right = torch.tensor([pair == asked for pair in zip(steps, patterns, strict=True)])
            away = [(trace.output - pattern).norm() for pattern in world.patterns]
            told = [(batch.target[b] - pattern).norm() for pattern in world.patterns]
            wrong.append(float(away.index(min(away)) != told.index(min(told))))
            losses.append(0.5 * (trace.output - batch.target[b]).norm().item() ** 2)
        masses.append((trace.attention[:, :, -1, :-1] * right).sum(-1))
    return Numbers(torch.stack(masses).mean(0), fmean(wrong), fmean(losses))


def member(results):
    (its,) = (result for result in results if result.run.seed == SEED)
    return its


@pytest.mark.parametrize("kind", [IN_CONTEXT, CHAIN])
def test_dynamics_is_what_a_loop_over_prompts_gives(by_kind, kind):
    table = multilayer.dynamics(TINY, by_kind)
    assert list(table)[: len(TIDY)] == TIDY
    tasks = "unseen" if kind == IN_CONTEXT else "trained"
    where = {"kind": kind, "tasks": tasks, "seed": SEED}
    its, task = member(by_kind[kind]), prompts_of(kind)
    batch, world = few(task), task.world(stream(SEED, "world"))
    for step in (0, 3):
        masses, error, loss = one_by_one(kind, its.at(step), batch, world)
        found = of(table, "layer", "head", quantity="concentration", step=step, **where)
        expected = {
            (a + 1, b + 1): masses[a, b].item() for a in range(LAYERS) for b in range(HEADS)
        }
        assert found == pytest.approx(expected, abs=CLOSE)
        for quantity, expected in (("error", error), ("loss", loss)):
            found = of(table, "step", quantity=quantity, step=step, **where)
            assert found == {(step,): pytest.approx(expected, rel=CLOSE)}
    assert len(table[(table.quantity == "concentration") & (table.kind == kind)]) > 2 * 3 * 2


def test_generalization_is_measured_on_each_sets_own_rest_and_on_that_of_all():
    results = {count: trained(runs) for count, runs in TINY.by_tasks().items()}
    table = multilayer.generalization(TINY, results)
    for count in (6, 24):
        its, task = member(results[count]), TINY.in_context(count)
        for name, prompts in {
            "trained": task,
            "unseen": task.on_unseen(),
            "unseen by all": TINY.unseen_by_all,
        }.items():
            batch = few(prompts)
            numbers = one_by_one(IN_CONTEXT, its.final, batch, None)
            where = {"trained": count, "tasks": name}
            for quantity in ("error", "loss"):
                found = of(table, "seed", quantity=quantity, **where)[SEED,]
                assert found == pytest.approx(getattr(numbers, quantity), rel=CLOSE)
    theory = table[table.source == "theory"]
    assert set(theory.trained) == {6, 12, 24}
    assert set(theory.value) == {0.0}


@pytest.mark.parametrize("kind", [IN_CONTEXT, CHAIN])
def test_each_head_is_pruned_and_held_alone(by_kind, kind):
    table = multilayer.heads(TINY, by_kind)
    its, task = member(by_kind[kind]), prompts_of(kind)
    batch, world = few(task), task.world(stream(SEED, "world"))

    def measured(quantity, intervention, *axes):
        where = {"kind": kind, "quantity": quantity, "seed": SEED}
        return of(table, *axes, intervention=intervention, **where)

    def without(params, layer, head):
        weights = params["W_O"].clone()
        weights[layer, head] = 0
        return {**params, "W_O": weights}

    def told(**how):
        return one_by_one(kind, its.final, batch, world, **how)

    def require_found(numbers, intervention, place, *axes):
        for quantity in ("error", "loss"):
            found = measured(quantity, intervention, *axes)[place]
            assert found == pytest.approx(getattr(numbers, quantity), rel=CLOSE)

    require_found(told(), "none", (SEED,), "seed")
    for at in ((0, 2), (1, 1)):
        pruned, held = told(change=lambda p, at=at: without(p, *at)), told(hold=at)
        place = (at[0] + 1, at[1] + 1)
        require_found(pruned, "pruned", place, "layer", "head")
        require_found(held, "uniform", place, "layer", "head")


def test_losses_tell_interventions_apart(by_kind):
    """An error is a count, and may stay; a loss moves with every head."""
    table = multilayer.heads(TINY, by_kind)
    where = {"kind": IN_CONTEXT, "quantity": "loss", "seed": SEED}
    found = [of(table, "layer", "head", intervention=x, **where) for x in ("pruned", "uniform")]
    values = [*found[0].values(), *found[1].values()]
    assert len(set(values)) == len(values) == 2 * LAYERS * HEADS


def test_neurons_of_all_layers_are_pruned_by_what_they_write(by_kind):
    table = multilayer.neurons(TINY, by_kind)
    its, task = member(by_kind[IN_CONTEXT]), prompts_of(IN_CONTEXT)
    batch = few(task)

    def without(params, order):
        kept = keep(params["W_2"], 0.4, order, stream(SEED, "probe"))
        return {**params, "W_2": params["W_2"] * kept[..., None]}

    for order in ("smallest", "random", "largest"):
        numbers = one_by_one(
            IN_CONTEXT, its.final, batch, None, lambda p, order=order: without(p, order)
        )
        for quantity in ("error", "loss"):
            where = {"kind": IN_CONTEXT, "quantity": quantity, "order": order, "seed": SEED}
            found = of(table, "fraction", **where)[0.4,]
            assert found == pytest.approx(getattr(numbers, quantity), rel=CLOSE)
    everything = of(table, "order", fraction=1.0, kind=CHAIN, quantity="loss", seed=SEED)
    assert len(set(everything.values())) == 1


def test_mixed_patterns_are_measured_as_any_other_prompts(by_kind):
    table = multilayer.shift(TINY, by_kind)
    its = member(by_kind[IN_CONTEXT])
    task = OutOfDomain(trained=TINY.in_context(), coefficient_sum=1.1)
    masses, error, loss = one_by_one(IN_CONTEXT, its.final, few(task), None)
    where = {"kind": IN_CONTEXT, "at": 1.1, "seed": SEED}
    for quantity, expected in (("error", error), ("loss", loss)):
        found = of(table, "at", quantity=quantity, **where)
        assert found == {(1.1,): pytest.approx(expected, rel=CLOSE)}
    found = of(table, "layer", "head", quantity="concentration", **where)
    assert found[2, 3] == pytest.approx(masses[1, 2].item(), abs=CLOSE)


def wrong_steps(result, noise):
    """Of one member along its chains, step by step by hand."""
    seed, model = result.run.seed, TINY.model(CHAIN)
    task = NoisyReasoning(
        trained=TINY.chain, transitions=noiseless(3, 10), length=TINY.chain.length, noise=noise
    )
    batch, world = few(task, seed), task.world(stream(seed, "world"))
    patterns, codes = world.patterns.float(), world.codes.float()
    wrong = 0
    for b in range(TINY.prompts):
        chain = batch.prompt[b, -1:].clone()
        for k in range(3):
            gap = torch.zeros(3 - len(chain), 60)
            prompt = torch.cat([batch.prompt[b, :60], gap, chain])
            there = torch.tensor([True] * 60 + [False] * len(gap) + [True] * len(chain))
            output = model.forward(result.final, prompt, there).output
            v = int((output - patterns).norm(dim=-1).argmin())
            wrong += v != int(batch.latent.chain[b, k + 1])
            chain[-1, 30:] = patterns[v]
            if k < 2:
                asked = torch.cat([patterns[v] + codes[k + 1], torch.zeros(30)])
                chain = torch.cat([chain, asked[None]])
    return wrong / (3 * TINY.prompts)


def test_a_chain_is_greedy_and_its_prompts_are_laid_out_as_in_training(by_kind):
    """The query in the last column, padding before its chain.

    An error is a coarse count, so there are several, of heads that are sharp: a few columns more or
    less do not show where attention is nearly uniform.
    """
    sharp = [
        replace(result, params={name: 3 * leaf for name, leaf in result.params.items()})
        for result in by_kind[CHAIN]
    ]
    table = multilayer.shift(TINY, {**by_kind, CHAIN: sharp})
    found = of(table, "at", "seed", kind=CHAIN, quantity="error")
    expected = {
        (noise, result.run.seed): wrong_steps(result, noise)
        for noise in (0.0, 0.2, 0.4, 0.6, 0.7)
        for result in sharp
    }
    assert found == pytest.approx(expected)


def test_variants_are_measured_on_their_own_tasks_before_and_after():
    results = {name: trained(runs) for name, runs in TINY.by_variant().items()}
    table = multilayer.variants(TINY, results)
    assert set(table.variant) == set(results)
    its = member(results["normalization after"])
    batch = few(TINY.in_context())
    for when, params in (("before", its.at(0)), ("after", its.final)):
        masses = []
        for b in range(TINY.prompts):
            trace = its.run.model.forward(params, batch.prompt[b], batch.mask[b])
            masses.append((trace.attention[:, :, -1, :-1] * batch.latent.relevant[b]).sum(-1))
        mean = torch.stack(masses).mean(0)
        where = {"variant": "normalization after", "when": when, "seed": SEED}
        found = of(table, "layer", "head", quantity="concentration", **where)
        assert found[2, 1] == pytest.approx(mean[1, 0].item(), abs=CLOSE)
