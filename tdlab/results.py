"""Tidy result tables: one row per number, on disk as parquet together with where they came from.

Tensors that a figure can be drawn again from, such as the directions of a plane, are stored beside
them as safetensors.

A coordinate names the value of an axis (one per index), a constant of the whole table (a scalar),
or one value per index of another axis, written as ``(axis, values)``::

    tidy("margin", m, "step member", source="measured",
         step=steps, member=range(8), seed=("member", seeds), run=("member", ids))
"""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tdlab.files import whole_or_absent

SOURCES = ("measured", "theory")
_RUNS = "runs.txt"  # of a page: which it read
COLUMNS = {
    "run": "string",
    "seed": "Int64",
    "step": "Int64",
    "quantity": "string",
    "source": "string",
    "value": "float64",
}  # the columns that every table has, and their nullable types


def tidy(
    quantity: str,
    values: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."] | float | int,
    axes: str,
    *,
    source: str,
    run: object = None,
    **coordinates: object,
) -> pd.DataFrame:
    """One row per number of ``values``, whose axes are the words of ``axes``, outermost first.

    NaN is kept as a value: it says that a number could not be measured.

    Returns:
        Columns ``run, seed, step, quantity, source, value``, then whatever else is named.

    Raises:
        ValueError: if ``source`` is unknown, an axis has no coordinate, or lengths differ.
        TypeError: if ``values`` are not real numbers.
    """
    if source not in SOURCES:
        raise ValueError(f"source is {source!r}; it must be one of {', '.join(SOURCES)}")
    array, names = _real(values), axes.split()
    if len(set(names)) < len(names) or len(names) != array.ndim:
        raise ValueError(
            f"axes {axes!r} must be {array.ndim} different names, one per axis of the values"
            f" of shape {array.shape}"
        )
    given = coordinates if run is None else {"run": run} | coordinates
    _refuse_reserved([*given, *names])
    sizes = dict(zip(names, array.shape, strict=True))
    if missing := [axis for axis in names if axis not in given]:
        raise ValueError(f"axis {missing[0]!r} (length {sizes[missing[0]]}) has no coordinate")
    places = [place.ravel() for place in np.indices(array.shape)]
    index = dict(zip(names, places, strict=True))
    columns = {name: _column(name, given[name], sizes, index) for name in [*given, *names]}
    constants = {"quantity": quantity, "source": source, "value": array.ravel()}
    table = pd.DataFrame(columns | constants, index=range(array.size))
    return _typed(table)


