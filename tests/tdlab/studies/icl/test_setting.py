"""The presets of the in-context-learning study, and the runs that a setting asks for."""

import math
from dataclasses import fields, replace

import pytest

from tdlab.studies.icl import PRESETS, setting
from tests.tdlab.studies.icl.settings import TINY


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
    laws = [field.name for field in fields(quick) if field.name.startswith(("law_", "near_"))]
    assert replace(paper, **{name: getattr(quick, name) for name in (*fewer, *laws)}) == quick
    assert all(len(getattr(quick, name)) < len(getattr(paper, name)) for name in fewer[3:])
    assert all(getattr(quick, name) < getattr(paper, name) for name in fewer[:3])
    assert [run.id for run in quick.runs()] == [run.id for run in paper.runs()[: quick.seeds]]


def test_nearer_the_theorem_delta_is_smaller_and_there_are_more_patterns():
    paper = setting("paper")
    near = paper.nearer
    assert (near.delta, near.relevant, near.steps, near.law_steps) == (0.12, 12, 1200, 600)
    assert near.law_patterns == (8, 12, 16, 22, 32)
    assert setting("paper", delta=0.05).nearer.delta == 0.05
    own = ("delta", "relevant", "steps", "law_steps", "law_patterns")
    assert replace(near, **{name: getattr(paper, name) for name in own}) == paper


@pytest.mark.parametrize("preset", PRESETS)
def test_every_point_of_a_preset_is_a_setting(preset):
    points = setting(preset).regime_points
    assert [len(each) for each in points.values()] == [4 * len(setting(preset).law_lrs)] * 2


def test_laws_are_measured_along_one_number_at_a_time_in_each_regime():
    its = replace(TINY, law_seeds=3)
    assert list(its.regimes) == ["ours", "nearer the theorem"]
    for regime, points in its.regime_points.items():
        base = its.regimes[regime]
        assert base.seeds == 3
        grids = {"lr": base.law_lrs, "alpha": base.law_alphas, "beta": base.law_betas}
        grids["relevant"] = base.law_patterns
        assert list(points) == [(name, x) for name, grid in grids.items() for x in grid]
        for (name, at), point in points.items():
            assert replace(point, steps=base.steps) == replace(
                base, **{name: type(getattr(base, name))(at)}
            )
            ratio = at / getattr(base, name)
            power = {"lr": -1, "alpha": -1, "beta": -2, "relevant": 0.5}[name]
            assert point.steps == round(base.law_steps * ratio**power)


def test_where_alpha_is_smaller_prompts_are_longer_and_training_takes_longer():
    by_alpha = setting("paper", law_alphas=(0.2, 0.8, 1.0)).by_alpha
    found = {alpha: (each.alpha, each.length, each.steps) for alpha, each in by_alpha.items()}
    assert found == {
        0.2: (0.2, 80, math.ceil(400 * 4 ** (2 / 3))),
        0.8: (0.8, 20, 400),
        1.0: (1.0, 16, math.ceil(400 * 0.8 ** (2 / 3))),
    }
    assert {b: each.batch for b, each in setting(law_batches=(7, 3, 9)).by_batch.items()} == {
        7: 7,
        3: 3,
        9: 9,
    }


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
        ({"law_lengths": (5, 0)}, r"^lengths is 0, but must be at least 1$"),
        ({"law_seeds": 1}, r"^law_seeds is 1, but must be at least 2$"),
        ({"law_prompts": 0}, r"^law_prompts is 0, but must be at least 1$"),
        ({"law_steps": 0}, r"^law_steps is 0, but must be at least 1$"),
        ({"near_steps": 0}, r"^near_steps is 0, but must be at least 1$"),
        ({"near_law_steps": 0}, r"^near_law_steps is 0, but must be at least 1$"),
        ({"near_delta": 0.0}, r"^near_delta is 0\.0, but must lie in \(0, inf\)$"),
        ({"near_relevant": 2}, r"^relevant \(M1\) is 2, but must be at least 3$"),
        ({"relevant": 9, "near_relevant": 9, "law_patterns": (2, 4, 5)}, r"\(M1\) is 2, but"),
        ({"law_lrs": (0.1, 0.2)}, r"^law_lrs is \(0\.1, 0\.2\), but must be different values, at"),
        ({"law_lrs": (0.1, 0.2, 0.0)}, r"^law_lrs is 0\.0, but must lie in \(0, inf\)$"),
        ({"law_alphas": (0.4, 0.8, 1.5)}, r"^alpha is 1\.5, but must lie in \(0, 1\]$"),
        ({"law_test_alphas": (0.4, 0.0, 0.5)}, r"^alpha is 0\.0, but must lie in \(0, 1\]$"),
        ({"law_betas": (1.0, 2.0, 2.0)}, r"^law_betas is .* different values, at least 3$"),
        ({"law_patterns": (2, 4, 6)}, r"^relevant \(M1\) is 2, but must be at least 3$"),
        ({"law_batches": (4, 8, 0)}, r"^law_batches is 0, but must be at least 1$"),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(given, message):
    with pytest.raises(ValueError, match=message):
        setting(**given)


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
