"""The in-context-learning study (Li et al., ICML 2024): what is trained, and what is measured."""

from tdlab.studies.icl.batches import batch_runs, batches
from tdlab.studies.icl.classical import learners
from tdlab.studies.icl.coverage import coverage, coverage_tasks
from tdlab.studies.icl.dynamics import dynamics, neurons, training_loss
from tdlab.studies.icl.lengths import length_runs, test_lengths, training_lengths, training_runs
from tdlab.studies.icl.measurements import Measurements
from tdlab.studies.icl.pruning import attention_pruning, pruning
from tdlab.studies.icl.rates import rate_runs, rates
from tdlab.studies.icl.setting import PRESETS, Setting, setting
from tdlab.studies.icl.shift import out_of_domain, outside_span, prompt_shift, shift
from tdlab.studies.icl.step_size import step_size_runs, step_sizes

__all__ = [
    "PRESETS",
    "Measurements",
    "Setting",
    "attention_pruning",
    "batch_runs",
    "batches",
    "coverage",
    "coverage_tasks",
    "dynamics",
    "learners",
    "length_runs",
    "neurons",
    "out_of_domain",
    "outside_span",
    "prompt_shift",
    "pruning",
    "rate_runs",
    "rates",
    "setting",
    "shift",
    "step_size_runs",
    "step_sizes",
    "test_lengths",
    "training_lengths",
    "training_loss",
    "training_runs",
]
