"""The presets of the attention-kernel study, and the runs that a setting asks for."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from synthetic_tasks import CueText, Digits, FullBatch, KeysAndValues, Pathfinder, TokenRegression
from synthetic_tasks.threefry import stream
from tdlab.models import KERNELS, KernelLayer, OneQuery, SequenceClassifier
from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.studies.kernels import PRESETS, setting
from tdlab.studies.kernels.setting import SCALAR, STAGE_TWO, SUBSETS

# A generic point: no number is a default, and numbers that could be confused differ.
OTHER = setting(
    "quick",
    seeds=3,
    first_seed=5,
    steps=11,
    samples=3,
    tokens=2,
    width=7,
    heads=(4, 1, 2),
    head_width=5,
    value_width=6,
    query_scale=0.7,
    key_scale=1.3,
    rate_steps=31,
    problems=3,
    scales=(0.4, 2.5),
    query_steps=13,
    starts=(0.2, 1.7, -0.6),
    scalar_lr=0.3,
    scalar_steps=17,
    class_seeds=2,
    class_lr=0.02,
    batch=6,
    class_snapshots=3,
    digit_steps=19,
    text_length=40,
    path_images=10,
    stage_one="gaussian",
    land_seeds=4,
    land_width=8,
    land_hidden=9,
    land_steps=21,
    land_snapshots=2,
)
TASK = TokenRegression(samples=3, tokens=2, width=7)
LAYER = KernelLayer(width=7, heads=2, head_width=5, value_width=6, query_scale=0.7, key_scale=1.3)
KERNEL = pytest.mark.parametrize("kernel", KERNELS)


def of(thing, names):
    return [getattr(thing, name) for name in names.split()]


def heads_of(model):
    assert isinstance(model, KernelLayer)
    return model.heads


def full_batch(run):
    """That it is gradient descent in float64 on the whole of its samples."""
    assert isinstance(run.task, FullBatch)
    assert run.batch == run.task.of.size
    assert run.dtype == "float64"
    assert run.loss in ("squared", "token_squared")
    return run.task.of


# The presets.


def test_the_paper_preset_trains_what_the_study_is_about():
    paper = PRESETS["paper"]
    assert of(paper, "seeds class_seeds land_points land_samples") == [8, 5, 41, 64]
    ratios = [h * paper.width / (paper.samples * paper.tokens) for h in paper.heads]
    assert min(ratios) < 1 < 2 <= max(ratios)
    (classifier,) = {run.model for run in paper.classifier_runs(Digits(), "softmax", 5)}
    assert of(classifier, "width hidden heads layers") == [64, 128, 2, 2]
    landscape = paper.stage_two("softmax")[0].model.init(stream(0, "init"))
    assert 18_000 < sum(leaf.numel() for leaf in landscape.values()) < 25_000


def test_the_quick_preset_has_less_of_some_things_and_more_of_none():
    quick, paper = PRESETS["quick"], PRESETS["paper"]
    assert quick != paper
    changed = [f.name for f in fields(paper) if getattr(quick, f.name) != getattr(paper, f.name)]
    for name in changed:
        less, more = getattr(quick, name), getattr(paper, name)
        if isinstance(less, tuple):
            assert len(less) < len(more), name
            assert set(less) <= set(more), name
        else:
            assert less < more, name


@pytest.mark.parametrize("preset", PRESETS)
def test_starts_lie_on_either_side_of_the_barrier_and_scales_beyond_the_teachers(preset):
    its = PRESETS[preset]
    assert min(its.starts) < 1.005 < 1.04 in its.starts
    assert max(its.starts) >= 6  # where the Gaussian kernel is dead
    assert min(its.scales) < 1 < 2 in its.scales


def test_none_means_the_presets_value_and_anything_else_is_taken():
    assert setting(steps=None, heads=None) == PRESETS["quick"]
    assert setting("paper") == PRESETS["paper"]
    changed = setting("quick", width=16, seeds=None, heads=[2, 5])
    assert of(changed, "width seeds heads") == [16, PRESETS["quick"].seeds, (2, 5)]


# Regression.


@KERNEL
@pytest.mark.parametrize("subset", SUBSETS)
def test_a_setting_reaches_the_layers_it_asks_for(kernel, subset):
    runs = OTHER.layer_runs(kernel, 4, subset)
    assert [run.seed for run in runs] == [5, 6, 7]
    for run in runs:
        assert full_batch(run) == TASK
        assert run.model == replace(LAYER, kernel=kernel, heads=4)
        assert run.optimiser == Backtracking()
        assert of(run, "steps trained") == [11, SUBSETS[subset]]


def test_subsets_are_those_of_the_claim():
    assert SUBSETS == {
        "all": ("W_Q", "W_K", "W_V", "W_O"),
        "W_V": ("W_V",),
        "W_Q": ("W_Q",),
    }
    assert [run.trained for run in OTHER.layer_runs("softmax", 1)] == [SUBSETS["all"]] * 3


def test_fields_of_all_layer_runs_can_be_changed():
    runs = OTHER.layer_runs("gaussian", 2, "W_V", steps=4, optimiser=SGD(lr=0.2))
    assert [of(run, "steps optimiser trained") for run in runs] == [[4, SGD(lr=0.2), ("W_V",)]] * 3


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ((4, 1, 2), 2),  # 2 heads of width 7 are enough for twice 3 x 2 numbers, in any order
        ((1, 3, 4), 3),
        ((1, 8), 8),
    ],
)
@KERNEL
def test_queries_alone_are_trained_with_the_fewest_heads_that_are_enough(kernel, heads, expected):
    its = replace(OTHER, heads=heads)
    models = {run.model for runs in its.query_runs(kernel).values() for run in runs}
    assert {heads_of(model) for model in models} == {expected}


def test_where_no_number_of_heads_is_enough_it_is_the_most_there_are():
    its = replace(OTHER, samples=9, heads=(2, 1))
    runs = its.query_runs("softmax")["random", 1.0, 1.3]
    assert {heads_of(run.model) for run in runs} == {2}


@KERNEL
def test_queries_alone_are_trained_at_every_scale_and_with_both_large_and_on_random_targets(kernel):
    runs = OTHER.query_runs(kernel)
    assert list(runs) == [
        ("teacher", 0.4, 1.3),
        ("teacher", 2.5, 1.3),
        ("teacher", 2.5, 2.5),
        ("random", 1.0, 1.3),
    ]
    for (targets, scale, key_scale), each in runs.items():
        assert [run.seed for run in each] == [5, 6, 7]
        for run in each:
            student = replace(
                LAYER, kernel=kernel, query_scale=scale, key_scale=key_scale, shared=run.seed
            )
            teacher = replace(student, query_scale=1.0) if targets == "teacher" else None
            assert full_batch(run) == replace(TASK, teacher=teacher)
            assert run.model == student
            assert of(run, "steps trained optimiser") == [13, ("W_Q",), Backtracking()]


@KERNEL
@pytest.mark.parametrize("problem", SCALAR)
def test_a_scalar_query_is_trained_from_every_start(kernel, problem):
    runs = OTHER.scalar_runs(kernel, problem)
    for run, start in zip(runs, (0.2, 1.7, -0.6), strict=True):
        assert full_batch(run) == SCALAR[problem]
        assert run.model == OneQuery(kernel=kernel, start=start)
        assert of(run, "steps optimiser loss") == [17, SGD(lr=0.3), "squared"]


def test_the_scalar_problems_are_those_that_their_names_say():
    assert list(SCALAR.values()) == [
        KeysAndValues(keys=(-1, 0, 1), values=(1, 0, 0.5), wanted=0.8),
        KeysAndValues(keys=(-1, 0, 1), values=(1, 1, 1), wanted=2),
    ]
    assert list(SCALAR) == ["values (1, 0, 1/2), target 0.8", "values (1, 1, 1), target 2"]


# Classification.


@pytest.mark.parametrize(
    ("task", "tokens", "columns"),
    [(Digits(), 1, 64), (OTHER.text, 256, 40), (OTHER.pathfinder(16), 2, 256)],
)
def test_a_classifier_takes_the_prompts_of_its_task(task, tokens, columns):
    runs = OTHER.classifier_runs(task, "gaussian", 20)
    assert [run.seed for run in runs] == [5, 6]
    for run in runs:
        assert run.task == task
        assert run.model == SequenceClassifier(
            kernel="gaussian", token_width=tokens, columns=columns
        )
        assert of(run, "loss optimiser batch steps dtype") == [
            *("logistic", Adam(lr=0.02), 6, 20, "float32"),
        ]
        assert run.snapshots.steps(run.steps) == (0, 7, 14, 20)


def test_texts_and_images_have_the_size_that_is_asked_for():
    assert isinstance(OTHER.text, CueText)
    assert OTHER.text.length == 40
    for side in (16, 32):
        task = OTHER.pathfinder(side)
        assert isinstance(task, Pathfinder)
        assert of(task, "side size part patch") == [side, 10, "training", 1]


# Two stages.


def test_both_kernels_of_stage_two_start_after_the_same_runs_of_stage_one():
    both = {kernel: OTHER.stage_two(kernel) for kernel in STAGE_TWO}
    assert list(both) == ["softmax", "gaussian"]
    model = SequenceClassifier(width=8, hidden=9)
    for kernel, runs in both.items():
        assert [run.seed for run in runs] == [5, 6, 7, 8]
        for run in runs:
            before: Any = run.after
            assert run.model == replace(model, kernel=kernel)
            assert before.model == replace(model, kernel="gaussian")
            assert before.after is None
            assert before.seed == run.seed
            for each in (run, before):
                assert of(each, "task loss optimiser batch steps") == [
                    *(Digits(), "logistic", Adam(lr=0.02), 6, 21),
                ]
            assert run.snapshots.steps(run.steps) == (0, 11, 21)
    first, second = both.values()
    assert [run.after for run in first] == [run.after for run in second]
    assert not {run.id for run in first} & {run.id for run in second}


def test_runs_do_not_change_with_how_they_are_looked_at():
    same = replace(OTHER, seeds=2, class_snapshots=9, land_points=7, guard_scales=(1, 2, 3))
    pairs = [
        (same.layer_runs("gaussian", 2), OTHER.layer_runs("gaussian", 2)),
        tuple(its.classifier_runs(OTHER.text, "softmax", 9) for its in (same, OTHER)),
        (same.stage_two("softmax"), OTHER.stage_two("softmax")),
    ]
    for some, others in pairs:
        assert [run.id for run in some] == [run.id for run in others[: len(some)]]
    wider = replace(OTHER, width=8, land_width=10).stage_two("softmax")
    assert not {run.id for run in wider} & {run.id for run in OTHER.stage_two("softmax")}


# Refusals.

FEW = replace(OTHER, seeds=2, problems=2, land_seeds=2, heads=(1, 2))
GRID = r"^{} is {}, but must be different values, at least two$"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": 1}, r"^seeds is 1, but must be at least 2$"),
        ({"problems": 1}, r"^problems is 1, but must be at least 2$"),
        ({"class_seeds": 0}, r"^class_seeds is 0, but must be at least 1$"),
        ({"land_seeds": 1}, r"^land_seeds is 1, but must be at least 2$"),
        ({"steps": 9}, r"^steps is 9, but must be at least 10$"),
        ({"rate_steps": 29}, r"^rate_steps is 29, but must be at least 30$"),
        ({"scalar_steps": 0}, r"^scalar_steps is 0, but must be at least 1$"),
        ({"query_steps": 0}, r"^query_steps is 0, but must be at least 1$"),
        ({"digit_steps": 0}, r"^digit_steps is 0, but must be at least 1$"),
        ({"text_steps": 0}, r"^text_steps is 0, but must be at least 1$"),
        ({"path_steps": -1}, r"^path_steps is -1, but must be at least 1$"),
        ({"class_snapshots": 0}, r"^class_snapshots is 0, but must be at least 1$"),
        ({"land_snapshots": 0}, r"^land_snapshots is 0, but must be at least 1$"),
        ({"land_steps": 0}, r"^land_steps is 0, but must be at least 1$"),
        ({"test_prompts": 452}, r"^test_prompts is 452, but must lie in \[1, 450\]$"),
        ({"path_test": 0}, r"^path_test is 0, but must be at least 1$"),
        ({"test_prompts": 0}, r"^test_prompts is 0, but must be at least 1$"),
        ({"test_prompts": 101}, r"^test_prompts is 101, but a CueText needs a multiple of 2$"),
        ({"batch": 33}, r"^batch is 33, but a CueText needs a multiple of 2$"),
        ({"scalar_lr": 0.0}, r"^scalar_lr is 0\.0, but must lie in \(0, inf\)$"),
        ({"land_points": 2}, r"^land_points is 2, but must be at least 3$"),
        ({"land_eigenvalues": 0}, r"^land_eigenvalues is 0, but must be at least 1$"),
        ({"land_pieces": 0}, r"^land_pieces is 0, but must be at least 1$"),
        ({"land_samples": 0}, r"^land_samples is 0, but must be at least 1$"),
        ({"land_samples": 1348}, r"^land_samples is 1348, but must lie in \[1, 1347\]$"),
        ({"stage_one": "gauss"}, r"^stage_one is 'gauss', but must be one of softmax, gaussian, "),
        ({"heads": (3,)}, GRID.format("heads", r"\(3,\)")),
        ({"heads": (1, 2, 1)}, GRID.format("heads", r"\(1, 2, 1\)")),
        ({"heads": (0, 2)}, r"^heads is 0, but must be at least 1$"),
        ({"scales": (2,)}, GRID.format("scales", r"\(2,\)")),
        ({"scales": (2, -1)}, r"^query_scale is -1, but must lie in \[0, inf\)$"),
        ({"guard_scales": ()}, GRID.format("guard_scales", r"\(\)")),
        ({"guard_scales": (1, -0.5)}, r"^guard_scales is -0\.5, but must lie in \[0, inf\)$"),
        ({"starts": (0.5, 0.5)}, GRID.format("starts", r"\(0\.5, 0\.5\)")),
        ({"starts": (0.5, float("inf"))}, r"^start is inf, but must lie in \(-inf, inf\)$"),
        ({"samples": 0}, r"^samples is 0, but must be at least 1$"),
        ({"tokens": 0}, r"^tokens is 0, but must be at least 1$"),
        ({"width": 0}, r"^width is 0, but must be at least 1$"),
        ({"head_width": 0}, r"^head_width is 0, but must be at least 1$"),
        ({"value_width": 0}, r"^value_width is 0, but must be at least 1$"),
        ({"query_scale": -1.0}, r"^query_scale is -1\.0, but must lie in \[0, inf\)$"),
        ({"key_scale": -1.0}, r"^key_scale is -1\.0, but must lie in \[0, 2\.5\)$"),
        ({"key_scale": 2.5}, r"^key_scale is 2\.5, but must lie in \[0, 2\.5\)$"),
        ({"land_random": (1.0, 1.0)}, GRID.format("land_random", r"\(1\.0, 1\.0\)")),
        ({"land_random": (1.0, -1.0)}, r"^land_random is \(1\.0, -1\.0\), but must be two increas"),
        ({"land_runs": (0.0, 0.5, 1.0)}, r"^land_runs is \(0\.0, 0\.5, 1\.0\), but must be two "),
        ({"first_seed": -1}, r"^(first_seed|seed|shared) is -1, but must be at least 0$"),
        ({"land_width": 33}, r"^width is 33, but must be a multiple of heads, 2$"),
        ({"land_hidden": 0}, r"^hidden is 0, but must be at least 1$"),
        ({"class_lr": 0.0}, r"^class_lr is 0\.0, but must lie in \(0, inf\)$"),
        ({"batch": 0}, r"^batch is 0, but must be at least 1$"),
        ({"text_length": 6}, r"^length is 6, but must be at least 7$"),
        ({"text_length": 20}, r"^signs is 3, but between .* stand 2 of 2 words$"),
        ({"path_images": 0}, r"^size is 0, but must be at least 1$"),
    ],
)
def test_a_number_out_of_range_is_named_in_one_line(given, message):
    with pytest.raises(ValueError, match=message):
        replace(FEW, **given)


def test_an_unknown_preset_is_named_with_all_there_are():
    with pytest.raises(ValueError, match=r"^preset is 'papre', but must be one of paper, quick$"):
        setting("papre")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hedas": (1, 2)}, r"^Setting has no field 'hedas'; did you mean 'heads'\?"),
        ({"nothing": 4}, r"^Setting has no field 'nothing' \(it has: seeds, "),
        ({"seeds": 2.5}, r"^seeds is 2\.5, but must be an integer of at least 2$"),
        ({"width": 7.5}, r"^width is 7\.5, but must be an integer of at least 1$"),
        ({"class_lr": "fast"}, r"^class_lr is 'fast', but must be a number$"),
        ({"heads": 3}, r"^heads is 3, but must be a list of numbers$"),
    ],
)
def test_an_unknown_field_or_a_wrong_type_is_named_in_one_line(given, message):
    with pytest.raises(TypeError, match=message):
        replace(FEW, **given)


@KERNEL
def test_an_unknown_subset_or_problem_is_named_with_all_there_are(kernel):
    with pytest.raises(ValueError, match=r"^subset is 'W_O', but must be one of all, W_V, W_Q$"):
        OTHER.layer_runs(kernel, 2, "W_O")
    with pytest.raises(ValueError, match=r"^problem is 'x', but must be one of values "):
        OTHER.scalar_runs(kernel, "x")


@pytest.mark.parametrize("runs", [OTHER.layer_runs("softmax", 2), OTHER.query_runs("gaussian")])
def test_no_two_seeds_see_the_same_samples(runs):
    each = runs if isinstance(runs, list) else runs["random", 1.0, 1.3]
    worlds = [run.task.world(stream(run.seed, "world")) for run in each]
    for place, world in enumerate(worlds[1:], start=1):
        assert not torch.equal(world.prompt, worlds[place - 1].prompt)
