"""What a second worker gains: a sweep by one process and by two, in turns."""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from tdlab.executors.local import Local
from tdlab.run import Run
from tdlab.store import Disk
from tdlab.sweep import train
from tests.stress.bookkeeping import RUN


def seconds(runs: Sequence[Run], workers: int, folder: Path) -> float:
    """Seconds of a sweep with processes that have started before."""
    with Local(workers) as executor:
        for place in range(workers):
            run = replace(RUN, seed=10**6 + place, steps=2)
            train([run], store=Disk(folder / "warm"), executor=executor)
        list(executor.map(time.sleep, [1.0] * workers))  # one each, so that all are there
        began = time.perf_counter()
        outcome = train(runs, store=Disk(folder / "store"), executor=executor)
        taken = time.perf_counter() - began
    assert len(outcome.trained) == len(runs)
    return taken


def main(members: int, repeats: int) -> None:
    runs = [replace(RUN, seed=seed) for seed in range(members)]
    ratios = []
    for _ in range(repeats):
        each = []
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as name:
                each.append(seconds(runs, workers, Path(name)))
        ratios.append(each[0] / each[1])
        print(f"one worker {each[0]:.1f} s, two {each[1]:.1f} s: {ratios[-1]:.2f} times")
    print(f"two workers: {median(ratios):.2f} times the throughput of one")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    main(given.members, given.repeats)
