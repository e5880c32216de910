import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from synthetic_tasks import InContextClassification, OutOfDomain
from synthetic_tasks.value import value
from tdlab.models import OneLayer
from tdlab.optimisers import SGD, Adam
from tdlab.run import Run
from tdlab.schedule import At, Every

ROOT = Path(__file__).parents[2]
DEFAULT = Run(task=InContextClassification(), model=OneLayer())
ALL = ("W_Q", "W_K", "W_V", "W_O")
LISTED: Any = {"trained": list(ALL)}
ONES: Any = (1, 1.0, np.float32(1), np.int64(1))

# Raise the revision of what changed its meaning, say so in CHANGELOG, then write the new id here.
GOLDEN = "fab0b38f0856"


def test_the_id_of_the_default_run_is_what_it_was():
    assert DEFAULT.id == GOLDEN


def test_an_id_is_the_same_in_every_process():
    program = (
        "from synthetic_tasks import InContextClassification\n"
        "from tdlab.models import OneLayer\n"
        "from tdlab.optimisers import Adam\n"
        "from tdlab.run import Run\n"
        "run = Run(task=InContextClassification(alpha=0.3), model=OneLayer(), optimiser=Adam())\n"
        "print(run.id)"
    )
    here = replace(DEFAULT, task=InContextClassification(alpha=0.3), optimiser=Adam()).id
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        assert subprocess.check_output(command, env=environment, text=True).strip() == here


def test_an_id_is_twelve_hexadecimal_digits_of_plain_json():
    assert len(DEFAULT.id) == 12
    int(DEFAULT.id, 16)
    assert json.loads(json.dumps(DEFAULT.identity)) == DEFAULT.identity


@pytest.mark.parametrize(
    "same",
    [
        replace(DEFAULT, steps=7),
        replace(DEFAULT, snapshots=Every(stride=3)),
        replace(DEFAULT, trained=ALL),
        replace(DEFAULT, trained=tuple(reversed(ALL))),
        replace(DEFAULT, **LISTED),
        replace(DEFAULT, trained=(*ALL, "W_O")),
        replace(DEFAULT, optimiser=SGD(lr=np.float64(0.1))),
        replace(DEFAULT, model=OneLayer(delta=0.2, neurons=64)),
        replace(DEFAULT, task=InContextClassification(beta=3, tasks="cyclic", coverage="required")),
        Run(seed=0, batch=100, loss="hinge", model=OneLayer(), task=InContextClassification()),
        Run(dtype="float32", task=InContextClassification(beta=3.0), model=OneLayer(xi=0.02)),
    ],
    ids=lambda run: str(run.trained or run.snapshots),
)
def test_what_does_not_fix_the_trajectory_does_not_change_the_id(same):
    assert same.id == DEFAULT.id


def test_one_and_one_point_zero_make_one_id():
    runs = [
        replace(DEFAULT, optimiser=SGD(lr=lr), task=InContextClassification(kappa=lr, alpha=lr))
        for lr in ONES
    ]
    assert len({run.id for run in runs}) == 1


def each(base: Any, changes: dict[str, Any]) -> list[Any]:
    """The value with one field changed at a time."""
    return [replace(base, **{name: change}) for name, change in changes.items()]


