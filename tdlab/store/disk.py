"""The store in a folder; what its files are is said in :mod:`tdlab.records`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from tdlab import records
from tdlab.files import write_together
from tdlab.records import (
    RECORD,
    Damaged,
    Record,
    Unwritable,
    checking,
    configuration,
    losses,
    snapshots,
)
from tdlab.records.locks import locked
from tdlab.records.snapshots import Content
from tdlab.results import note_run, provenance
from tdlab.run import Run
from tdlab.trajectory import Ending, Standing, Trained

T = TypeVar("T")

_EARLIER = 32  # (ours) contents of a run that are remembered


class Disk:
    """The store in a folder, which processes and machines may share.

    ``folder`` is ``$TDLAB_STORE`` unless given, or else in the user's data directory.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = records.root(folder)

    def standing(self, run: Run) -> Standing | None:
        """How far the run has come, by its record, whose files must be there.

        Returns:
            Its standing; ``None`` for a run that has not begun.

        Raises:
            Damaged: for a record that was altered, and a file that is missing or too short.
        """

        def standing(record: Record | None) -> Standing | None:
            if record is None:
                return None
            for file in (record.snapshots, record.rows):
                records.require_length(records.folder(self.folder, run.id), file)
            return Standing(record.taken, record.reason, record.steps, record.provenance["path"])

        return self._of_one_moment(run.id, standing)

    def _of_one_moment(self, run: str, read: Callable[[Record | None], T]) -> T:
        """What ``read`` makes of a run's record and the files that it names."""
        record = records.read(self.folder, run)
        while True:
            try:
                return read(record)
            except Damaged:
                now = records.read(self.folder, run)
                if now == record:
                    raise
                record = now  # somebody kept the run again while we were reading

    def load(self, run: Run) -> Trained:
        """The trajectory, by the id of ``run``.

        Returns:
            All that there is of it, every byte verified.

        Raises:
            Damaged: for files that are not as they were written.
            KeyError: if there is no such run.
        """
        return self._loaded(run.id, run)

    def losses(self, run: Run) -> Float[Tensor, " step"]:
        """Every training loss that there is of a run, verified, without its parameters."""

        def read(record: Record | None) -> Tensor:
            if record is None:
                raise KeyError(f"there is no run {run.id} in {self.folder}")
            return _losses(records.folder(self.folder, run.id), record, run)

        return self._of_one_moment(run.id, read)

    def __getitem__(self, run: str) -> Trained:
        """The trajectory of the run with that id; ``ValueError`` if its classes are gone."""
        return self._loaded(run, None)

    def _loaded(self, id_: str, run: Run | None) -> Trained:
        return self._of_one_moment(id_, lambda record: self._opened(id_, run, record))

    def _opened(self, id_: str, run: Run | None, record: Record | None) -> Trained:
        if record is None:
            raise KeyError(f"there is no run {id_} in {self.folder}")
        if run is None:
            run = configuration.decoded(record.run)
            if run.id != id_:
                raise ValueError(
                    f"run {id_} was made by other revisions than those that are here, where its "
                    f"configuration is that of run {run.id}"
                )
        note_run(id_, record.content)
        folder = records.folder(self.folder, id_)
        content = snapshots.read(folder / record.snapshots.name, id_, record.snapshots)
        return Trained(
            run=run,
            steps=content.steps,
            params=content.params,
            loss=_losses(folder, record, run),
            observed={},
            ending=Ending(record.taken, record.reason),
            moment=content.moment,
            path=record.provenance["path"],
            device=record.provenance["device"],
        )

    def save(self, results: Sequence[Trained]) -> None:
        """Keeps these trajectories, durably and all of them at once, or none.

        Raises:
            Unwritable: where the disk is full, or may not be written to.
        """
        origin = provenance()
        made = [self._files(result, origin) for result in results]
        data = {path: each[path] for each in made for path in each if path.name != RECORD}
        sealed = {path: each[path] for each in made for path in each if path.name == RECORD}
        with self.writing():
            write_together({path: data[path] for path in data if not path.exists()} | sealed)
            for path in sealed:
                self.clean(path.parent, {each.name for each in (*data, path)})

    def _files(self, result: Trained, origin: Mapping[str, Any]) -> dict[Path, bytes]:
        origin = {**origin, "device": result.device, "path": result.path}
        run, folder = result.run, records.folder(self.folder, result.run.id)
        content = Content(result.steps, result.params, result.moment)
        file, tensors = snapshots.written(run.id, content)
        values = result.loss[: result.ending.losses].double().numpy()
        rows, table = losses.written(run.id, run.seed, values, origin)
        record = Record(
            id=run.id,
            run=configuration.encoded(run),
            identity=run.identity,
            taken=result.ending.step,
            reason=result.ending.reason,
            steps=result.steps,
            snapshots=file,
            rows=rows,
            provenance=origin,
            earlier=self._still_in(result),
        )
        contents = {file.name: tensors, rows.name: table, RECORD: records.sealed(record)}
        return {folder / name: content for name, content in contents.items()}

    def _still_in(self, result: Trained) -> tuple[str, ...]:
        """What the contents of the run were, if all that is there now is in the result as well."""
        try:
            record = records.read(self.folder, result.run.id)
            if record is None:
                return ()
            folder = records.folder(self.folder, record.id)
            there = snapshots.read(folder / record.snapshots.name, record.id, record.snapshots)
            loss = _losses(folder, record, result.run)
        except Damaged:
            return ()
        kept = result.contains(there.steps, there.params, loss)
        return (*record.earlier, record.content)[-_EARLIER:] if kept else ()

    @staticmethod
    def clean(folder: Path, keep: set[str]) -> None:
        """Removes what the record names no more, and what killed processes left behind."""
        for path in folder.iterdir():
            if path.name not in keep:
                path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, runs: Sequence[Run]) -> Iterator[list[Run]]:
        """Those of the runs that no other process, or thread, is training.

        Raises:
            Unwritable: where the store may not be written to, or its file system knows no locks.
        """
        of_id = {run.id: run for run in runs}
        with self.held(list(of_id)) as mine:
            yield [of_id[run] for run in mine]

    @contextmanager
    def held(self, runs: Sequence[str]) -> Iterator[list[str]]:
        """As :meth:`locked`, of runs that are known by their ids alone."""
        with ExitStack() as stack:
            with self.writing():
                self.folder.mkdir(parents=True, exist_ok=True)
                mine = stack.enter_context(locked(self.folder / "locks", runs))
            yield mine

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A context in which it is ``Unwritable`` that the disk refuses."""
        try:
            yield
        except OSError as error:
            raise Unwritable(
                f"cannot write to the store {self.folder}: {error.strerror or error}; what is "
                "in it stays readable"
            ) from error

    def check(self, runs: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
        """What is wrong in the store, or with these runs of it: the run, and a line."""
        return checking.findings(self.folder, runs)

    def remove(self, run: str) -> None:
        """Removes a run. Raises ``Unwritable`` where that is forbidden, or somebody trains it."""
        with self.held([run]) as mine, self.writing():
            if not mine:
                raise Unwritable(f"run {run} is being trained by another process")
            folder = records.folder(self.folder, run)
            (folder / RECORD).unlink(missing_ok=True)  # first: what is left belongs to no run
            self.clean(folder, set())
            folder.rmdir()


def _losses(folder: Path, record: Record, run: Run) -> Tensor:
    return torch.tensor(losses.read(folder, record.rows), dtype=run.torch_dtype)
