"""What was trained of a run shows itself in a line, and in a notebook with the run."""

from dataclasses import replace

import pytest

from tests.tdlab.runs import RUN, WILD, anew


def test_it_prints_what_was_trained_and_how_it_ended():
    (trained,) = anew([RUN])
    assert repr(trained) == f"<{RUN!r}, finished at step 10, 3 snapshots>"
    html = trained._repr_html_()
    assert f"loss from {trained.loss[0]:.4g} to {trained.loss[-1]:.4g}" in html
    assert "3 snapshots of W_Q, W_K, W_V, W_O, a" in html
    assert RUN.id in html


@pytest.mark.filterwarnings("ignore:.*diverged")
def test_of_a_run_that_diverged_it_says_when():
    (trained,) = anew([WILD])
    step = trained.ending.step
    assert f"diverged at step {step}" in repr(trained)
    assert f"diverged at step {step}; loss from" in trained._repr_html_()


def test_it_contains_its_parts_and_nothing_else():
    (short,), (long,) = anew([RUN]), anew([replace(RUN, steps=15)])
    assert long.contains(short.steps, short.params, short.loss)
    assert long.contains(
        (), {name: leaf[:0] for name, leaf in short.params.items()}, short.loss[:0]
    )
    assert not short.contains(long.steps, long.params, long.loss)
    assert not long.contains(short.steps, short.params, short.loss + 1)
    assert not long.contains(short.steps, {**short.params, "a": -short.params["a"]}, short.loss)
    assert not long.contains(short.steps, {"a": short.params["a"]}, short.loss)
