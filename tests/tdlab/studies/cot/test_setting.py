"""The presets of the chain-of-thought study, and the runs and prompts that a setting asks for."""

import math
from dataclasses import replace

import numpy as np
import pytest

from synthetic_tasks import Reasoning
from synthetic_tasks.transitions import noiseless
from tdlab.models import FactoredOneHead, OneHead
from tdlab.studies.cot import PRESETS, setting

# A generic point: no number is a default, and numbers that could be confused differ.
OTHER = setting(
    "quick",
    seeds=3,
    first_seed=5,
    steps=7,
    lr=0.3,
    width=14,
    patterns=6,
    chain=2,
    length=9,
    alpha=0.45,
    xi=0.02,
    snapshots=2,
    test_patterns=4,
    test_alpha=0.65,
    tau=0.55,
    rho=0.54,
    tau_o=0.6,
    rho_o=0.64,
    failing=0.58,
    noise=0.3,
    lengths=(6, 13, 8),
    test_alphas=(0.35, 0.85),
    taus=(0.52, 0.62),
    rhos=(0.56, 0.66, 0.72),
    wide=16,
    shift_alpha=0.25,
    shift_length=5,
    rate_alphas=(0.75, 0.3, 0.5),
    rate_chains=(1, 3, 4),
    rate_patterns=(5, 7, 6),
    rate_losses=(0.2, 0.07, 0.1),
    rate_loss=0.04,
)
TASK = Reasoning(width=14, patterns=6, steps=2, length=9, alpha=0.45)


def of(thing, names):
    return [getattr(thing, name) for name in names.split()]


def four(noise):
    return of(noise, "tau rho tau_o rho_o")


# The presets.


def test_the_paper_preset_is_the_papers_setting():
    paper = setting("paper")
    assert paper == PRESETS["paper"]
    assert of(paper, "width patterns test_patterns chain") == [30, 20, 10, 3]
    assert of(paper, "alpha test_alpha tau rho") == [0.4, 0.8, 0.5, 0.8]
    assert of(paper, "tau_o rho_o noise") == [0.5, 0.6, 0.2]
    ours = of(paper, "length xi lr steps seeds wide shift_alpha first_seed")
    assert ours == [20, 1e-3, 1.0, 2000, 16, 40, 0.2, 0]
    assert [run.batch for run in paper.runs()] == [60] * 16
    assert max(paper.lengths) == 100


def test_the_quick_preset_is_the_same_training_in_larger_steps_with_less_of_everything():
    quick, paper = setting(), setting("paper")
    assert quick == PRESETS["quick"]
    assert quick.lr * quick.steps == paper.lr * paper.steps
    fewer = ("seeds", "prompts", "steps", "rate_seeds", "rate_steps")
    grids = ("lengths", "rate_alphas", "rate_chains", "rate_patterns", "rate_losses")
    others = {name: getattr(quick, name) for name in (*fewer, *grids, "lr", "rate_lr")}
    assert replace(paper, **others) == quick
    assert all(getattr(quick, name) < getattr(paper, name) for name in fewer)
    for name in grids:
        assert set(getattr(quick, name)) <= set(getattr(paper, name)) | {70}
        assert len(getattr(quick, name)) < len(getattr(paper, name))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_papers_own_numbers_are_points_of_the_grids(preset):
    its = setting(preset)
    assert its.tau in its.taus
    assert its.rho in its.rhos
    assert its.test_alpha in its.test_alphas
    assert its.tau_o in its.taus
    assert its.rho_o in its.rhos
    assert its.alpha in its.rate_alphas
    assert its.length * its.alpha >= 8


def test_none_means_the_presets_value_and_anything_else_is_taken():
    assert setting("quick", alpha=None, lengths=None) == setting("quick")
    changed = setting("paper", alpha=0.6, seeds=None, noise=0.0, lengths=[9, 4])
    assert of(changed, "alpha seeds noise lengths") == [0.6, 16, 0.0, (9, 4)]
    assert replace(changed, alpha=0.4, noise=0.2, lengths=setting("paper").lengths) == (
        setting("paper")
    )


# Runs.


def test_a_setting_reaches_the_runs_it_asks_for():
    runs = OTHER.runs()
    assert [run.seed for run in runs] == [5, 6, 7]
    assert len({run.id for run in runs}) == 3
    for run in runs:
        assert run.task == TASK
        assert run.model == OneHead(width=14, xi=0.02)
        assert of(run, "loss batch steps dtype trained") == ["squared", 12, 7, "float32", None]
        assert of(run.optimiser, "lr") == [0.3]
        assert run.snapshots.steps(run.steps) == (0, 1, 7)


