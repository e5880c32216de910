"""A sweep on a Dask cluster of a scheduler and two worker processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client

from tdlab import records
from tdlab.executors import Unreachable
from tdlab.executors.dask import Dask
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.store import Disk
from tdlab.sweep import train, trained
from tests.tdlab.runs import RUN, anew, assert_same

# Of different lengths, so that each is a job of its own: a second or so.
LONG = [replace(RUN, seed=seed, steps=900 + seed) for seed in range(4)]


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
    store = Disk(tmp_path)
    bad = replace(RUN, trained=("W_nowhere",))
    after = replace(RUN, after=RUN, optimiser=SGD(lr=0.3))
    outcome = train([after, bad, *LONG[:2]], store=store, executor=f"dask={cluster.address}")
    assert outcome.trained == [after, *LONG[:2]]
    assert outcome.failed.keys() == {bad}
    assert "but must name some of" in outcome.failed[bad]
    for run, whole in zip([after, LONG[0]], anew([after, LONG[0]]), strict=True):
        assert_same(store.load(run).as_asked(run), whole)


def test_the_executor_of_any_client_will_do(tmp_path, cluster):
    with Client(cluster.address) as client:
        executor = client.get_executor(pure=False)
        (result,) = trained([RUN], store=Disk(tmp_path), executor=executor)
    assert_same(result, anew([RUN])[0])


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_nothing_running_on_the_workers(tmp_path, cluster):
    store, endless = Disk(tmp_path), replace(RUN, steps=10**6)

    def interrupt() -> None:
        while not is_on_its_way(store, endless):
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    with Dask(cluster.address) as executor, after_this(interrupt), pytest.raises(KeyboardInterrupt):
        train([endless], store=store, executor=executor, save_every=0.1)
    while True:  # until it is put by
        with store.locked([endless]) as free:
            if free:
                break
        time.sleep(0.02)
    assert store.load(endless).ending.reason == "unfinished"
    (other,) = trained([RUN], store=store, executor=f"dask={cluster.address}")
    assert other.finished


def test_a_sweep_survives_the_death_of_a_worker_and_counts_no_run_twice(tmp_path, cluster):
    store = Disk(tmp_path)

    def kill_a_worker() -> None:
        while not is_on_its_way(store, LONG[-1]):
            time.sleep(0.01)
        worker = cluster.processes.pop()
        worker.kill()
        worker.wait()

    with after_this(kill_a_worker):
        outcome = train(LONG, store=store, executor=f"dask={cluster.address}", save_every=0)
    assert (outcome.trained, outcome.found, outcome.failed) == (LONG, [], {})
    assert records.ids(store.folder) == sorted(run.id for run in LONG)
    for run, whole in zip(LONG, anew(LONG), strict=True):
        assert_same(store.load(run).as_asked(run), whole)


@pytest.mark.slow
def test_a_sweep_whose_scheduler_is_gone_ends_with_one_line(tmp_path, monkeypatch):
    store, endless = Disk(tmp_path / "store"), replace(RUN, steps=10**7)

    with Cluster(tmp_path) as cluster:

        def kill_the_scheduler() -> None:
            while not is_on_its_way(store, endless):
                time.sleep(0.02)
            cluster.processes[0].kill()

        with after_this(kill_the_scheduler), pytest.raises(Unreachable, match="scheduler is gone"):
            train([endless], store=store, executor=f"dask={cluster.address}", save_every=0.1)
    assert store.load(endless).ending.step > 0


def test_an_address_at_which_no_scheduler_answers_is_refused():
    with pytest.raises(ValueError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        Dask("tcp://127.0.0.1:1", timeout=0.5)


def is_on_its_way(store: Disk, run: Run) -> bool:
    standing = store.standing(run)
    return standing is not None and standing.taken > 0


@contextmanager
def after_this(act: Callable[[], None]) -> Iterator[None]:
    """While the block runs, a thread waits for its moment and acts."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()
