"""A sweep in processes of their own, whatever becomes of these."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tdlab.executors.local import Local
from tdlab.optimisers import SGD
from tdlab.records import ids
from tdlab.store import Disk
from tdlab.sweep import train, workers
from tests.tdlab.runs import RUN, anew, assert_same

# Long enough to be met on the way: a second or so.
LONG = [replace(RUN, seed=seed, steps=900 + seed) for seed in range(3)]


def test_a_sweep_in_processes_has_the_bits_of_one_in_threads_and_lists_what_failed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "_LOOK", 0.1)
    store = Disk(tmp_path)
    bad = replace(RUN, trained=("W_nowhere",))
    after = replace(RUN, after=RUN, optimiser=SGD(lr=0.3))
    wild = replace(RUN, seed=5, optimiser=SGD(lr=1e6))
    with Local(2) as executor:
        outcome = train([after, bad, wild, *LONG], store=store, executor=executor)
        again = train([after, wild], store=store, executor=executor)
    assert outcome.trained == [after, wild, *LONG]
    assert outcome.diverged == [wild]
    assert outcome.failed.keys() == {bad}
    assert "but must name some of" in outcome.failed[bad]
    assert again.found == [after, wild]
    for run, whole in zip([after, LONG[0]], anew([after, LONG[0]]), strict=True):
        assert_same(store.load(run).as_asked(run), whole)


@pytest.mark.slow
def test_a_sweep_survives_the_death_of_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_LOOK", 0.1)
    store = Disk(tmp_path)
    killed = []

    def kill_the_first():
        while not ids(store.folder):
            time.sleep(0.01)
        (child,) = [each for each in psutil.Process().children() if "spawn_main" in command(each)]
        child.kill()
        killed.append(child.pid)

    thread = threading.Thread(target=kill_the_first)
    thread.start()
    with Local(1) as executor:
        outcome = train(LONG, store=store, executor=executor, save_every=0)
    thread.join()
    assert len(killed) == 1
    assert outcome.trained == LONG
    assert outcome.failed == {}
    for run, whole in zip(LONG, anew(LONG), strict=True):
        assert_same(store.load(run).as_asked(run), whole)


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


PROGRAM = """
import sys
from dataclasses import replace
from tdlab.executors.local import Local
from tdlab.store import Disk
from tdlab.sweep import train
from tests.tdlab.runs import RUN
if __name__ == "__main__":
    runs = [replace(RUN, seed=seed, steps=200_000) for seed in range(2)]
    with Local(2) as executor:
        train(runs, store=Disk(sys.argv[1]), executor=executor, save_every=0.1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_and_no_lock_outlives_a_sweep_and_what_it_trained_is_put_by(tmp_path, how):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    store = Disk(tmp_path / "store")
    parent = subprocess.Popen(
        [sys.executable, str(program), str(store.folder)],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.DEVNULL,
    )
    runs = [replace(RUN, seed=seed, steps=200_000) for seed in range(2)]
    while any((standing := store.standing(run)) is None or not standing.taken for run in runs):
        assert parent.poll() is None
        time.sleep(0.05)
    children = psutil.Process(parent.pid).children(recursive=True)
    os.kill(parent.pid, how)
    parent.wait(60)
    assert not psutil.wait_procs(children, timeout=60)[1]
    with store.locked(runs) as mine:
        assert mine == runs
    assert not list(store.check())
    reached = [store.load(run).ending for run in runs]
    assert {ending.reason for ending in reached} == {"unfinished"}
