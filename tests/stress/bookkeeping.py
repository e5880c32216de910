"""What a store costs: a run saved, many listed, and a sweep that has nothing left to do."""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from synthetic_tasks import InContextClassification
from tdlab.models import OneLayer
from tdlab.run import Run
from tdlab.store import Disk, Memory
from tdlab.sweep import train, trained

RUN = Run(task=InContextClassification(), model=OneLayer(), steps=400)
SMALL = replace(
    RUN,
    task=InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7),
    model=OneLayer(width=9, label_width=3, neurons=6),
    batch=9,
    steps=20,
)
ENSEMBLE = 64


def saving(run: Run, folder: Path) -> float:
    """Seconds that an ensemble takes to be saved, a run."""
    (result,) = trained([run], store=Memory())
    copies = [replace(result, run=replace(run, seed=seed)) for seed in range(ENSEMBLE)]
    began = time.perf_counter()
    Disk(folder).save(copies)
    return (time.perf_counter() - began) / ENSEMBLE


def listing(store: Disk) -> float:
    """Seconds of ``tdlab runs list``, the start of Python included."""
    program = "import sys; from tdlab.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "runs", "list", "--store", str(store.folder)]
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def nothing_to_do(store: Disk, count: int) -> float:
    """Seconds of a sweep that finds all of its runs."""
    runs = [replace(SMALL, seed=seed) for seed in range(count)]
    began = time.perf_counter()
    outcome = train(runs, store=store)
    taken = time.perf_counter() - began
    assert len(outcome.found) == count
    return taken


def main(count: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        for what, run in (("small", SMALL), ("of the in-context preset", RUN)):
            each = [saving(run, Path(name) / f"{what}-{number}") for number in range(repeats)]
            print(f"saving a run {what}: {1e3 * median(each):.2f} ms")
        store = Disk(Path(name) / "many")
        (result,) = trained([SMALL], store=Memory())
        for at in range(0, count, ENSEMBLE):
            seeds = range(at, min(at + ENSEMBLE, count))
            store.save([replace(result, run=replace(SMALL, seed=seed)) for seed in seeds])
        print(f"listing {count} runs: {median(listing(store) for _ in range(repeats)):.2f} s")
        idle = median(nothing_to_do(store, count) for _ in range(repeats))
        print(f"a sweep of {count} runs that has nothing left to do: {idle:.2f} s")
        began = time.perf_counter()
        assert not list(store.check())
        print(f"checking every byte of {count} runs: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    main(given.runs, given.repeats)
