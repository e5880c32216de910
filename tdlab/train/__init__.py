"""Training an ensemble: one tensor program that takes many members from step to step."""

from tdlab.train.training import (
    Moment,
    Observe,
    Saving,
    Snapshot,
    Training,
    available,
    faster_path,
)

__all__ = [
    "Moment",
    "Observe",
    "Saving",
    "Snapshot",
    "Training",
    "available",
    "faster_path",
]
