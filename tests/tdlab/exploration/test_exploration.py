"""Walking through runs: what is trained, what is chosen, and what is refused in one line."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

import tdlab
from tdlab.exploration import Exploration, explore
from tdlab.exploration import exploration as module
from tdlab.grid import with_seeds
from tdlab.listed import Results
from tests.tdlab.exploration.runs import CHAIN, ONE_LAYER, REGRESSION
from tests.tdlab.runs import anew


@pytest.fixture(scope="module")
def walked() -> Exploration:
    return Exploration(anew([*with_seeds([ONE_LAYER], range(2)), CHAIN]))


def test_runs_are_trained_and_what_is_trained_is_taken_as_it_is(monkeypatch):
    asked = []

    def trained(runs):
        asked.append(list(runs))
        return Results(anew(runs))

    monkeypatch.setattr(module.sweep, "trained", trained)
    (there,) = anew([CHAIN])
    walked = explore([ONE_LAYER, there])
    assert asked == [[ONE_LAYER]]
    assert [result.run for result in walked.results] == [ONE_LAYER, CHAIN]
    assert walked.results[1] is there
    assert explore(there).results == [there]
    assert asked == [[ONE_LAYER]]


def test_the_package_hands_it_on():
    assert tdlab.explore is explore
    with pytest.raises(AttributeError, match="no attribute 'explor'"):
        getattr(tdlab, "explor")  # noqa: B009


def test_members_are_told_apart_by_what_differs(walked):
    assert len(set(walked.members)) == 3
    assert "seed = 1" in walked.members[1]
    assert "model = OneHead" in walked.members[2]


def test_a_picture_is_of_the_step_member_and_prompt_that_are_chosen(walked):
    pictures = {
        (member, prompt, step): walked.image(member, prompt, step)
        for member, prompt, step in [(0, 0, 0), (0, 0, 10), (0, 3, 10), (1, 0, 10), (2, 0, 4)]
    }
    assert len(set(pictures.values())) == len(pictures)
    assert all(imread(BytesIO(picture)).shape[2] == 4 for picture in pictures.values())
    assert walked.image(0, 0, 0) is walked.image(0, 0, 0)  # drawn once


def test_steps_beside_each_other_are_snapshots_from_the_first_to_the_last(walked):
    assert walked.steps(0) == (0, 5, 10)
    titles = [ax.get_title() for ax in walked.steps_beside().axes]
    assert [title for title in titles if title] == ["step 0", "step 5", "step 10"]
    chain = [ax.get_title() for ax in walked.steps_beside(member=2, prompt=1).axes]
    assert [title for title in chain if title] == ["step 0", "step 2", "step 4"]


def test_where_nobody_can_move_a_slider_there_is_a_picture_with_words(walked):
    data, about = walked._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" not in data
    assert np.ptp(imread(BytesIO(data["image/png"]))) > 0
    assert "Step 10 of 10" in about["image/png"]["alt"]
    assert data["text/plain"] == repr(walked)


def test_it_prints_as_what_is_to_be_seen():
    walked = explore(anew([ONE_LAYER]))
    expected = "<exploration of 1 run; shown: seed = 0, prompt 0, at 3 snapshots up to step 10>"
    assert repr(walked) == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: explore([]), "nothing to explore: give at least one run"),
        (lambda: explore([3]), "explore takes runs, or what was trained of them, not 3"),
        (lambda: explore(anew([CHAIN]), member=1), "member is 1, but must be below 1"),
        (lambda: explore(anew([CHAIN]), prompt=64), "prompt is 64, but must be below 64"),
        (lambda: explore(anew([CHAIN]), prompt=-1), "prompt is -1, but must be at least 0"),
        (lambda: explore(anew([CHAIN])).at(3), r"no snapshot at step 3 .* it has \(0, 2, 4\)"),
        (lambda: explore(anew([CHAIN])).at(4, member=2), "member is 2, but must be below 1"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message) as refused:
        wrong()
    assert "\n" not in str(refused.value)


def test_a_run_without_relevant_columns_shows_what_there_is():
    walked = explore(anew([REGRESSION]))
    assert set(walked.tables(0, 0)) == {"loss", "attention"}
    assert "concentration" not in walked.words(0, 0, walked.steps(0)[0])