def keep(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return ``table``; if ``TDLAB_KEEP`` names a directory, also write ``<name>.parquet`` there.

    Raises:
        ValueError: if ``name`` is no plain file stem, or the table is not tidy; whether or not it
            would be written, so that a notebook fails by hand as it would in a report.
    """
    _check_tidy(table, name)
    if path := _kept(f"{name}.parquet"):
        write(path, table)
    return table


def keep_tensors(name: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return ``tensors``; if ``TDLAB_KEEP`` is set, also write ``<name>.safetensors`` there.

    Raises:
        ValueError: if ``name`` is no plain file stem, or there is no tensor; whether or not they
            would be written.
    """
    _check_some(tensors, name)
    if path := _kept(f"{name}.safetensors"):
        write_tensors(path, tensors)
    return tensors


def note_run(run: str, content: str) -> None:
    """If ``TDLAB_KEEP`` names a directory, notes there that a run was read, and what was in it."""
    if path := _in_kept(_RUNS):
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{run} {content}\n")


def runs_read(directory: Path) -> dict[str, str]:
    """The runs that were noted there, and what was in each when it was read last."""
    path = directory / _RUNS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    last = dict(line.split() for line in lines)
    return dict(sorted(last.items()))


def forget_runs_read(directory: Path) -> None:
    """Removes what was noted there."""
    (directory / _RUNS).unlink(missing_ok=True)


def write(path: str | Path, table: pd.DataFrame) -> None:
    """Write a tidy table and its provenance as parquet, whole or not at all.

    Raises:
        ValueError: if one of the required columns is missing.
    """
    _check_tidy(table, str(path))
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    origin = {b"tdlab": json.dumps(provenance()).encode()}
    arrow = arrow.replace_schema_metadata((arrow.schema.metadata or {}) | origin)
    with whole_or_absent(Path(path)) as file:
        pq.write_table(arrow, file)


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors and their provenance as safetensors, whole or not at all.

    Raises:
        ValueError: if there is no tensor.
    """
    _check_some(tensors, str(path))
    # Copies, because the format refuses tensors that share memory or have gaps.
    plain = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with whole_or_absent(Path(path)) as file:
        file.write(save(plain, {"tdlab": json.dumps(provenance())}))


def read(path: str | Path) -> pd.DataFrame:
    """The table that :func:`write` wrote; ``ValueError`` if the file is not parquet or not tidy."""
    table = _parquet(path).read().to_pandas()
    _check_tidy(table, str(path))
    return table


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """What :func:`write_tensors` wrote, by name; ``ValueError`` if the file is not safetensors."""
    with _safetensors(path) as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}


def written_by(path: str | Path) -> dict[str, Any]:
    """The :func:`provenance` of whoever wrote a table, or tensors, to ``path``.

    A name that ends in ``.safetensors`` is one of tensors.

    Returns:
        The record as it was then.

    Raises:
        ValueError: if the file is none of ours.
    """
    if Path(path).suffix == ".safetensors":
        with _safetensors(path) as file:
            origin = (file.metadata() or {}).get("tdlab")
    else:
        origin = (_parquet(path).schema_arrow.metadata or {}).get(b"tdlab")
    if origin is None:
        raise ValueError(f"{path} records no provenance; tdlab.results did not write it")
    return json.loads(origin)


def provenance() -> dict[str, Any]:
    """What a number may depend on besides its run: versions, commit and thread count."""
    return {
        "tdlab": _tdlab_version(),
        "commit": _commit(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def _real(values: object) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # bfloat16 has no numpy counterpart
        values = (values.double() if values.is_floating_point() else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"values have dtype {array.dtype}; they must be real numbers")
    return array.astype(np.float64)


def _refuse_reserved(names: Sequence[str]) -> None:
    for name in ("quantity", "source", "value"):
        if name in names:
            raise ValueError(f"{name!r} cannot be an axis or a coordinate; every table has it")


def _column(
    name: str, coordinate: object, sizes: Mapping[str, int], index: Mapping[str, np.ndarray]
) -> object:
    """The coordinate repeated down the table, or itself where it is constant."""
    match coordinate:
        case (str(axis), values) if not isinstance(values, str):
            if axis not in sizes:
                raise ValueError(f"{name!r} follows axis {axis!r}; the axes are {list(sizes)}")
        case _:
            axis, values = name, coordinate
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if axis not in sizes and values.ndim == 0:
        return values.item()
    if axis not in sizes:
        raise ValueError(
            f"{name!r} is no axis of the values (those are {list(sizes)}), so it must be a scalar"
            f" or (axis, values), not {values.size} values"
        )
    if values.shape != (sizes[axis],):
        raise ValueError(
            f"axis {axis!r} has length {sizes[axis]}, its coordinate {name!r} has"
            f" {'shape ' + str(values.shape) if values.ndim != 1 else 'length ' + str(len(values))}"
        )
    return values[index[axis]]


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The required columns first, each of its own type even where it is all missing."""
    others = [name for name in table.columns if name not in COLUMNS]
    return table.reindex(columns=[*COLUMNS, *others]).astype(COLUMNS)


def _check_tidy(table: pd.DataFrame, name: str) -> None:
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise ValueError(f"table {name} lacks {', '.join(missing)}; a tidy table has them")


def _check_some(tensors: Mapping[str, Tensor], name: str) -> None:
    if not tensors:
        raise ValueError(f"{name} has no tensor")


def _kept(name: str) -> Path | None:
    """Where a file of that name is kept, if anywhere."""
    stem = name.rpartition(".")[0]
    if not re.fullmatch(r"\w[\w.-]*", stem):
        raise ValueError(f"{stem!r} is no plain file stem; letters, digits, '_', '-' and '.' are")
    return _in_kept(name)


def _in_kept(name: str) -> Path | None:
    if not (directory := os.environ.get("TDLAB_KEEP")):
        return None
    Path(directory).mkdir(parents=True, exist_ok=True)
    return Path(directory) / name


def _safetensors(path: str | Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error


def _parquet(path: str | Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a parquet file: {error}") from error


def _tdlab_version() -> str:
    try:
        return version("tdlab")
    except PackageNotFoundError:
        return "not installed"


@cache
def _commit() -> str | None:
    """The commit of the checkout that tracks this file, ``-dirty`` if it was changed since."""
    if shutil.which("git") is None:
        return None
    here = Path(__file__)
    # A virtual environment inside somebody else's checkout must not report that checkout.
    tracked = _git("ls-files", "--error-unmatch", here.name, folder=here.parent)
    describe = ("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    return tracked and _git(*describe, folder=here.parent)


def _git(*arguments: str, folder: Path) -> str | None:
    """What git prints, or nothing if it refuses."""
    answer = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() if answer.returncode == 0 else None