def test_a_run_is_the_same_whoever_asks_for_it():
    longer = replace(OTHER, seeds=4, first_seed=6, steps=9, prompts=3, tau=0.56, wide=20)
    assert [run.id for run in longer.runs()[:2]] == [run.id for run in OTHER.runs()[1:]]
    for changes in ({"lr": 0.4}, {"xi": 0.03}, {"alpha": 0.5}, {"length": 8}, {"width": 15}):
        other = replace(OTHER, **changes)
        assert not {run.id for run in other.runs()} & {run.id for run in OTHER.runs()}


@pytest.mark.parametrize("task", [replace(TASK, width=16), replace(TASK, steps=4, patterns=5)])
def test_runs_on_another_task_have_its_width_and_its_balanced_batch(task):
    for run, own in zip(OTHER.runs(task), OTHER.runs(), strict=True):
        assert run.task == task
        assert run.batch == task.steps * task.patterns
        assert run.model == OneHead(width=task.width, xi=0.02)
        assert of(run, "seed steps loss optimiser") == of(own, "seed steps loss optimiser")


def test_fields_of_all_runs_can_be_changed():
    apart = FactoredOneHead(width=14, delta=0.4)
    runs = OTHER.runs(model=apart, steps=3, dtype="float64")
    assert [of(run, "seed model steps dtype") for run in runs] == [
        [seed, apart, 3, "float64"] for seed in (5, 6, 7)
    ]


def test_the_wide_task_differs_in_its_width_alone():
    assert OTHER.task == TASK
    assert OTHER.wide_task == replace(TASK, width=16)


# Test prompts.


def assert_prompts(task, noise, alpha=0.65):
    """Prompts of the longest length as the setting has them, with this noise and alpha'."""
    assert four(task.transitions) == pytest.approx(noise)
    assert task.transitions.condition_1
    assert of(task.transitions, "steps patterns") == [2, 4]
    assert of(task, "trained length alpha component noise") == [TASK, 13, alpha, 1.0, 0.3]


def test_the_chains_grids_hold_the_alpha_tau_and_rho_they_are_filed_under():
    grids = OTHER.chain_grids
    assert {name: list(grid) for name, grid in grids.items()} == {
        "alpha": [0.35, 0.85],
        "tau": [0.52, 0.62],
        "rho": [0.56, 0.66, 0.72],
    }
    for x, task in grids["alpha"].items():
        assert_prompts(task, [0.55, 0.54, 0.55, 0.54], alpha=x)
        assert task.transitions == OTHER.chain_noise
    for x, task in grids["tau"].items():
        assert_prompts(task, [x, 0.54, x, 0.54])
    for x, task in grids["rho"].items():
        assert_prompts(task, [0.55, x, 0.55, x])


def test_the_outcomes_grids_hold_the_alpha_tau_o_and_rho_o_they_are_filed_under():
    grids = OTHER.outcome_grids
    assert {name: list(grid) for name, grid in grids.items()} == {
        "alpha": [0.35, 0.85],
        "tau_o": [0.52, 0.62],
        "rho_o": [0.56, 0.66, 0.72],
    }
    for x, task in grids["alpha"].items():
        assert_prompts(task, [0.6, 0.64, 0.6, 0.64], alpha=x)
    for x, task in grids["tau_o"].items():
        assert_prompts(task, [x, 0.64, x, 0.64])
    for x, task in grids["rho_o"].items():
        assert_prompts(task, [0.6, x, 0.6, x])


def test_all_noise_that_condition_1_survives_sits_in_the_first_step():
    first, second = OTHER.chain_noise.stepwise
    assert np.diag(first) == pytest.approx(0.55)
    assert second.tolist() == np.eye(4).tolist()


def test_failing_noise_goes_wrong_alike_at_every_step():
    noise = OTHER.failing_noise
    assert not noise.condition_1
    for matrix in noise.stepwise:
        assert sorted(set(matrix.flatten())) == pytest.approx([0.0, 0.42, 0.58])
        assert np.diag(matrix) == pytest.approx(0.58)
    assert noise.tau == pytest.approx(0.58**2)
    # Below 3/4 at K = 3, and below 2/3 at K = 2.
    assert not setting(failing=0.7499).failing_noise.condition_1
    assert not replace(OTHER, failing=0.6666).failing_noise.condition_1


@pytest.mark.parametrize(("component", "noise"), [(0.0, 0.0), (0.6, 0.1), (1.0, 0.7)])
def test_shifted_prompts_have_right_steps_and_patterns_that_leave_the_span(component, noise):
    task = OTHER.shifted(component, noise)
    assert of(task, "component noise alpha length") == [component, noise, 0.25, 5]
    assert task.trained == OTHER.wide_task
    assert task.transitions == noiseless(2, 4)