def test_everything_else_changes_the_id():
    # A task and its model agree on the width of a token, so what changes that changes two fields.
    task, model = InContextClassification(), OneLayer()
    tasks = each(
        task,
        {
            "length": 21,
            "alpha": 0.81,
            "kappa": 0.4,
            "beta": 3.01,
            "tasks": "all",
            "coverage": "violated",
        },
    )
    tasks += [
        replace(task, relevant=7, irrelevant=23),
        replace(task, relevant=7, label_width=29),
        replace(task, irrelevant=25, label_width=29),
    ]
    shifts = [
        OutOfDomain(trained=task),
        OutOfDomain(trained=task, coefficient_sum=1.1),
        OutOfDomain(trained=task, outside=0.1),
        OutOfDomain(trained=task, pairing=((0, 1), (2, 3), (4, 5))),
        OutOfDomain(trained=task, pairing=((1, 0), (2, 3), (4, 5))),
        OutOfDomain(trained=replace(task, alpha=0.6)),
    ]
    models = each(
        model,
        {
            "neurons": 65,
            "query_width": 60,
            "value_width": 60,
            "delta": 0.19,
            "xi": 0.03,
        },
    )
    models += [OneLayer(width=31, label_width=29), OneLayer(width=29, label_width=31)]
    optimisers: list[Any] = [
        SGD(lr=0.2),
        Adam(),
        Adam(lr=0.1),
        Adam(beta1=0.8),
        Adam(beta2=0.9),
        Adam(eps=1),
    ]
    runs = [
        DEFAULT,
        *(replace(DEFAULT, task=task) for task in [*tasks, *shifts]),
        *(replace(DEFAULT, model=model) for model in models),
        *(replace(DEFAULT, optimiser=optimiser) for optimiser in optimisers),
        replace(DEFAULT, loss="logistic"),
        replace(DEFAULT, batch=101),
        replace(DEFAULT, seed=1),
        replace(DEFAULT, dtype="float64"),
        replace(DEFAULT, trained=("W_O",)),
        replace(DEFAULT, trained=("W_O", "W_V")),
    ]
    assert len({run.id for run in runs}) == len(runs) == 35


@pytest.mark.parametrize("part", [InContextClassification, OneLayer, SGD])
def test_a_raised_revision_changes_the_id(monkeypatch, part):
    before = DEFAULT.id
    monkeypatch.setattr(part, "revision", part.revision + 1)
    assert replace(DEFAULT).id != before


def test_moving_is_the_models_choice_unless_given():
    assert DEFAULT.moving == ALL
    assert replace(DEFAULT, trained=("W_O",)).moving == ("W_O",)


def test_runs_of_one_program_differ_in_seed_in_varying_scalars_and_in_what_is_trained():
    other = Run(
        task=InContextClassification(alpha=0.3, beta=2, kappa=0),
        model=OneLayer(delta=0.1, xi=1),
        optimiser=SGD(lr=3),
        seed=8,
        trained=("W_O",),
    )
    assert other.program == DEFAULT.program
    different = [
        replace(DEFAULT, task=InContextClassification(length=21)),
        replace(DEFAULT, task=InContextClassification(tasks="all")),
        replace(DEFAULT, model=OneLayer(neurons=8)),
        replace(DEFAULT, optimiser=Adam()),
        replace(DEFAULT, loss="logistic"),
        replace(DEFAULT, batch=7),
        replace(DEFAULT, dtype="float64"),
        replace(DEFAULT, steps=7),
        replace(DEFAULT, snapshots=At(at=(0, 1))),
    ]
    assert len({run.program for run in [DEFAULT, *different]}) == 10


# Runs that start where another ended.

SECOND = replace(DEFAULT, after=DEFAULT, optimiser=Adam())


def test_a_run_by_itself_has_nothing_behind_it():
    assert DEFAULT.after is None
    assert DEFAULT.earlier_steps == 0
    assert "after" not in DEFAULT.identity
    assert replace(SECOND, after=None).id == replace(DEFAULT, optimiser=Adam()).id


def test_the_id_depends_on_the_earlier_run_and_on_how_far_it_went():
    earlier = [
        None,
        DEFAULT,
        replace(DEFAULT, steps=399),
        replace(DEFAULT, steps=0),
        replace(DEFAULT, seed=1),
        replace(DEFAULT, model=OneLayer(xi=0.3)),
        replace(DEFAULT, optimiser=SGD(lr=0.3)),
        replace(DEFAULT, trained=("W_O",)),
        SECOND,
        replace(SECOND, after=replace(DEFAULT, steps=7)),
    ]
    ids = [replace(SECOND, after=each).id for each in earlier]
    assert len(set(ids)) == len(ids)
    assert DEFAULT.id not in ids
    assert json.loads(json.dumps(SECOND.identity)) == SECOND.identity


