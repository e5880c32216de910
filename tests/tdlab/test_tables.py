"""What was trained as one table, with the configuration of a row's run in columns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tdlab import results, tables
from tdlab.optimisers import Adam
from tdlab.records import configuration
from tdlab.store import Disk, Memory
from tdlab.sweep import trained
from tests.tdlab.runs import LAYER, RUN, TASK, WILD

RUNS = [
    replace(RUN, task=replace(TASK, alpha=0.31)),
    replace(RUN, seed=2, optimiser=Adam(lr=0.02)),
    replace(RUN, after=RUN, steps=6),
    WILD,
    replace(LAYER, steps=4),
]

pytestmark = pytest.mark.filterwarnings("ignore:run .* diverged:RuntimeWarning")


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path):
    return Disk(tmp_path) if request.param == "disk" else Memory()


def test_a_row_has_every_field_of_its_run_and_every_loss_its_row(store):
    kept = trained(RUNS, store=store)
    table = tables.losses([*RUNS, replace(RUN, seed=99)], store)  # the last was never trained
    assert list(table)[:7] == [*results.COLUMNS, "ending"]
    assert {"task", "task.alpha", "optimiser.lr", "after.seed"} <= set(table)
    for run, whole in zip(RUNS, kept, strict=True):
        rows = table[table["run"] == run.id]
        count = whole.ending.step + (whole.ending.reason == "diverged")
        assert rows["step"].tolist() == list(range(count))
        np.testing.assert_array_equal(rows["value"], whole.loss[:count].double())
        assert set(rows["ending"]) == {whole.ending.reason}
        fields = configuration.columns(configuration.encoded(run))
        for name in set(table) - {*results.COLUMNS, "ending"}:
            (cell,) = rows[name].unique().tolist()
            assert cell == fields[name] if fields.get(name) is not None else pd.isna(cell)
    assert set(table["run"]) == {run.id for run in RUNS}
    assert set(table["seed"]) == {run.seed for run in RUNS}


def test_a_run_that_has_come_further_shows_what_is_asked_for(store):
    trained([RUN], store=store)
    table = tables.losses([replace(RUN, steps=3)], store)
    assert table["step"].tolist() == [0, 1, 2]
    assert set(table["ending"]) == {"finished"}
    more = tables.losses([replace(RUN, steps=30)], store)
    assert len(more) == RUN.steps
    assert set(more["ending"]) == {"unfinished"}


def test_of_nothing_there_is_an_empty_table(store, tmp_path):
    table = tables.losses([RUN], store)
    assert len(table) == 0
    results.write(tmp_path / "table.parquet", table)


def test_the_table_is_read_as_it_was_written(store, tmp_path):
    trained(RUNS, store=store)
    table = tables.losses(RUNS, store)
    results.write(tmp_path / "table.parquet", table)
    again = results.read(tmp_path / "table.parquet")
    for name in ("task.alpha", "optimiser"):
        assert again[name].tolist() == table[name].tolist()
    assert set(again["optimiser"]) == {"SGD", "Adam"}


def test_contents_has_a_row_for_each_quantity_and_source():
    axes = {"step": (0, 10), "head": ("a", "b", "c")}
    values = np.array([[1.0, 2, 3], [4, np.nan, 9]])
    mass = results.tidy("mass", values, "step head", source="measured", seed=1, **axes)
    limit = results.tidy("mass", 0.5, "", source="theory", step=10)
    found = tables.contents(pd.concat([mass, limit], ignore_index=True))
    assert list(found.index) == [("mass", "measured"), ("mass", "theory")]
    measured, theory = found.to_dict("records")
    assert measured == {
        "rows": 6,
        "missing": 1,
        "least": 1.0,
        "median": 3.0,
        "most": 9.0,
        "run": 0,
        "seed": 1,
        "step": 2,
        "head": 3,
    }
    assert theory["rows"] == 1
    assert theory["median"] == 0.5
