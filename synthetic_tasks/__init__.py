"""Generators of prompts with their hidden truth; they stand alone and know no model."""

from synthetic_tasks.icl import InContextClassification, OutOfDomain
from synthetic_tasks.task import Batch, Task, sample

__all__ = ["Batch", "InContextClassification", "OutOfDomain", "Task", "sample"]
