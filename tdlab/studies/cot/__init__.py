"""The chain-of-thought study (Li et al., ICLR 2025): what is trained, and what is measured."""

from tdlab.studies.cot.ablations import ablation_runs, ablations
from tdlab.studies.cot.attention import along_chain, attention
from tdlab.studies.cot.dynamics import dynamics, phases
from tdlab.studies.cot.inference import chain_errors, conditions, errors, in_context_errors
from tdlab.studies.cot.lengths import needed_lengths
from tdlab.studies.cot.measurements import Measurements
from tdlab.studies.cot.rates import rate_runs, rates
from tdlab.studies.cot.setting import PRESETS, Setting, setting
from tdlab.studies.cot.shift import shift

__all__ = [
    "PRESETS",
    "Measurements",
    "Setting",
    "ablation_runs",
    "ablations",
    "along_chain",
    "attention",
    "chain_errors",
    "conditions",
    "dynamics",
    "errors",
    "in_context_errors",
    "needed_lengths",
    "phases",
    "rate_runs",
    "rates",
    "setting",
    "shift",
]
