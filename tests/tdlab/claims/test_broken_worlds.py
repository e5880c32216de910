"""Negative controls: no claim agrees in a world that is broken where the claim looks.

Each broken world has a sound one beside it, from which it differs in one thing, and where the claim
agrees, or what it says of the matter does. Labels that say nothing and attention that stays are
really trained, and patterns outside the span really measured on what was trained. Planted are laws
(of steps, lengths and batches, and of attention in eta), and what takes too long to measure: errors
over grids of chains, attention kernels, and several layers, but for those that nobody trained.
"""

import re
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import product
from types import SimpleNamespace
from typing import NamedTuple

import pandas as pd
import pytest

from synthetic_tasks import OutOfDomain
from tdlab.claims import li2024, li2025, multilayer, song2024
from tdlab.claims.claim import AGREES, DISAGREES, INCONCLUSIVE, Claim, overall
from tdlab.optimisers import SGD
from tdlab.store import Memory
from tdlab.studies import cot, icl
from tdlab.studies import multilayer as several
from tdlab.studies.cot.attention import MIXED
from tdlab.studies.icl.coverage import coverage_tasks
from tdlab.studies.multilayer.setting import KINDS
from tdlab.studies.regimes import OURS
from tdlab.sweep import trained
from tests.tdlab.claims.broken import (
    COT,
    ICL,
    But,
    ShuffledLabels,
    given_out,
    laws_in_context,
    laws_of_chains,
    named,
    on,
    taken_for,
    untrained,
)
from tests.tdlab.claims.li2024 import tables as of_prompts
from tests.tdlab.claims.li2024.tables import step_sizes, training_lengths
from tests.tdlab.claims.li2025 import tables as of_chains
from tests.tdlab.claims.song2024 import tables as of_kernels
from tests.tdlab.claims.test_multilayer import WORLDS as LAYERS

FEWER = replace(ICL, prompts=100)  # where many tables are made of each prompt
UNMEASURED = "cannot be measured"  # what a scorecard says where a rule finds nothing to judge


class Case(NamedTuple):
    """A claim, or its parts of some words, in two worlds: fixtures of these names."""

    claim: Claim
    sound: str
    broken: str
    about: str = ""
    reads: str = DISAGREES  # in the broken world


# In context.


@pytest.fixture(scope="module")
def prompts():
    """The sound world; that attention ends higher at small eta is planted."""
    runs = [run for task in coverage_tasks(ICL).values() for run in ICL.runs(task)]
    measurements = icl.Measurements(ICL, known=trained(runs, store=Memory()))
    shift = out_of_domain(measurements)
    pruning = icl.pruning(FEWER, measurements.results(ICL.runs()))
    return But(measurements, shift=shift, pruning=pruning, step_sizes=step_sizes())


def out_of_domain(measurements, **changes):
    """All that claims look at of a shift, at some of its sums; ``changes`` are fields of tasks."""
    with pytest.MonkeyPatch.context() as patch:
        study = import_module("tdlab.studies.icl.shift")
        patch.setattr(study, "COEFFICIENT_SUMS", (0.5, 0.9, 1.0, 1.2, 1.4))
        patch.setattr(study, "OutOfDomain", partial(OutOfDomain, **changes))
        return icl.out_of_domain(FEWER, measurements.results(ICL.runs()))


def in_domain(prompts, runs):
    """What these runs make of a world that is sound otherwise."""
    measurements = icl.Measurements(ICL, known=taken_for(ICL.runs(), runs))
    return But(measurements, shift=prompts.shift, step_sizes=prompts.step_sizes)


@pytest.fixture(scope="module")
def labels_shuffled(prompts):
    return in_domain(prompts, on(ShuffledLabels, ICL.runs()))


@pytest.fixture(scope="module")
def attention_frozen(prompts):
    return in_domain(prompts, [run.frozen_from(0, "W_Q", "W_K") for run in ICL.runs()])


@pytest.fixture(scope="module")
def task_sets_alike(prompts):
    results = prompts.results(ICL.runs())
    return But(prompts, coverage=icl.coverage(ICL, dict.fromkeys(coverage_tasks(ICL), results)))


@pytest.fixture(scope="module")
def patterns_outside(prompts):
    """Of each pattern 0.8 of its norm lies outside the span of the trained ones, whatever S_1."""
    return But(prompts, shift=out_of_domain(prompts, outside=0.8))


