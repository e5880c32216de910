"""Jobs through submitit: with its executor of this machine, and on a cluster where there is one."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from tdlab.executors import Unreachable, named, slurm
from tdlab.executors.fleet import Died
from tdlab.executors.slurm import Slurm
from tdlab.store import Disk
from tdlab.sweep import train
from tests.tdlab.executors.sweeps import (
    ENDLESS,
    LONG,
    assert_trains_as_threads_do_and_lists_what_failed,
    is_on_its_way,
    once,
)
from tests.tdlab.runs import RUN, anew, assert_same


@pytest.fixture(scope="session")
def controller() -> None:
    """A Slurm that answers: its commands may be there without it."""
    if shutil.which("sinfo") is None:
        pytest.skip("there is no Slurm")
    answer = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(answer.stderr.strip())


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slow)])
def fleet(request, tmp_path, monkeypatch) -> Iterator[Slurm]:
    if request.param == "slurm":
        request.getfixturevalue("controller")
    monkeypatch.setattr(slurm, "_LOOK", 0.1)
    monkeypatch.setattr(slurm, "_GRACE", 0.5)
    with Slurm(tmp_path / "slurm", cluster=request.param) as executor:
        yield executor


@pytest.mark.slow
def test_a_sweep_through_submitit_has_the_bits_of_one_in_threads_and_lists_what_failed(
    tmp_path, fleet
):
    assert_trains_as_threads_do_and_lists_what_failed(Disk(tmp_path / "store"), fleet)
    fleet.shutdown()
    assert not list((tmp_path / "slurm").iterdir())  # nothing died, so nothing is kept


@pytest.mark.slow
def test_a_job_that_dies_is_submitted_again_and_goes_on(tmp_path, fleet):
    store = Disk(tmp_path / "store")
    killed: list[psutil.Process] = []

    def kill() -> None:
        killed.extend(process for process in psutil.process_iter() if works_for(process, fleet))
        for process in killed:
            process.kill()

    with once(lambda: is_on_its_way(store, LONG[0]), kill):
        outcome = train(LONG[:1], store=store, executor=fleet, save_every=0)
    assert killed
    assert (outcome.trained, outcome.failed) == (LONG[:1], {})
    assert_same(store.load(LONG[0]), anew(LONG[:1])[0])


def works_for(process: psutil.Process, fleet: Slurm) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return "submitit.core._submit" in command and fleet.id in " ".join(command)


@pytest.mark.slow
def test_a_cancelled_job_puts_by_what_it_trains(tmp_path, fleet):
    store = Disk(tmp_path / "store")
    interrupt = partial(signal.raise_signal, signal.SIGINT)
    with once(lambda: is_on_its_way(store, ENDLESS), interrupt), pytest.raises(KeyboardInterrupt):
        train([ENDLESS], store=store, executor=fleet, save_every=0.1)
    with store.locked([ENDLESS]) as free:
        assert free
    assert store.load(ENDLESS).ending.reason == "unfinished"


@pytest.mark.slow
@pytest.mark.usefixtures("controller")
def test_a_job_that_meets_its_time_limit_is_queued_again_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "_LOOK", 0.1)
    # It takes longer than the ten seconds after which it is told that its time is over.
    store, long = Disk(tmp_path / "store"), replace(RUN, steps=50_000)
    limit = {"timeout_min": 1, "slurm_signal_delay_s": 50}
    with Slurm(tmp_path / "slurm", parameters=limit) as executor:
        outcome = train([long], store=store, executor=executor, save_every=0.5)
        logs = [path.read_text() for path in (tmp_path / "slurm").rglob("*.out")]
    assert (outcome.trained, outcome.failed) == ([long], {})
    assert any("Requeued job" in log for log in logs)
    assert_same(store.load(long), anew([long])[0])


def test_what_dies_again_and_again_is_listed_with_its_log(tmp_path, fleet):
    future = fleet.submit(os._exit, 3)
    with pytest.raises(Died, match=r"^job \d+(_\d+)? ended; its log: .*_log\.err$") as died:
        future.result(timeout=60)
    assert Path(str(died.value).rpartition(": ")[2]).exists()


@pytest.mark.slow
def test_a_call_returns_what_it_returns_and_raises_what_it_raises(fleet):
    futures = [fleet.submit(divmod, 7, 2), fleet.submit(divmod, 7, 0), fleet.submit(int, "x")]
    cancelled = fleet.submit(time.sleep, 600)
    assert cancelled.cancel()
    assert futures[0].result(timeout=60) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        futures[1].result(timeout=60)
    with pytest.raises(ValueError, match="invalid literal"):
        futures[2].result(timeout=60)


@pytest.mark.slow
@pytest.mark.usefixtures("controller")
def test_a_partition_that_there_is_not_ends_the_sweep_with_one_line(tmp_path):
    with (
        Slurm(tmp_path, parameters={"slurm_partition": "nowhere"}) as executor,
        pytest.raises(Unreachable, match=r"^Slurm takes no jobs: .*nowhere$"),
    ):
        train([RUN], store=Disk(tmp_path / "store"), executor=executor)


def test_what_slurm_refuses_ends_the_sweep_with_the_line_that_it_says(tmp_path, monkeypatch):
    refusal = "sbatch: error: Unable to contact slurm controller (connect failure)"
    for command, text in {"sbatch": f"echo '{refusal}' >&2; exit 1", "srun": "exit 1"}.items():
        (tmp_path / command).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with (
        Slurm(tmp_path / "slurm") as executor,
        pytest.raises(Unreachable) as refused,
    ):
        train([RUN], store=Disk(tmp_path / "store"), executor=executor)
    assert str(refused.value) == f"Slurm takes no jobs: {refusal}"


def test_without_a_cluster_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"^no Slurm cluster can be used from here: Could not"):
        named("slurm", tmp_path)
    with pytest.raises(ValueError, match=r"^no Slurm cluster can be used from here: "):
        Slurm(tmp_path, cluster="local", parameters={"slurm_partitoin": "gpu"})
    with pytest.raises(ValueError, match=r'Parameter "timeout_min" expected type'):
        Slurm(tmp_path, cluster="local", parameters={"timeout_min": "long"})
