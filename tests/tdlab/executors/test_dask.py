"""A sweep on a Dask cluster of a scheduler and two worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from distributed import Client

from tdlab import records
from tdlab.executors import Unreachable
from tdlab.executors.dask import Dask
from tdlab.store import Disk
from tdlab.sweep import train, trained
from tests.tdlab.executors.sweeps import (
    ENDLESS,
    LONG,
    assert_trains_as_threads_do_and_lists_what_failed,
    is_on_its_way,
    once,
)
from tests.tdlab.runs import RUN, anew, assert_same


class Cluster:
    """A scheduler and two workers of one thread each, on loopback."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Cluster":
        self.start("scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard")
        for _ in range(2):
            self.start("worker", "--host=127.0.0.1", "--nthreads=1", "--no-nanny", "--no-dashboard")
        with Client(scheduler_file=str(self.file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            self.address = client.scheduler.address
        return self

    def start(self, kind: str, *options: str) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *options]
        self.processes.append(
            subprocess.Popen(
                [*command, f"--scheduler-file={self.file}"],
                env={**os.environ, "PYTHONPATH": str(Path.cwd())},
                cwd=self.file.parent,
                stderr=subprocess.DEVNULL,
            )
        )

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("dask")) as running:
        yield running


@pytest.mark.slow
def test_a_sweep_on_dask_has_the_bits_of_one_in_threads_and_lists_what_failed(tmp_path, cluster):
    assert_trains_as_threads_do_and_lists_what_failed(Disk(tmp_path), f"dask={cluster.address}")


def test_the_executor_of_any_client_will_do(tmp_path, cluster):
    with Client(cluster.address) as client:
        executor = client.get_executor(pure=False)
        (result,) = trained([RUN], store=Disk(tmp_path), executor=executor)
    assert_same(result, anew([RUN])[0])


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_nothing_running_on_the_workers(tmp_path, cluster):
    store = Disk(tmp_path)
    interrupt = partial(signal.raise_signal, signal.SIGINT)
    with (
        Dask(cluster.address) as executor,
        once(lambda: is_on_its_way(store, ENDLESS), interrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        train([ENDLESS], store=store, executor=executor, save_every=0.1)
    while True:  # until it is put by
        with store.locked([ENDLESS]) as free:
            if free:
                break
        time.sleep(0.02)
    assert store.load(ENDLESS).ending.reason == "unfinished"
    (other,) = trained([RUN], store=store, executor=f"dask={cluster.address}")
    assert other.finished


def test_a_sweep_survives_the_death_of_a_worker_and_counts_no_run_twice(tmp_path, cluster):
    store = Disk(tmp_path)

    def kill_a_worker() -> None:
        worker = cluster.processes.pop()
        worker.kill()
        worker.wait()

    with once(lambda: is_on_its_way(store, LONG[-1]), kill_a_worker):
        outcome = train(LONG, store=store, executor=f"dask={cluster.address}", save_every=0)
    assert (outcome.trained, outcome.found, outcome.failed) == (LONG, [], {})
    assert records.ids(store.folder) == sorted(run.id for run in LONG)
    for run, whole in zip(LONG, anew(LONG), strict=True):
        assert_same(store.load(run).as_asked(run), whole)


@pytest.mark.slow
def test_a_sweep_whose_scheduler_is_gone_ends_with_one_line(tmp_path):
    store = Disk(tmp_path / "store")
    with (
        Cluster(tmp_path) as cluster,
        once(lambda: is_on_its_way(store, ENDLESS), cluster.processes[0].kill),
        pytest.raises(Unreachable, match="scheduler is gone"),
    ):
        train([ENDLESS], store=store, executor=f"dask={cluster.address}", save_every=0.1)
    assert store.load(ENDLESS).ending.step > 0


def test_an_address_at_which_no_scheduler_answers_is_refused():
    with pytest.raises(ValueError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        Dask("tcp://127.0.0.1:1", timeout=0.5)
