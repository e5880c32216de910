"""What the tables of a study are measured on: results that are trained once."""

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from tdlab.run import Run
from tdlab.sweep import trained
from tdlab.train import available
from tdlab.trajectory import Trained, asked, finished

S = TypeVar("S")
K = TypeVar("K")
Key = tuple[str, tuple[int, ...]]  # of a run, and of the steps at which it is seen


class Measurements(Generic[S]):
    """The runs behind the tables of one setting: trained when asked for, ``known`` ones never.

    A study adds its tables as cached properties, which is what claims are judged by.
    """

    def __init__(self, setting: S, device: str = "cpu", known: Sequence[Trained] = ()) -> None:
        self.setting = setting
        self._device = available(device).type
        self._trained = {_key(result.run): result for result in known}

    def wanted(self) -> list[Run]:
        """All runs that the tables are measured on; a study says which."""
        raise AssertionError(f"{type(self).__name__} does not say which runs it wants")

    def results(self, runs: Sequence[Run]) -> list[Trained]:
        """The results of those runs that did not diverge."""
        asked_for = {_key(run): run for run in runs}  # an id is a hash: once is enough
        missing = {key: run for key, run in asked_for.items() if key not in self._trained}
        self._trained |= self._parts(missing)
        missing = {key: run for key, run in missing.items() if key not in self._trained}
        results = trained(list(missing.values()), device=self._device)
        self._trained |= zip(missing, results, strict=True)
        return finished([self._trained[_key(run)] for run in runs])

    def _parts(self, missing: Mapping[Key, Run]) -> dict[Key, Trained]:
        """Those that are a part of something that is known."""
        known: dict[str, list[Trained]] = {}
        for (run_id, _), result in self._trained.items():
            known.setdefault(run_id, []).append(result)
        return {
            key: result.as_asked(run)
            for key, run in missing.items()
            for result in known.get(run.id, ())
            if result.standing.lacks(run) is None
        }

    def by_point(self, runs: Mapping[K, Sequence[Run]]) -> dict[K, list[Trained]]:
        """The results at each point; those of all points are trained together."""
        self.results([run for each in runs.values() for run in each])
        return {point: self.results(each) for point, each in runs.items()}

    @property
    def known_runs(self) -> list[Run]:
        """The runs that were measured so far, each as far as it was asked for at most."""
        furthest: dict[str, Run] = {}
        for result in sorted(self._trained.values(), key=lambda result: result.run.steps):
            furthest[result.run.id] = result.run
        return list(furthest.values())

    @property
    def diverged(self) -> list[Run]:
        """The runs that were left out, because they diverged."""
        its = (result.run for result in self._trained.values() if not result.finished)
        return list({run.id: run for run in its}.values())


def _key(run: Run) -> Key:
    """What is asked of which run: one that is seen at other steps as well is another request."""
    return run.id, asked(run)
