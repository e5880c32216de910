"""What every executor has to do, and what happens to it meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace

from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.store import Disk
from tdlab.sweep import train
from tests.tdlab.runs import RUN, WILD, anew, assert_same

# Long enough to be met on the way, a second or so, and each a job of its own.
LONG = [replace(RUN, seed=seed, steps=900 + seed) for seed in range(4)]
ENDLESS = replace(RUN, steps=10**7)


def assert_trains_as_threads_do_and_lists_what_failed(store: Disk, executor: Executor | str):
    bad = replace(RUN, trained=("W_nowhere",))
    after = replace(RUN, after=RUN, optimiser=SGD(lr=0.3))
    outcome = train([after, bad, WILD, *LONG[:2]], store=store, executor=executor)
    assert outcome.trained == [after, WILD, *LONG[:2]]
    assert outcome.diverged == [WILD]
    assert outcome.failed.keys() == {bad}
    assert "ValueError: trained is" in outcome.failed[bad]
    assert "but must name some of" in outcome.failed[bad]
    for run, whole in zip([after, LONG[0]], anew([after, LONG[0]]), strict=True):
        assert_same(store.load(run).as_asked(run), whole)


def is_on_its_way(store: Disk, run: Run) -> bool:
    standing = store.standing(run)
    return standing is not None and standing.taken > 0


@contextmanager
def once(happens: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """While the block runs, a thread waits for something to happen, and then acts."""

    def wait() -> None:
        while not happens():
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()
