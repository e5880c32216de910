"""A sweep in processes of their own, whatever becomes of these."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from tdlab.executors.local import Local, _require_importable
from tdlab.records import ids
from tdlab.store import Disk
from tdlab.sweep import train, workers
from tests.tdlab.executors.sweeps import (
    LONG,
    assert_trains_as_threads_do_and_lists_what_failed,
    is_on_its_way,
    once,
)
from tests.tdlab.runs import RUN, WILD, anew, assert_same


def test_a_sweep_in_processes_has_the_bits_of_one_in_threads_and_lists_what_failed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "_LOOK", 0.1)
    store = Disk(tmp_path)
    with Local(2) as executor:
        assert_trains_as_threads_do_and_lists_what_failed(store, executor)
        assert train([WILD, *LONG[:2]], store=store, executor=executor).found == [WILD, *LONG[:2]]


@pytest.mark.slow
def test_a_sweep_survives_the_death_of_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_LOOK", 0.1)
    store = Disk(tmp_path)
    killed = []

    def kill_the_first() -> None:
        (child,) = [each for each in psutil.Process().children() if "spawn_main" in command(each)]
        child.kill()
        killed.append(child.pid)

    with once(lambda: bool(ids(store.folder)), kill_the_first), Local(1) as executor:
        outcome = train(LONG, store=store, executor=executor, save_every=0)
    assert len(killed) == 1
    assert outcome.trained == LONG
    assert outcome.failed == {}
    for run, whole in zip(LONG, anew(LONG), strict=True):
        assert_same(store.load(run).as_asked(run), whole)


def test_the_processes_of_anybodys_pool_will_do_and_those_that_died_are_not_replaced(tmp_path):
    store = Disk(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        outcome = train([RUN], store=store, executor=pool)
        assert_same(store.load(RUN), anew([RUN])[0])
        pool.submit(os._exit, 3).exception()
        with pytest.raises(BrokenExecutor):
            train(LONG[:1], store=store, executor=pool)
    assert (outcome.trained, outcome.failed) == ([RUN], {})


def test_what_was_defined_in_a_session_is_refused_and_what_can_be_imported_is_not(monkeypatch):
    session: Any = ModuleType("__main__")  # which has no file
    monkeypatch.setitem(sys.modules, "__main__", session)
    session.Own = type("Own", (), {"__module__": "__main__"})
    with Local(1) as executor:
        with pytest.raises(ValueError, match="was defined in this session"):
            executor.submit(print, session.Own())
        assert executor._pool is None
    _require_importable([RUN])
    session.__file__ = "script.py"  # which the process that needs it runs again
    _require_importable([session.Own()])


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


PROGRAM = """
import sys
from dataclasses import replace
from tdlab.executors.local import Local, _require_importable
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
    while not all(is_on_its_way(store, run) for run in runs):
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