@pytest.fixture(scope="module")
def neurons_upside_down(prompts):
    """The smallest neurons are pruned where the largest are to be."""
    turned = {"smallest": "largest", "largest": "smallest"}
    return But(prompts, pruning=named(prompts.pruning, "order", turned))


@pytest.fixture(scope="module")
def laws(prompts):
    return But(prompts, **laws_in_context(other=False), training_lengths=training_lengths())


@pytest.fixture(scope="module")
def other_laws(laws):
    return But(laws, **laws_in_context(other=True), step_sizes=step_sizes(exponent=-0.7))


# Chains of thought.


@pytest.fixture(scope="module")
def chains():
    runs = [*COT.runs(), *COT.runs(COT.wide_task)]
    return cot.Measurements(COT, known=trained(runs, store=Memory()))


@pytest.fixture(scope="module")
def chains_frozen(chains):
    """W_V moves in place of W, in smaller steps: in those of W it would diverge.

    The runs with room for patterns outside the span are sound.
    """
    runs = COT.runs()
    frozen = taken_for(runs, COT.runs(trained=("W_V",), optimiser=SGD(lr=1.0)))
    return cot.Measurements(COT, known=[*frozen, *chains.results(COT.runs(COT.wide_task))])


@pytest.fixture(scope="module")
def chains_outside(chains):
    """No part of a pattern lies in the trained span, where some is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("tdlab.studies.cot.attention"), "MIXED", 0.0)
        base, wide = chains.results(COT.runs()), chains.results(COT.runs(COT.wide_task))
        attention = cot.attention(COT, base, wide)
    component, noise = (
        chains.shift[chains.shift.varied == name] for name in ("component", "noise")
    )
    component = given_out(component, "at", 0.0, MIXED)
    return But(chains, attention=attention, shift=pd.concat([component, noise]))


@pytest.fixture(scope="module")
def laws_of_thought():
    """With planted errors: those of all grids and lengths take long to measure."""
    tables = {name: of_chains.TABLES[name]() for name in ("chain_errors", "in_context_errors")}
    return SimpleNamespace(setting=of_chains.SETTING, **tables, **laws_of_chains(other=False))


@pytest.fixture(scope="module")
def other_laws_of_thought(laws_of_thought):
    return But(laws_of_thought, **laws_of_chains(other=True))


@pytest.fixture(scope="module")
def chains_guess(laws_of_thought):
    """Three of four answers are wrong, whatever there is to be seen."""
    every = product(range(3), range(3), of_chains.CURVES)
    wrong = dict.fromkeys(every, 0.75)
    errors, in_context = of_chains.chain_errors(wrong), of_chains.in_context_errors(wrong)
    return But(laws_of_thought, chain_errors=errors, in_context_errors=in_context)


# Attention kernels.


@pytest.fixture(scope="module")
def kernels():
    return SimpleNamespace(**{name: table() for name, table in of_kernels.TABLES.items()})


@pytest.fixture(scope="module")
def kernels_swapped(kernels):
    swapped = {"softmax": "gaussian", "gaussian": "softmax"}
    tables = {name: named(each, "kernel", swapped) for name, each in vars(kernels).items()}
    return SimpleNamespace(**tables)


@pytest.fixture(scope="module")
def one_kernel(kernels):
    """Softmax in both places."""
    return SimpleNamespace(
        **{
            name: given_out(each, "kernel", "softmax", "gaussian")
            for name, each in vars(kernels).items()
        }
    )


@pytest.fixture(scope="module")
def kernel_stuck(kernels):
    """What the Gaussian kernel reaches is what it started from."""
    return But(kernels, phase=of_kernels.phase(gaussian=0.0))


@pytest.fixture(scope="module")
def kernel_still(kernel_stuck):
    """And its loss has no rate."""
    table = kernel_stuck.rates
    still = (table.kernel == "gaussian") & (table.quantity == "rate") & (table.source == "measured")
    return But(kernel_stuck, rates=table.assign(value=table.value.mask(still, 0.0)))


# Several layers.


@pytest.fixture(scope="module")
def layers():
    tables = [LAYERS.measured(claim) for claim in multilayer.CLAIMS]
    return SimpleNamespace(**{k: v for each in tables for k, v in vars(each).items()})


@pytest.fixture(scope="module")
def layers_untrained():
    setting = several.setting("paper", steps=1, width=8, hidden=8, prompts=20)
    runs = [run for kind in KINDS for run in setting.runs(kind)]
    runs += [run for each in setting.by_tasks().values() for run in each]
    return several.Measurements(setting, known=[untrained(run) for run in runs])


CASES = [
    Case(li2024.generalization, "prompts", "labels_shuffled"),
    Case(li2024.generalization, "prompts", "attention_frozen"),
    Case(li2024.coverage, "prompts", "task_sets_alike"),
    *(
        Case(li2024.iterations, "laws", "other_laws", f"of T in {number}$")
        for number in ("eta", "alpha", "beta", "M1")
    ),
    Case(li2024.prompt_length, "laws", "other_laws"),
    Case(li2024.batch, "laws", "other_laws"),
    Case(li2024.attention, "prompts", "labels_shuffled", "in domain"),
    Case(li2024.attention, "prompts", "attention_frozen", "in domain"),
    Case(li2024.attention, "prompts", "patterns_outside", "out of domain"),
    Case(li2024.attention, "laws", "other_laws", "exponent"),
    Case(li2024.neurons, "prompts", "labels_shuffled", reads=UNMEASURED),
    Case(li2024.shift, "prompts", "patterns_outside", "S_1 >= 1.*no training tasks"),
    Case(li2024.pruning, "prompts", "neurons_upside_down", "large neurons"),
    Case(li2024.classical, "prompts", "labels_shuffled", "kappa' = 2"),
    *(
        Case(li2025.training, "laws_of_thought", "other_laws_of_thought", f"of T in {number}$")
        for number in ("alpha", "K", "M", "eps")
    ),
    Case(li2025.two_phases, "chains", "chains_frozen", reads=UNMEASURED),
    Case(li2025.attention, "chains", "chains_frozen", "training|clean|noisy"),
    Case(li2025.attention, "chains", "chains_outside", "out of domain"),
    Case(li2025.inference, "laws_of_thought", "chains_guess", "error"),
    Case(li2025.inference, "laws_of_thought", "other_laws_of_thought", "exponent"),
    Case(li2025.icl_needs_condition_1, "chains", "chains_frozen"),
    Case(li2025.in_context, "laws_of_thought", "chains_guess", "error"),
    Case(li2025.in_context, "laws_of_thought", "other_laws_of_thought", "exponent"),
    Case(li2025.shift, "chains", "chains_outside", "component"),
    Case(song2024.convergence, "kernels", "kernel_stuck"),
    Case(song2024.convergence, "kernels", "kernel_still", reads=UNMEASURED),
    Case(song2024.bad_basin, "kernels", "kernels_swapped"),
    Case(song2024.bad_basin, "kernels", "one_kernel", reads=INCONCLUSIVE),
    Case(song2024.landscape, "kernels", "kernels_swapped"),
    Case(song2024.landscape, "kernels", "one_kernel"),
    Case(song2024.classification, "kernels", "kernels_swapped"),
    Case(song2024.classification, "kernels", "one_kernel"),
    Case(multilayer.in_context, "layers", "layers_untrained"),
    Case(multilayer.chain_of_thought, "layers", "layers_untrained"),
]


@pytest.fixture(scope="module")
def judged(request):
    """What a claim finds in a world, found once."""
    known = {}

    def found(claim, world):
        if (claim.id, world) not in known:
            try:
                known[claim.id, world] = claim.findings(request.getfixturevalue(world))
            except ArithmeticError:
                known[claim.id, world] = UNMEASURED
        return known[claim.id, world]

    return found


def read(found, about):
    """The verdict on the parts of these words; nearer the theorem counts as much."""
    if found == UNMEASURED:
        return UNMEASURED
    its = [finding._replace(regime=OURS) for finding in found if re.search(about, finding.part)]
    return overall(its)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.claim.id} {case.broken} {case.about}".strip()
)
def test_a_claim_that_agrees_in_a_sound_world_does_not_in_a_broken_one(case, judged):
    assert read(judged(case.claim, case.sound), case.about) == AGREES
    assert read(judged(case.claim, case.broken), case.about) == case.reads


def test_what_pruning_costs_cannot_be_measured_where_no_neuron_is_large():
    tables = SimpleNamespace(setting=of_prompts.SETTING, pruning=of_prompts.pruning())
    tables.pruning = tables.pruning.assign(large=0.0)
    with pytest.raises(ArithmeticError, match=r"^no neuron is large \(label part above 0\.1\) in"):
        li2024.pruning.findings(tables)


def test_every_claim_has_a_broken_world():
    papers = (li2024, li2025, song2024, multilayer)
    claims = {claim.id for paper in papers for claim in paper.CLAIMS}
    assert {case.claim.id for case in CASES} == claims
    assert AGREES not in {case.reads for case in CASES}
