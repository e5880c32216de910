"""Intervals, fits and censoring: numpy in, :class:`Interval` out; seeds are the replicates."""

from tdlab.statistics.bootstrap import bootstrap_interval
from tdlab.statistics.intervals import (
    Interval,
    error_interval,
    mean_interval,
    proportion_interval,
    slope_interval,
)
from tdlab.statistics.power_law import POINTS, PowerLaw, power_law

__all__ = [
    "POINTS",
    "Interval",
    "PowerLaw",
    "bootstrap_interval",
    "error_interval",
    "mean_interval",
    "power_law",
    "proportion_interval",
    "slope_interval",
]
