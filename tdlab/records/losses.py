"""The losses of a run as a tidy table in parquet: what it lost at a step, before its update."""

import io
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from tdlab.records.record import File, verified
from tdlab.results import COLUMNS

_SCHEMA = pa.schema(
    zip(
        COLUMNS,
        (pa.string(), pa.int64(), pa.int64(), pa.string(), pa.string(), pa.float64()),
        strict=True,
    )
)


def written(
    run: str, seed: int, values: Float[np.ndarray, " step"], origin: Mapping[str, Any]
) -> tuple[File, bytes]:
    """The file for the losses of a run from its first step on, and its bytes."""
    constant = {"run": run, "seed": seed, "quantity": "loss", "source": "measured"}
    columns = {name: pa.repeat(each, len(values)) for name, each in constant.items()}
    columns |= {"step": np.arange(len(values)), "value": values}
    about = _SCHEMA.with_metadata({"tdlab": json.dumps(origin)})
    table = pa.table({name: columns[name] for name in COLUMNS}, schema=about)
    pq.write_table(table, buffer := io.BytesIO())
    data = buffer.getvalue()
    hashed = sha256(data).hexdigest()
    return File(name=f"rows-{hashed[:12]}.parquet", bytes=len(data), sha256=hashed), data


def read(folder: Path, file: File) -> Float[np.ndarray, " step"]:
    """The losses. Raises ``Damaged`` for a file that is not as it was written."""
    return pq.read_table(io.BytesIO(verified(folder, file)), columns=["value"])["value"].to_numpy()
