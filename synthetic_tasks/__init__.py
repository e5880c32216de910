"""Generators of prompts with their hidden truth; they stand alone and know no model."""

from synthetic_tasks.cot import Reasoning
from synthetic_tasks.cue_text import CueText
from synthetic_tasks.digits import Digits
from synthetic_tasks.icl import InContextClassification
from synthetic_tasks.noisy_cot import NoisyReasoning
from synthetic_tasks.out_of_domain import OutOfDomain
from synthetic_tasks.pathfinder import Pathfinder
from synthetic_tasks.pool import FullBatch
from synthetic_tasks.regression import KeysAndValues, TokenRegression
from synthetic_tasks.task import Batch, Task, sample
from synthetic_tasks.threefry import fold, normals, stream, uniforms
from synthetic_tasks.transitions import Transitions
from synthetic_tasks.value import Varying, value

__all__ = [
    "Batch",
    "CueText",
    "Digits",
    "FullBatch",
    "InContextClassification",
    "KeysAndValues",
    "NoisyReasoning",
    "OutOfDomain",
    "Pathfinder",
    "Reasoning",
    "Task",
    "TokenRegression",
    "Transitions",
    "Varying",
    "fold",
    "normals",
    "sample",
    "stream",
    "uniforms",
    "value",
]