def test_fields_of_test_prompts_can_be_changed():
    task = OTHER.test(OTHER.failing_noise, length=3, noise=0.0)
    assert of(task, "length noise alpha trained") == [3, 0.0, 0.65, TASK]
    assert task.transitions == OTHER.failing_noise


# What steps are counted against.


def test_rate_tasks_differ_from_the_training_task_in_what_is_varied():
    tasks = OTHER.rate_tasks
    longer = math.ceil(8 / 0.3)
    expected = {("alpha", x): replace(TASK, alpha=x, length=longer) for x in (0.75, 0.3, 0.5)}
    expected |= {("steps", x): replace(TASK, steps=x) for x in (1, 3, 4)}
    expected |= {("patterns", x): replace(TASK, patterns=x) for x in (5, 7, 6)}
    assert tasks == {**expected, ("loss", 0.04): TASK}
    assert list(tasks) == [*expected, ("loss", 0.04)]


@pytest.mark.parametrize("its", [*PRESETS.values(), OTHER])
def test_where_alpha_is_varied_there_are_enough_examples_for_the_smallest(its):
    varied = [task for (name, _), task in its.rate_tasks.items() if name == "alpha"]
    (length,) = {task.length for task in varied}  # one for all: alpha alone is varied
    assert all(length >= 8 / task.alpha for task in varied)
    assert any(length - 1 < 8 / task.alpha for task in varied)


def test_nearer_the_theorem_losses_are_smaller():
    losses = replace(OTHER, near_by=4).regime_losses
    assert losses == {
        "ours": (0.04, (0.2, 0.07, 0.1)),
        "nearer the theorem": (0.01, (0.05, 0.0175, 0.025)),
    }


# Refusals.

