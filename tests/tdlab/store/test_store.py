"""Runs on disk: what is read is what was written, and whatever is wrong is found and named."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tdlab import files, records, results
from tdlab.optimisers import Adam
from tdlab.records import Damaged, Unwritable, configuration
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.store import Disk
from tdlab.sweep import train, trained
from tdlab.trajectory import Trained
from tests.tdlab.runs import RUN, WILD, anew, assert_same, different

RUNS = [*different("float32", "logistic"), replace(RUN, seed=4, optimiser=Adam(lr=0.02))]


@pytest.fixture
def store(tmp_path):
    return Disk(tmp_path / "store")


@pytest.fixture
def kept(store):
    """A store with one run, its folder and its three files: record, snapshots, rows."""
    trained([RUN], store=store)
    folder = records.folder(store.folder, RUN.id)
    return folder, {path.name.partition("-")[0]: path for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_read_is_what_was_trained(store, dtype):
    runs = [*different(dtype, "logistic"), replace(WILD, dtype=dtype)]
    with pytest.warns(RuntimeWarning, match="diverged"):
        results = anew(runs)
    store.save(results)
    for result in results:
        again = store.load(result.run)
        assert_same(again.as_asked(result.run), result)
        assert list(again.params) == list(result.params)
        assert store[result.run.id].run == result.run
        for name, leaf in result.moment.items():
            assert again.moment[name].equal(leaf)
    assert not list(store.check())


def test_a_sweep_of_what_is_there_trains_nothing(store, monkeypatch):
    first = trained(RUNS, store=store)
    monkeypatch.setattr("tdlab.sweep.job.Training", None)
    for one, other in zip(first, trained(RUNS, store=store), strict=True):
        assert_same(one, other)
    outcome = train(RUNS, store=store)
    assert (outcome.found, outcome.trained, outcome.failed) == (RUNS, [], {})


def test_the_parameters_of_a_run_are_three_lines_away_without_tdlab(kept):
    program = f"""
import json; from pathlib import Path; from safetensors.torch import load_file
folder = Path({str(kept[0])!r})
params = load_file(folder / json.loads((folder / "run.json").read_text())["snapshots"]["name"])
print(params["W_O"].shape, params["W_O"][-1].double().sum().item())
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    whole = anew([RUN])[0].params["W_O"]
    assert answer.stdout.split("]) ") == [
        f"torch.Size({list(whole.shape)}"[:-1],
        f"{whole[-1].double().sum().item()}\n",
    ]


def test_the_rows_are_a_tidy_table(kept):
    table = results.read(kept[1]["rows"])
    (result,) = anew([RUN])
    assert table.run.unique().tolist() == [RUN.id]
    assert table.quantity.unique().tolist() == ["loss"]
    assert table.step.tolist() == list(range(10))
    assert table.value.tolist() == result.loss.double().tolist()
    assert results.written_by(kept[1]["rows"])["path"] == "eager"


def test_the_record_says_where_a_run_comes_from(kept):
    record = json.loads(kept[1]["run.json"].read_text())
    assert set(record["provenance"]) == {*results.provenance(), "device", "path"}
    assert record["provenance"]["device"] == "cpu"
    with safe_open(kept[1]["snapshots"], "pt") as file:
        assert json.loads(file.metadata()["tdlab"])["steps"] == record["steps"] == [0, 5, 10]


@pytest.mark.parametrize("run", [RUNS[3], RUNS[-1], replace(RUN, after=RUNS[1])])
def test_the_python_of_a_run_makes_it_again(run):
    scope: dict[str, Run] = {}
    exec(configuration.as_python(json.loads(json.dumps(configuration.encoded(run)))), {}, scope)
    assert scope["run"] == run
    assert configuration.decoded(json.loads(json.dumps(configuration.encoded(run)))) == run


def test_a_configuration_is_columns_of_a_table():
    found = configuration.columns(configuration.encoded(RUNS[1]))
    assert found["optimiser"] == "SGD"
    assert found["optimiser.lr"] == 0.73
    assert found["task.length"] == 7
    assert found["after"] is None
    at = replace(RUN, snapshots=At(at=(1, 2)))
    assert configuration.columns(configuration.encoded(at))["snapshots.at"] == "(1, 2)"


def test_what_is_no_value_is_not_decoded():
    for kind in ("pathlib:Path", "os:getcwd", "nowhere:Nothing"):
        with pytest.raises(ValueError, match=kind):
            configuration.decoded({"type": kind})


# What is wrong is found.


