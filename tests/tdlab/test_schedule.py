import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdlab.schedule import At, Every, LogSpaced, Schedule

LOOSE: Any = {"float": {"stride": 1.5}, "misspelt": {"strid": 2}, "list": {"at": [7]}}


@given(total=st.integers(0, 10_000), count=st.integers(1, 60))
def test_log_spaced_steps_rise_from_the_start_to_the_end(total, count):
    steps = LogSpaced(count=count).steps(total)
    assert steps[0] == 0
    assert steps[-1] == total
    assert all(a < b for a, b in pairwise(steps))
    assert len(steps) <= count + 2


def test_log_spaced_steps_are_even_on_a_log_axis():
    steps = LogSpaced(count=20).steps(100_000)
    assert len(steps) == 21
    # 20 powers of one ratio from 1 to 1e5; rounding moves one by at most half a step.
    for place, step in enumerate(steps[1:]):
        assert abs(step - 10 ** (5 * place / 19)) <= 0.5 + 1e-9
    ratios = [math.log(b / a) for a, b in pairwise(steps[8:])]
    assert max(ratios) - min(ratios) < 2 / steps[8]


def test_short_trainings_are_looked_at_after_every_step():
    assert LogSpaced().steps(3) == (0, 1, 2, 3)
    assert LogSpaced().steps(1) == (0, 1)
    assert LogSpaced().steps(0) == (0,)


def test_every_stride_has_the_start_and_the_end():
    assert Every(stride=3).steps(10) == (0, 3, 6, 9, 10)
    assert Every(stride=3).steps(9) == (0, 3, 6, 9)
    assert Every(stride=5).steps(2) == (0, 2)
    assert Every(stride=5).steps(0) == (0,)


def test_chosen_steps_are_sorted_distinct_and_end_with_the_training():
    assert At(at=(7, 0, 3, 3, 12)).steps(7) == (0, 3, 7)
    assert At(**LOOSE["list"]).steps(6) == ()


@pytest.mark.parametrize("schedule", [LogSpaced(), Every(stride=2), At(at=(1,))])
def test_a_schedule_is_a_hashable_value(schedule):
    assert isinstance(schedule, Schedule)
    assert hash(schedule) == hash(type(schedule)(**vars(schedule)))


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        (lambda: LogSpaced(count=0), ValueError, "^count is 0, but must be at least 1$"),
        (lambda: Every(stride=0), ValueError, "^stride is 0, but must be at least 1$"),
        (lambda: Every(**LOOSE["float"]), TypeError, "^stride is 1.5, but must be an integer"),
        (lambda: At(at=(3, -1)), ValueError, "^a step of a schedule is -1, but must be at least 0"),
        (lambda: At(at=(3, True)), TypeError, "^a step of a schedule is True, but must be an int"),
        (lambda: Every(**LOOSE["misspelt"]), TypeError, "no field 'strid'; did you mean 'stride'"),
    ],
)
def test_a_bad_schedule_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=line) as caught:
        wrong()
    assert caught.type is error