WIDTH = (
    r"^width \(d_X\) is {}, but {} patterns \(M\) and {} position codes \(K\) take {} dimensions$"
)
GRID = r"^{} is {}, but must be different values, at least two$"
LAW = r"^{} is {}, but must be different values, at least 3$"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "papre"}, r"^preset is 'papre', but must be one of paper, quick$"),
        ({"seeds": 1}, r"^seeds is 1, but must be at least 2$"),
        ({"prompts": 0}, r"^prompts is 0, but must be at least 1$"),
        ({"steps": -1}, r"^steps is -1, but must be at least 0$"),
        ({"lr": 0.0}, r"^lr is 0\.0, but must lie in \(0, inf\)$"),
        ({"xi": -1.0}, r"^xi is -1\.0, but must lie in \[0, inf\)$"),
        ({"delta": 0.0}, r"^delta is 0\.0, but must lie in \(0, inf\)$"),
        ({"alpha": 1.2}, r"^alpha is 1\.2, but must lie in \(0, 1\]$"),
        ({"test_alpha": 0.0}, r"alpha is 0\.0, but must lie in \(0, 1\]$"),
        ({"test_alphas": (0.4, 1.2)}, r"alphas? is 1\.2, but must lie in \(0, 1\]$"),
        ({"shift_alpha": math.nan}, r"alpha is nan, but must lie in \(0, 1\]$"),
        ({"shift_length": 0}, r"length.* is 0, but must be at least 1$"),
        ({"length": 0}, r"^length \(l\) is 0, but must be at least 1$"),
        ({"chain": 0}, r"\(K\) is 0, but must be at least 1$"),
        ({"patterns": 28}, WIDTH.format(30, 28, 3, 31)),
        ({"width": 22}, WIDTH.format(22, 20, 3, 23)),
        ({"chain": 11}, WIDTH.format(30, 20, 11, 31)),
        ({"wide": 22}, r"is 22, but 20 patterns \(M\) and 3 position codes \(K\) take 23 "),
        ({"wide": 32}, r"is 32, but component 0\.5 takes 33: 20 patterns, 3 codes, and 10 "),
        ({"test_patterns": 21}, r"^patterns \(M'\) is 21, but .* holds only M = 20 of d_X = 30 "),
        ({"noise": math.sqrt(0.5)}, r"^noise is 0\.7071\d+, but must lie in \[0, 0\.707107\)$"),
        ({"noise": -0.1}, r"^noise is -0\.1, but must lie in \[0, 0\.707107\)$"),
    ],
)
def test_a_number_out_of_range_is_named_in_one_line(given, message):
    with pytest.raises(ValueError, match=message):
        setting(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tau": 0.1}, r"^tau is 0\.1, but must lie in \(0\.1, 1\]$"),
        ({"taus": (0.5, 1.1)}, r"^tau is 1\.1, but must lie in \(0\.1, 1\]$"),
        ({"rho": 0.85}, r"^rho is 0\.85, but with tau = 0\.4 and 10 .* lie in \(0, 0\.8333\]$"),
        ({"rhos": (0.4, 0.9)}, r"^rho is 0\.9, but with tau = 0\.5 .* lie in \(0, 0\.8889\]$"),
        (
            {"tau": 0.7, "rho": 0.4},
            r"^rho is 0\.4, but with tau = 0\.7 .* in \[0\.5714, 0\.9524\]$",
        ),
        (
            {"tau_o": 0.7, "rho_o": 0.5},
            r"^rho_o is 0\.5, but with tau_o = 0\.7 .* \[0\.5714, 0\.95",
        ),
        ({"rho_o": 0.85}, r"^rho_o is 0\.85, but with tau_o = 0\.4 .* lie in \(0, 0\.8333\]$"),
        ({"tau_o": 0.05}, r"^tau_o is 0\.05, but must lie in \(0\.1, 1\]$"),
        (
            {"failing": 0.7501},
            r"^failing is 0\.7501, but .* only below K / \(K \+ 1\) = 0\.75, with",
        ),
        ({"failing": 0.8}, r"^failing is 0\.8, but .* only below K / \(K \+ 1\) = 0\.75, with K"),
        ({"chain": 2, "failing": 0.7}, r"^failing is 0\.7, but .* only below .* = 0\.6667, with K"),
        ({"chain": 1}, r"^failing is 0\.65, but .* with K of at least 2 and below M'$"),
    ],
)
def test_noise_that_no_matrices_have_is_refused_with_its_range(given, message):
    with pytest.raises(ValueError, match=message):
        setting("paper", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lengths": (10,)}, GRID.format("lengths", r"\(10,\)")),
        ({"lengths": (10, 20, 10)}, GRID.format("lengths", r"\(10, 20, 10\)")),
        ({"lengths": (5, 0)}, r"^lengths is 0, but must be at least 1$"),
        ({"test_alphas": (0.8,)}, GRID.format("test_alphas", r"\(0\.8,\)")),
        ({"taus": ()}, GRID.format("taus", r"\(\)")),
        ({"rhos": (0.8, 0.8)}, GRID.format("rhos", r"\(0\.8, 0\.8\)")),
        ({"rate_alphas": (0.4, 0.8)}, LAW.format("rate_alphas", r"\(0\.4, 0\.8\)")),
        ({"rate_alphas": (0.4, 0.8, 1.5)}, r"alphas? is 1\.5, but must lie in \(0, 1\]$"),
        ({"rate_chains": (3, 4)}, LAW.format("rate_chains", r"\(3, 4\)")),
        ({"rate_chains": (0, 2, 3)}, r"\(K\) is 0, but must be at least 1$"),
        ({"rate_chains": (2, 3, 11)}, WIDTH.format(30, 20, 11, 31)),
        ({"rate_patterns": (9, 9, 5)}, LAW.format("rate_patterns", r"\(9, 9, 5\)")),
        ({"rate_patterns": (1, 9, 5)}, r"\(M\) is 1, but must be at least 2$"),
        ({"rate_patterns": (9, 5, 28)}, WIDTH.format(30, 28, 3, 31)),
        ({"rate_losses": (0.1, 0.2)}, LAW.format("rate_losses", r"\(0\.1, 0\.2\)")),
        ({"rate_losses": (0.1, 0.2, 0.0)}, r"^rate_losses is 0\.0, but must lie in \(0, inf\)$"),
        ({"rate_loss": 0.0}, r"is 0\.0, but must lie in \(0, inf\)$"),
        ({"rate_lr": 0.0}, r"^rate_lr is 0\.0, but must lie in \(0, inf\)$"),
        ({"rate_steps": 19}, r"^rate_steps is 19, but must be at least 20$"),
        ({"rate_seeds": 1}, r"^rate_seeds is 1, but must be at least 2$"),
        ({"near_by": 0.5}, r"^near_by is 0\.5, but must lie in \[1, inf\)$"),
    ],
)
def test_a_grid_that_nothing_can_be_measured_against_is_named_in_one_line(given, message):
    with pytest.raises(ValueError, match=message):
        setting(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chian": 2}, r"^Setting has no field 'chian'; did you mean 'chain'\? \(it has: seeds, "),
        ({"zzz": 4}, r"^Setting has no field 'zzz' \(it has: seeds, .*, near_by\)$"),
        ({"seeds": 2.5}, r"^seeds is 2\.5, but must be an integer of at least 2$"),
        ({"alpha": "0.6"}, r"^alpha is '0\.6', but must be a number$"),
        ({"lengths": (10, 2.5)}, r"^lengths is 2\.5, but must be an integer of at least 1$"),
        ({"rate_chains": (2, 2.5, 3)}, r"\(K\) is 2\.5, but must be an integer of at least 1$"),
    ],
)
def test_an_unknown_field_or_a_wrong_type_is_named_in_one_line(given, message):
    with pytest.raises(TypeError, match=message):
        setting(**given)
