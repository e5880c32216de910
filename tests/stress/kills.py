"""Kills a sweep many times at random moments; in the end nothing may be missing, or different.

Each time one is killed: the process that sweeps, a process of its pool, or all of them at once.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from synthetic_tasks import InContextClassification
from tdlab import records
from tdlab.executors.local import Local
from tdlab.files import is_unfinished
from tdlab.models import OneLayer
from tdlab.optimisers import SGD, Adam
from tdlab.run import Run
from tdlab.schedule import Every
from tdlab.store import Disk, Memory
from tdlab.sweep import report, train, trained
from tdlab.trajectory import Trained

SAVE_EVERY = 0.2  # seconds: so that most kills meet an ensemble on its way, and many a save


def runs(steps: int) -> list[Run]:
    """Two programs, one with a state of the optimiser, and runs that start after others."""
    task = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
    model = OneLayer(width=9, label_width=3, neurons=6, xi=0.3)
    base = Run(task=task, model=model, batch=9, steps=steps, snapshots=Every(stride=steps // 8))
    first = [replace(base, seed=seed) for seed in range(6)]
    adam = [replace(base, seed=seed, optimiser=Adam(lr=0.003)) for seed in range(6)]
    later = [replace(run, after=run, optimiser=SGD(lr=0.03)) for run in first[:3]]
    return [*first, *adam, *later]


def sweep(folder: Path, steps: int) -> None:
    """What is killed."""
    with Local(2) as executor:
        outcome = train(runs(steps), store=Disk(folder), executor=executor, save_every=SAVE_EVERY)
    print(report(outcome), flush=True)


def strike(process: "subprocess.Popen[str]", whom: str) -> None:
    """Kills one of the processes, or all."""
    parent = psutil.Process(process.pid)
    children = parent.children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    victims = {"sweep": [parent], "worker": workers[:1], "all": [parent, *children]}[whom]
    for victim in victims:
        victim.kill()
    if whom != "worker":
        process.wait()
        assert not psutil.wait_procs(children, timeout=60)[1], "a process outlived its sweep"


def main(kills: int, steps: int, seed: int) -> int:
    chance, struck, landed = random.Random(seed), Counter[str](), 0
    wanted = trained(runs(steps), store=Memory())
    with tempfile.TemporaryDirectory() as name:
        store = Disk(Path(name) / "store")
        command = [sys.executable, __file__, "--sweep", str(store.folder), "--steps", str(steps)]
        while landed < kills:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                process.wait(chance.uniform(3, 9))
            except subprocess.TimeoutExpired:
                whom = chance.choice(["sweep", "worker", "all"])
                strike(process, whom)
                struck[whom] += 1
                landed += 1
                time.sleep(0.1)
                if whom == "worker":
                    process.kill()
                    process.wait()
            else:  # it was done: the next one begins anew, with what the kills so far came to
                compare(store, wanted)
                store = Disk(Path(name) / f"store-{landed}")
                command[3] = str(store.folder)
            for run, line in store.check():
                assert line.endswith("killed before it wrote any"), (run, line)
        subprocess.run(command, check=True)
        compare(store, wanted)
    print(f"{landed} kills ({dict(struck)}): every result is that of the uninterrupted sweep")
    return 0


def same(again: Trained, whole: Trained) -> None:
    """Raises unless the two have the same bits."""
    assert (again.steps, again.ending) == (whole.steps, whole.ending)
    assert again.loss.equal(whole.loss)
    assert all(again.params[name].equal(leaf) for name, leaf in whole.params.items())


def compare(store: Disk, wanted: Sequence[Trained]) -> None:
    """Raises unless all is there, bit for bit, with nothing beside it."""
    assert not list(store.check())
    for whole in wanted:
        same(store.load(whole.run).as_asked(whole.run), whole)
        folder = records.folder(store.folder, whole.run.id)
        assert not [path for path in folder.iterdir() if is_unfinished(path)]
    with store.locked([result.run for result in wanted]) as mine:
        assert len(mine) == len(wanted), "a lock is left"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", type=Path)
    given = parser.parse_args()
    if given.sweep is not None:
        sweep(given.sweep, given.steps)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"
        sys.exit(main(given.kills, given.steps, given.seed))