def test_a_flipped_bit_is_found_wherever_it_is(store, kept):
    for path in kept[1].values():
        whole = path.read_bytes()
        places = range(0, len(whole), max(1, len(whole) // 60))
        for place in [*places, len(whole) - 1]:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            assert list(store.check()), (path.name, place)
            with pytest.raises(Damaged):
                store.load(RUN)
        path.write_bytes(whole)
    assert not list(store.check())


def test_a_file_that_was_cut_short_is_found(store, kept):
    for name, path in kept[1].items():
        whole = path.read_bytes()
        path.write_bytes(whole[:-7])
        ((run, line),) = store.check()
        assert run == RUN.id
        assert "truncated" in line or f"has {len(whole) - 7} bytes" in line, name
        with pytest.raises(Damaged):
            store.standing(RUN)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("order", "lines"),
    [
        (
            [1, 0, 2],
            [
                "the snapshot at step 0 is misplaced: it is that of step 5",
                "the snapshot at step 5 is misplaced: it is that of step 0",
            ],
        ),
        ([0, 0, 2], ["the snapshot at step 5 is a repetition of that at step 0"]),
        ([0, 1, -1], ["the snapshot at step 10 is altered"]),
    ],
)
def test_check_says_which_snapshot_is_misplaced_repeated_or_altered(store, kept, order, lines):
    path = kept[1]["snapshots"]
    with safe_open(path, "pt") as file:
        about = file.metadata()
    leaves = load_file(path)
    for name, leaf in leaves.items():
        if not name.startswith("resume/"):
            shown = torch.stack([leaf[place] if place >= 0 else -leaf[2] for place in order])
            leaves[name] = shown
    save_file(leaves, path, about)
    assert [line.removeprefix(f"{path}: ") for _, line in store.check()] == lines


def test_files_of_another_run_are_misplaced(store, kept):
    other = replace(RUN, seed=1)
    trained([other], store=store)
    theirs = records.folder(store.folder, other.id)
    (snapshots,) = theirs.glob("snapshots-*")
    whole = snapshots.read_bytes()
    snapshots.write_bytes(kept[1]["snapshots"].read_bytes())
    assert any(f"misplaced: it holds the snapshots of run {RUN.id}" in x for _, x in store.check())
    snapshots.write_bytes(whole)
    (theirs / "run.json").write_bytes(kept[1]["run.json"].read_bytes())
    ((run, line),) = store.check([other.id])
    assert run == other.id
    assert line.endswith(f"misplaced: it is the record of run {RUN.id}")


def test_what_a_killed_process_left_is_not_taken_for_whole_and_goes_with_the_next(store, kept):
    folder, its = kept
    (folder / ".run.json.0123").write_text("{")
    stale = folder / "snapshots-000000000000.safetensors"
    stale.write_bytes(b"other")
    assert [line for _, line in store.check()] == [f"{stale} belongs to no run"]
    assert store.standing(RUN).taken == 10
    trained([replace(RUN, steps=12)], store=store)
    assert len(list(folder.iterdir())) == 3
    assert not its["snapshots"].exists()
    assert store.standing(RUN).taken == 12


@pytest.mark.parametrize("stage", ["_make_durable", "replace"])
def test_a_save_that_fails_leaves_what_was_there(store, kept, monkeypatch, stage):
    before = {path: path.read_bytes() for path in kept[0].iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    longer = anew([replace(RUN, steps=12)])
    with monkeypatch.context() as patch:
        patch.setattr(files if stage == "_make_durable" else Path, stage, full)
        line = f"cannot write to the store {store.folder}: No space left on device"
        with pytest.raises(Unwritable, match=line):
            store.save(longer)
    assert {path: path.read_bytes() for path in kept[0].iterdir()} == before
    assert not list(store.check())


def test_a_run_is_removed_whole(store, kept):
    store.remove(RUN.id)
    assert not kept[0].exists()
    assert store.standing(RUN) is None


def test_a_run_is_found_by_the_start_of_its_id(store, kept):
    assert records.find(store.folder, RUN.id[:5]) == RUN.id
    trained([replace(RUN, seed=1)], store=store)
    for start in ("", "zz"):
        with pytest.raises(ValueError, match=f"which run starts with '{start}'"):
            records.find(store.folder, start)


def test_a_run_of_another_revision_is_not_handed_out_under_its_id(store, kept, monkeypatch):
    monkeypatch.setattr(type(RUN.model), "revision", 99)
    with pytest.raises(ValueError, match=f"run {RUN.id} was made by other revisions"):
        store[RUN.id]


def test_the_store_is_the_one_given_or_of_the_environment_or_the_users(monkeypatch, tmp_path):
    assert Disk(tmp_path).folder == tmp_path
    monkeypatch.setenv("TDLAB_STORE", str(tmp_path / "there"))
    assert Disk().folder == tmp_path / "there"
    monkeypatch.delenv("TDLAB_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Disk().folder == tmp_path / "tdlab" / "store"


def test_a_trained_run_is_the_same_from_disk_as_from_memory(store):
    for one, other in zip(trained(RUNS, store=store), anew(RUNS), strict=True):
        assert isinstance(one, Trained)
        assert_same(one, other)


def test_a_reader_is_not_misled_by_a_writer_that_replaces_what_it_reads(store, kept, monkeypatch):
    (longer,) = anew([replace(RUN, steps=12)])
    plain = records.read
    lengths: list[int] = []

    def read(folder, run):
        record = plain(folder, run)
        if not lengths:
            assert record is not None
            lengths.append(record.taken)
            store.save([longer])  # between the record and the files that it names
        return record

    for reader in (store.standing, store.load):
        trained([RUN], store=store)
        lengths.clear()
        monkeypatch.setattr(records, "read", read)
        found = reader(RUN)
        assert getattr(found, "taken", None) == 12 or found.ending.step == 12
        monkeypatch.setattr(records, "read", plain)
        store.remove(RUN.id)
