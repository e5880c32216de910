"""Stores of different machines become one, which loses nothing by it."""

from dataclasses import replace

import pytest

from tdlab import records
from tdlab.schedule import At, Every
from tdlab.store import Disk
from tdlab.store.merging import merge
from tdlab.sweep import trained
from tests.tdlab.runs import RUN, anew, assert_same


@pytest.fixture
def stores(tmp_path):
    return Disk(tmp_path / "here"), Disk(tmp_path / "there")


def test_runs_that_are_not_here_are_copied_and_those_that_are_stay(stores):
    here, there = stores
    other = replace(RUN, seed=1)
    trained([RUN], store=here)
    trained([RUN, other], store=there)
    became = {run: what for run, what, _ in merge(here, there)}
    assert became == {RUN.id: "there", other.id: "copied"}
    assert {what for _, what, _ in merge(here, there)} == {"there"}
    assert not list(here.check())
    for result, whole in zip([here[RUN.id], here[other.id]], anew([RUN, other]), strict=True):
        assert_same(result, whole)


@pytest.mark.parametrize("turned", [False, True])
def test_of_one_run_all_snapshots_are_kept_and_it_goes_on_from_where_it_was_furthest(
    stores, turned
):
    few, many = replace(RUN, snapshots=At(at=(4, 14)), steps=14), replace(RUN, steps=10)
    here, there = reversed(stores) if turned else stores
    trained([few], store=here)
    trained([many], store=there)
    assert [what for _, what, _ in merge(here, there)] == ["joined"]
    assert here.standing(RUN).steps == (0, 4, 5, 10, 14)
    assert not list(here.check())
    for run in (few, many, replace(RUN, steps=17, snapshots=At(at=(0, 4, 5, 10, 16)))):
        assert_same(trained([run], store=here)[0], anew([run])[0])


def test_another_trajectory_and_what_is_damaged_are_refused_and_nothing_changes(stores):
    here, there = stores
    trained([RUN], store=here)
    (result,) = anew([replace(RUN, snapshots=Every(stride=1))])
    rounded = {name: leaf.bfloat16().to(leaf.dtype) for name, leaf in result.params.items()}
    there.save([replace(result, params=rounded)])
    before = [path.read_bytes() for path in sorted(records.folder(here.folder, RUN.id).iterdir())]
    assert list(merge(here, there)) == [
        (RUN.id, "refused", "its snapshots are not those that are here")
    ]
    path = records.folder(there.folder, RUN.id) / "run.json"
    path.write_bytes(path.read_bytes()[:-1])
    ((_, became, why),) = merge(here, there)
    assert became == "refused"
    assert why == f"{path} was altered or truncated"
    after = [path.read_bytes() for path in sorted(records.folder(here.folder, RUN.id).iterdir())]
    assert before == after
