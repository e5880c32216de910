"""What is on disk of a run, and how it is read and written.

::

    STORE/
      locks                            byte n is the lock of the run whose id is the number n
      runs/<id>/run.json               configuration, ending, provenance; names the others
      runs/<id>/snapshots-<hash>.safetensors    each leaf with a leading axis over its steps
      runs/<id>/rows-<hash>.parquet             the losses as a tidy table

A file is named after its content and never changed; ``run.json`` takes its place last. So whatever
moment a process is killed at, a record that is there belongs to files that are whole.
"""

from tdlab.records.record import (
    RECORD,
    Damaged,
    File,
    Record,
    Unwritable,
    find,
    folder,
    ids,
    read,
    require_length,
    root,
    sealed,
)

__all__ = [
    "RECORD",
    "Damaged",
    "File",
    "Record",
    "Unwritable",
    "find",
    "folder",
    "ids",
    "read",
    "require_length",
    "root",
    "sealed",
]
