"""The attention-kernel study (after Song et al., NeurIPS 2024): what is trained and measured."""

from tdlab.studies.kernels.basins import query_only, query_runs, scalar, scalar_runs
from tdlab.studies.kernels.classification import classification, classification_runs
from tdlab.studies.kernels.convergence import guards, phase, phase_runs, rate_runs, rates
from tdlab.studies.kernels.landscape import (
    curvature,
    directions,
    planes,
    risk_of,
    stage_runs,
    surfaces,
    variation,
)
from tdlab.studies.kernels.measurements import Measurements
from tdlab.studies.kernels.setting import PRESETS, Setting, setting

__all__ = [
    "PRESETS",
    "Measurements",
    "Setting",
    "classification",
    "classification_runs",
    "curvature",
    "directions",
    "guards",
    "phase",
    "phase_runs",
    "planes",
    "query_only",
    "query_runs",
    "rate_runs",
    "rates",
    "risk_of",
    "scalar",
    "scalar_runs",
    "setting",
    "stage_runs",
    "surfaces",
    "variation",
]
