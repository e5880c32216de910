"""What the published setting must reach in every seed, not in the mean; `make slow` runs it."""

from dataclasses import replace

import pytest

from synthetic_tasks.transitions import noiseless
from tdlab.models import KERNELS
from tdlab.studies import cot, icl, kernels
from tdlab.sweep import trained


@pytest.mark.slow
def test_at_preset_paper_every_seed_generalizes_attends_and_follows_the_coefficient_sum():
    setting = icl.setting("paper")
    results = trained(setting.runs())
    dynamics = icl.dynamics(setting, results)
    last = dynamics[(dynamics.tasks == "unseen") & (dynamics.step == 400)]
    last = last[last.source == "measured"].set_index("quantity").value
    assert len(last["zero_one"]) == 32
    assert (last["zero_one"] < 0.005).all()
    assert (last["concentration"] > 0.85).all()

    shift = icl.out_of_domain(setting, results)
    hinge = shift[(shift.quantity == "hinge") & (shift.source == "measured")]
    at = hinge.set_index(["pairing", "pair", "seed", "coefficient_sum"]).value.unstack()
    assert (at[0.5] > at[0.9]).all()

    pruning = icl.pruning(setting, results)
    hinge = pruning[(pruning.quantity == "hinge") & (pruning.source == "measured")]
    at = hinge[hinge.alpha == 0.8].set_index(["order", "seed", "fraction"]).value.unstack()
    assert (at.loc["smallest"][0.1] - at.loc["smallest"][0.0]).mean() < 0.001
    # About linear beyond a tenth: a straight line leaves less than 1 % of the variance.
    steep = at.loc["largest"][[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]].mean()
    correlation = steep.corr(steep.index.to_series())
    assert correlation**2 > 0.99


@pytest.mark.slow
def test_at_preset_paper_every_chain_attends_and_reasons_where_in_context_learning_fails():
    setting = cot.setting("paper", seeds=8)
    results = trained(setting.runs())
    dynamics = cot.dynamics(setting, results)
    last = dynamics[(dynamics.step == 2000) & (dynamics.source == "measured")]
    right = last[(last.alpha == 0.4) & (last.place == "same step, same pattern")].value
    assert len(right) == 8
    assert (right > 0.9).all()

    clean = noiseless(setting.chain, setting.test_patterns)
    many = replace(setting, prompts=10_000)
    for noise in (0.0, 0.2):
        task = setting.test(clean, noise=noise, length=setting.length)
        along = cot.along_chain(many, results, task)
        wrong = along[along.quantity == "error"]
        assert len(wrong) == 8 * 3
        assert (wrong.value == 0).all()

    failing = cot.errors(setting, results, setting.test(setting.failing_noise))
    longest = failing[failing.length == 100].set_index(["inference", "output"]).value.sort_index()
    assert (longest["in context", "final answer"] > 0.8).all()
    assert (longest["chain of thought", "mean over steps"] < 0.1).all()


@pytest.mark.slow
def test_at_preset_paper_every_kernel_reaches_zero_loss_where_all_matrices_are_trained():
    setting = replace(kernels.setting("paper"), samples=4, tokens=4, width=16, heads=(2, 4))
    setting = replace(setting, steps=1500)
    runs = {kernel: setting.layer_runs(kernel, 4) for kernel in KERNELS}
    assert {run.dtype for each in runs.values() for run in each} == {"float64"}
    results = trained([run for each in runs.values() for run in each])
    phase = kernels.phase(
        setting,
        {(k, "all", 4): [each for each in results if each.run in runs[k]] for k in KERNELS},
    )
    loss = phase[phase.quantity == "relative loss"]
    assert len(loss) == 3 * setting.seeds
    assert (loss.value < 1e-14).all()


@pytest.mark.slow
def test_digits_are_told_apart_with_at_least_one_kernel_if_training_is_long_enough():
    setting = kernels.setting("paper", digit_steps=1500)
    runs = kernels.classification_runs(setting)
    digits = {point: trained(each) for point, each in runs.items() if "digits" in point}
    table = kernels.classification(setting, digits)
    last = table[(table.step == setting.digit_steps) & (table.source == "measured")]
    accuracy = last[last.quantity == "accuracy"]
    assert accuracy.groupby("kernel").size().tolist() == [5, 5]
    assert accuracy.groupby("kernel").value.mean().max() >= 0.95
