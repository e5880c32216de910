"""Runs under their ids: on disk, where they outlive the process, or in memory.

What is in the files of a store, and where they are, is said in :mod:`tdlab.records`.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from tdlab import configuration, records, snapshots
from tdlab.files import is_unfinished, write_together
from tdlab.locks import locked
from tdlab.records import RECORD, Damaged, File, Record, Unwritable
from tdlab.results import COLUMNS, note_run, provenance
from tdlab.run import Run, id_of
from tdlab.snapshots import Content
from tdlab.train import Ending
from tdlab.trajectory import Standing, Trained

T = TypeVar("T")

_SCHEMA = pa.schema(
    zip(
        COLUMNS,
        (pa.string(), pa.int64(), pa.int64(), pa.string(), pa.string(), pa.float64()),
        strict=True,
    )
)


@runtime_checkable
class Store(Protocol):
    """Where runs are kept."""

    def standing(self, run: Run) -> Standing | None:
        """How far the run has come; ``None`` for one that has not begun."""

    def load(self, run: Run) -> Trained:
        """All that there is of a run's trajectory, whatever ``run`` asks for of it."""

    def losses(self, run: Run) -> Float[Tensor, " step"]:
        """Every training loss that there is of a run, without its parameters."""

    def save(self, results: Sequence[Trained]) -> None:
        """Keeps these trajectories in place of what there was of them, all of them or none."""

    def locked(self, runs: Sequence[Run]) -> Any:
        """A context in which the runs that it gives are written by nobody else."""


class Memory:
    """A store that ends with its process, and whose runs nobody else can ask for."""

    def __init__(self, results: Sequence[Trained] = ()) -> None:
        self._kept = {result.run.id: result for result in results}

    def standing(self, run: Run) -> Standing | None:
        """How far the run has come."""
        return self._kept[run.id].standing if run.id in self._kept else None

    def load(self, run: Run) -> Trained:
        """The trajectory, by the id of ``run``."""
        return self._kept[run.id]

    def losses(self, run: Run) -> Float[Tensor, " step"]:
        """Its losses."""
        return self._kept[run.id].loss

    def save(self, results: Sequence[Trained]) -> None:
        """Keeps them."""
        self._kept |= {result.run.id: result for result in results}

    @contextmanager
    def locked(self, runs: Sequence[Run]) -> Iterator[list[Run]]:
        """All of them."""
        yield list(runs)


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
                _require_length(records.folder(self.folder, run.id) / file.name, file)
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

        def losses(record: Record | None) -> Tensor:
            if record is None:
                raise KeyError(f"there is no run {run.id} in {self.folder}")
            folder = records.folder(self.folder, run.id)
            return _losses(folder / record.rows.name, record.rows, run)

        return self._of_one_moment(run.id, losses)

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
            loss=_losses(folder / record.rows.name, record.rows, run),
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
        table = _rows(result, origin)
        hashed = sha256(table).hexdigest()
        rows = File(name=f"rows-{hashed[:12]}.parquet", bytes=len(table), sha256=hashed)
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
        )
        contents = {file.name: tensors, rows.name: table, RECORD: records.sealed(record)}
        return {folder / name: content for name, content in contents.items()}

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
        with ExitStack() as held:
            with self.writing():
                self.folder.mkdir(parents=True, exist_ok=True)
                mine = held.enter_context(locked(self.folder / "locks", list(of_id)))
            yield [of_id[run] for run in mine]

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
        for run in runs or records.ids(self.folder):
            for line in self._check(run):
                yield run, line

    def _check(self, run: str) -> Iterator[str]:
        while True:
            try:
                record = records.read(self.folder, run)
            except Damaged as error:
                yield str(error)
                return
            found = list(self._wrong(run, record))
            if not found or records.read(self.folder, run) == record:
                yield from found
                return

    def _wrong(self, run: str, record: Record | None) -> Iterator[str]:
        folder = records.folder(self.folder, run)
        if record is None:
            yield f"{folder} has no {RECORD}: its process was killed before it wrote any"
            return
        if id_of(record.identity) != run:
            yield f"{folder / RECORD} is misplaced: its configuration has another id"
        yield from snapshots.findings(folder / record.snapshots.name, run, record.snapshots)
        try:
            _require_same(folder / record.rows.name, record.rows)
        except Damaged as error:
            yield str(error)
        for path in sorted(folder.iterdir()):
            if path.name not in record.names and not is_unfinished(path):
                yield f"{path} belongs to no run"

    def remove(self, run: str) -> None:
        """Removes a run. Raises ``Unwritable`` where that is forbidden, or somebody trains it."""
        with self.writing(), locked(self.folder / "locks", [run]) as mine:
            if not mine:
                raise Unwritable(f"run {run} is being trained by another process")
            folder = records.folder(self.folder, run)
            (folder / RECORD).unlink(missing_ok=True)  # first: what is left belongs to no run
            self.clean(folder, set())
            folder.rmdir()


def _require_length(path: Path, file: File) -> None:
    try:
        length = path.stat().st_size
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing") from error
    if length != file.bytes:
        raise Damaged(f"{path} has {length} bytes, where {file.bytes} were written")


def _require_same(path: Path, file: File) -> bytes:
    _require_length(path, file)
    data = path.read_bytes()
    if sha256(data).hexdigest() != file.sha256:
        raise Damaged(f"{path} was altered")
    return data


def _rows(result: Trained, origin: Mapping[str, Any]) -> bytes:
    """The losses as a tidy table in parquet: what a run lost at a step, before its update."""
    run, values = result.run, result.loss.double().numpy()
    # The step at which a run diverges has a loss, though no update.
    steps = np.arange(result.ending.step + (result.ending.reason == "diverged"))
    constant = {"run": run.id, "seed": run.seed, "quantity": "loss", "source": "measured"}
    columns = {name: pa.repeat(each, len(steps)) for name, each in constant.items()}
    columns |= {"step": steps, "value": values[steps]}
    about = _SCHEMA.with_metadata({"tdlab": json.dumps(origin)})
    table = pa.table({name: columns[name] for name in COLUMNS}, schema=about)
    pq.write_table(table, buffer := io.BytesIO())
    return buffer.getvalue()


def _losses(path: Path, file: File, run: Run) -> Tensor:
    table = pq.read_table(io.BytesIO(_require_same(path, file)), columns=["value"])
    return torch.tensor(table["value"].to_numpy(), dtype=run.torch_dtype)