def test_the_id_does_not_depend_on_when_the_earlier_run_was_looked_at():
    for run in (SECOND, replace(SECOND, after=SECOND)):
        assert run.after is not None
        seen = replace(run.after, snapshots=Every(stride=3), trained=ALL)
        assert replace(run, after=seen).id == run.id
        assert replace(run, steps=7, snapshots=At(at=())).id == run.id


def test_a_revision_of_what_the_earlier_run_used_changes_the_id(monkeypatch):
    run = replace(SECOND, after=replace(DEFAULT, optimiser=SGD()))
    before, alone = run.id, replace(run, after=None).id
    monkeypatch.setattr(SGD, "revision", SGD.revision + 1)
    assert replace(run).id != before
    assert replace(run, after=None).id == alone


def test_the_steps_of_all_earlier_runs_add_up():
    chain = replace(SECOND, after=replace(SECOND, steps=30, after=replace(DEFAULT, steps=9)))
    assert chain.earlier_steps == 39
    assert SECOND.earlier_steps == 400


def test_members_may_start_after_different_runs_but_not_at_different_steps():
    alike = [
        replace(SECOND, after=replace(DEFAULT, seed=5)),
        replace(SECOND, seed=3, after=replace(DEFAULT, optimiser=Adam(), loss="logistic")),
        replace(SECOND, after=replace(DEFAULT, model=OneLayer(delta=0.13))),
        replace(SECOND, after=replace(DEFAULT, steps=150, after=replace(DEFAULT, steps=250))),
    ]
    assert {run.program for run in alike} == {SECOND.program}
    different = [
        replace(SECOND, after=None),
        replace(SECOND, after=replace(DEFAULT, steps=399)),
        replace(SECOND, after=replace(DEFAULT, steps=0)),
        replace(SECOND, after=SECOND),
        replace(SECOND, optimiser=SGD()),
    ]
    assert len({run.program for run in [SECOND, *different]}) == 6


def test_a_dtype_is_torchs():
    assert DEFAULT.torch_dtype is torch.float32
    assert replace(DEFAULT, dtype="float64").torch_dtype is torch.float64


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"loss": "hing"}, ValueError, "loss is 'hing', but must be one of hinge, .*"),
        ({"dtype": "half"}, ValueError, "dtype is 'half', but must be one of float32, float64"),
        ({"batch": 0}, ValueError, "batch is 0, but must be at least 1"),
        ({"batch": True}, TypeError, "batch is True, but must be an integer of at least 1"),
        ({"seed": -1}, ValueError, "seed is -1, but must be at least 0"),
        ({"seed": 1.0}, TypeError, r"seed is 1\.0, but must be an integer of at least 0"),
        ({"steps": -1}, ValueError, "steps is -1, but must be at least 0"),
        ({"steps": "400"}, TypeError, "steps is '400', but must be an integer of at least 0"),
        ({"task": "icl"}, TypeError, "task is 'icl', but must be a Task"),
        ({"task": InContextClassification}, TypeError, "task is <class .*>, but must be a Task"),
        ({"model": None}, TypeError, "model is None, but must be a Model"),
        ({"optimiser": 0.1}, TypeError, r"optimiser is 0\.1, but must be an Optimiser"),
        (
            {"after": "fab0b38f0856"},
            TypeError,
            "after is 'fab0b38f0856', but must be a Run or None",
        ),
        ({"snapshots": [0, 5]}, TypeError, r"snapshots is \(0, 5\), but must be a Schedule"),
        ({"sedd": 3}, TypeError, "Run has no field 'sedd'; did you mean 'seed'.*trained.*"),
    ],
    ids=str,
)
def test_a_bad_run_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=f"^{line}$") as caught:
        Run(**{"task": DEFAULT.task, "model": DEFAULT.model, **wrong})
    assert caught.type is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "model", "widths"),
    [
        (InContextClassification(relevant=5), OneLayer(), (59, 60)),
        (InContextClassification(), OneLayer(label_width=7), (60, 37)),
        (OutOfDomain(trained=InContextClassification(irrelevant=8)), OneLayer(), (44, 60)),
    ],
    ids=["relevant", "label_width", "out of domain"],
)
def test_a_model_of_another_token_width_is_refused_and_the_line_names_both(task, model, widths):
    line = "^the task's tokens have {} entries, but the model takes {}$".format(*widths)
    with pytest.raises(ValueError, match=line):
        Run(task=task, model=model)


