"""One writer a run: in this process, in another one, and after its death."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tdlab.records import Unwritable
from tdlab.records.locks import locked
from tdlab.schedule import Every
from tdlab.store import Disk
from tdlab.sweep import job, sweep, train, trained, workers
from tdlab.trajectory import Trained
from tests.tdlab.runs import RUN, anew, assert_same

HOLDER = """
import sys
from pathlib import Path
from tdlab.records.locks import locked
with locked(Path(sys.argv[1]), sys.argv[2:]) as mine:
    print(*mine, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds these locks until it is killed."""
    started = []

    def start(*runs: str) -> tuple[subprocess.Popen[str], list[str]]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "locks"), *runs]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_is_held_once_in_a_process_and_is_free_afterwards(tmp_path):
    path = tmp_path / "locks"
    with locked(path, ["00000000000a", "ffffffffffff"]) as first:
        assert first == ["00000000000a", "ffffffffffff"]
        with locked(path, ["ffffffffffff", "00000000000b"]) as second:
            assert second == ["00000000000b"]
        with locked(path, ["00000000000a"]) as third:
            assert third == []
    with locked(path, ["00000000000a"]) as again:
        assert again == ["00000000000a"]
    assert path.stat().st_size == 0


def test_a_lock_of_another_process_holds_and_goes_with_it_however_it_ends(tmp_path, holder):
    process, theirs = holder("00000000000a", "00000000000b")
    assert theirs == ["00000000000a", "00000000000b"]
    with locked(tmp_path / "locks", ["00000000000a", "00000000000c"]) as mine:
        assert mine == ["00000000000c"]
        assert holder("00000000000c", "00000000000d")[1] == ["00000000000d"]
    process.kill()
    process.wait()
    with locked(tmp_path / "locks", ["00000000000a", "00000000000b"]) as mine:
        assert mine == ["00000000000a", "00000000000b"]


def test_a_run_that_is_being_trained_is_not_removed(tmp_path, holder):
    store = Disk(tmp_path)
    trained([RUN], store=store)
    process, _ = holder(RUN.id)
    with pytest.raises(Unwritable, match=f"^run {RUN.id} is being trained by another process$"):
        store.remove(RUN.id)
    process.kill()
    process.wait()
    store.remove(RUN.id)


def test_a_sweep_waits_for_what_another_process_trains_and_goes_on_when_that_dies(
    tmp_path, holder, monkeypatch
):
    monkeypatch.setattr(sweep, "_WAIT", 0.01)
    store = Disk(tmp_path)
    process, _ = holder(RUN.id)
    runs = [RUN, replace(RUN, seed=1)]
    results: list[Trained] = []
    thread = threading.Thread(target=lambda: results.extend(trained(runs, store=store)))
    thread.start()
    while (there := store.standing(runs[1])) is None or there.taken < 10:
        time.sleep(0.01)
    time.sleep(0.1)
    assert thread.is_alive()  # the other run is done, this one is somebody else's
    assert store.standing(RUN) is None
    process.kill()
    thread.join(timeout=60)
    for result, whole in zip(results, anew(runs), strict=True):
        assert_same(result, whole)


def test_what_somebody_else_finished_meanwhile_is_not_trained_again(tmp_path, monkeypatch):
    store = Disk(tmp_path)
    (whole,) = anew([RUN])
    plain = job.do

    def late(its, **settings):
        store.save([whole])  # after the sweep has looked, and before it holds the lock
        monkeypatch.setattr(job, "Training", None)
        return plain(its, **settings)

    monkeypatch.setattr(workers, "do", late)
    (result,) = trained([RUN], store=store)
    assert_same(result, whole)


def test_two_processes_that_are_asked_for_the_same_runs_train_each_once(tmp_path):
    program = f"""
from dataclasses import replace
from tdlab.sweep import job
from tdlab.store import Disk
from tdlab.sweep import train
from tests.tdlab.runs import RUN
plain = job.Training
def spy(runs, **settings):
    print(*(run.id for run in runs))
    return plain(runs, **settings)
job.Training = spy
runs = [replace(RUN, seed=seed, steps=40 + seed) for seed in range(12)]
outcome = train(runs, store=Disk({str(tmp_path)!r}))
assert not outcome.failed and len(outcome.found + outcome.trained) == 12, outcome
"""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    trained_ids = " ".join(process.communicate()[0] for process in both).split()
    assert [process.returncode for process in both] == [0, 0]
    assert len(trained_ids) == len(set(trained_ids)) == 12
    assert not list(Disk(tmp_path).check())


def test_a_failure_is_listed_and_the_others_go_on(tmp_path):
    bad = replace(RUN, trained=("W_nowhere",))
    runs = [RUN, bad, replace(RUN, after=bad), replace(RUN, seed=1)]
    outcome = train(runs, store=Disk(tmp_path))
    assert outcome.trained == [RUN, runs[3]]
    assert outcome.failed[bad].startswith("ValueError: trained is ('W_nowhere',), but must")
    assert outcome.failed[runs[2]].startswith("the run before it failed: ValueError: trained is")
    again = train(runs, store=Disk(tmp_path))
    assert again.found == outcome.trained
    assert set(again.failed) == set(outcome.failed)
    with pytest.raises(ValueError, match="trained is"):
        train(runs, store=Disk(tmp_path), fail_fast=True)


def test_what_a_sweep_was_asked_for_and_did_not_get_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "do", lambda *_, **__: ())
    outcome = train([RUN], store=Disk(tmp_path))
    assert outcome.failed == {RUN: "it is not all there; the next sweep goes on with it"}
    assert outcome.trained == outcome.found == []


def test_a_run_that_is_trained_for_a_snapshot_that_was_passed_by_counts_as_trained(tmp_path):
    store = Disk(tmp_path)
    train([RUN], store=store)
    denser = replace(RUN, snapshots=Every(stride=1))
    outcome = train([denser], store=store)
    assert (outcome.trained, outcome.found) == ([denser], [])
