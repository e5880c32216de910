"""Lists of runs, and of results, show what differs in them."""

import pytest
from bs4 import BeautifulSoup

from tdlab.grid import grid, with_seeds, zipped
from tdlab.listed import Results, Runs, differing, named
from tests.tdlab.runs import RUN, WILD, anew

RUNS = with_seeds(grid([RUN], {"task.alpha": (0.4, 0.8)}), range(2))
POINTS = [("0.4", "0"), ("0.8", "0"), ("0.4", "1"), ("0.8", "1")]


def rows(html: str) -> list[list[str]]:
    table = BeautifulSoup(html, "html.parser").find_all("tr")
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table]


def test_grids_and_ranges_of_seeds_are_such_lists():
    assert isinstance(RUNS, Runs)
    assert isinstance(grid([RUN], {"batch": (9, 18)}), Runs)
    assert isinstance(zipped([RUN], {"batch": (9, 18)}), Runs)


def test_a_list_prints_how_many_and_in_what_they_differ():
    assert repr(RUNS) == "<4 runs: task.alpha 0.4, 0.8; seed 0, 1>"
    assert repr(Runs([RUN])) == "<1 run>"
    assert repr(Runs()) == "<0 runs>"


def test_differing_splits_the_fields_without_losing_any():
    common, own = differing(RUNS)
    assert own[2] == {"task.alpha": 0.4, "seed": 1}
    assert common["task"] == "InContextClassification"
    assert not {"task.alpha", "seed"} & set(common)
    assert len({len(common) + len(its) for its in own}) == 1


def test_every_member_has_a_name_of_its_own():
    assert named(RUNS)[1] == "task.alpha = 0.8, seed = 0"
    assert len(set(named(RUNS))) == 4
    assert named([RUN]) == ["seed = 0"]


def test_a_notebook_shows_a_row_for_each_run():
    head, *body = rows(RUNS._repr_html_())
    assert head == ["run", "task.alpha", "seed"]
    assert body == [[run.id, alpha, seed] for run, (alpha, seed) in zip(RUNS, POINTS, strict=True)]
    assert "loss = hinge" in RUNS._repr_html_()


def test_a_long_list_says_how_much_is_left_out():
    many = with_seeds([RUN], range(30))
    body = rows(many._repr_html_())[1:]
    assert len(body) == 25
    assert body[-1] == ["… and 6 more"]


@pytest.mark.filterwarnings("ignore:.*diverged")
def test_results_say_how_each_run_went():
    trained = anew([RUN, WILD])
    assert isinstance(trained, Results)
    head, one, other = rows(trained._repr_html_())
    assert head[:1] + head[-3:] == ["run", "ending", "first loss", "last loss"]
    loss = trained[0].loss
    assert one[-3:] == ["finished at step 10", f"{loss[0]:.4g}", f"{loss[-1]:.4g}"]
    assert other[-3] == f"diverged at step {trained[1].ending.step}"
    assert repr(anew([RUN])) == "<1 trained run>"