def test_a_parameter_is_frozen_by_a_field_that_fixes_the_trajectory():
    frozen = DEFAULT.frozen_from(12, "W_Q")
    assert frozen == replace(DEFAULT, frozen=(("W_Q", 12),))
    assert frozen.moving == DEFAULT.moving
    assert frozen.program == DEFAULT.program
    assert len({DEFAULT.id, frozen.id, DEFAULT.frozen_from(13, "W_Q").id}) == 3
    both = [frozen.frozen_from(8, "W_K"), DEFAULT.frozen_from(8, "W_K").frozen_from(12, "W_Q")]
    assert both[0].id == both[1].id


def test_what_is_frozen_from_the_start_is_not_trained():
    frozen = DEFAULT.frozen_from(0, "W_Q")
    assert set(frozen.moving) == set(DEFAULT.moving) - {"W_Q"}
    assert frozen.id == replace(DEFAULT, trained=frozen.moving).id


@pytest.mark.parametrize(
    ("frozen", "words"),
    [
        (("W_Q", 3), r"frozen is \('W_Q', 3\), but must be pairs, such as \(\('W_Q', 100\),\)"),
        ((("W_X", 3),), "W_X does not move; what does: W_Q, W_K, W_V, W_O"),
        ((("W_Q", -1),), "the step from which W_Q is frozen is -1"),
        ((("W_Q", 3), ("W_Q", 5)), "must name a parameter once"),
    ],
)
def test_a_freezing_that_is_none_is_refused(frozen, words):
    with pytest.raises(ValueError, match=words):
        replace(DEFAULT, frozen=frozen)


@pytest.mark.parametrize(
    ("step", "names", "words"),
    [
        (5, ("W_X",), "W_X does not move; what does: W_Q, W_K, W_V, W_O"),
        (5, ("a",), "a does not move"),
        (5, (), "nothing is frozen: name some of W_Q, W_K, W_V, W_O"),
        (5, ("W_Q", "W_K", "W_V", "W_O"), "some must, not all"),
        (400, ("W_Q",), "step is 400, but must be below 400"),
        (-1, ("W_Q",), "step is -1"),
    ],
)
def test_freezing_nothing_or_everything_or_never_is_refused(step, names, words):
    with pytest.raises(ValueError, match=words):
        DEFAULT.frozen_from(step, *names)


def test_a_run_prints_as_what_was_asked_for_and_shows_its_id():
    run = replace(DEFAULT, task=InContextClassification(alpha=0.6), steps=50)
    assert repr(run) == ("Run(task=InContextClassification(alpha=0.6), model=OneLayer(), steps=50)")
    html = run._repr_html_()
    assert f"<code>{run.id}</code>" in html
    assert "<strong>InContextClassification(alpha=0.6)</strong>" in html
    assert '<th scope="row">loss</th><td>&#x27;hinge&#x27;</td>' in html


@value
class Half:
    """A task that somebody has begun to write."""

    revision: ClassVar[int] = 1
    columns: int = 3
    token_width: int = 60

    def world(self, key):
        return ()


def test_a_task_that_is_not_all_there_is_refused_with_what_it_lacks():
    half: Any = Half()
    with pytest.raises(TypeError, match=r"must be a Task; it lacks uniforms, balance, draw$"):
        Run(task=half, model=OneLayer())
    with pytest.raises(TypeError, match=r"must be a Model; it lacks moving, init, forward$"):
        Run(task=InContextClassification(), model=half)
