"""The tables of one setting, each measured once and only when it is asked for."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import pandas as pd

from tdlab.run import Run
from tdlab.studies import measurements
from tdlab.studies.kernels.basins import query_only, query_runs, scalar, scalar_runs
from tdlab.studies.kernels.classification import classification, classification_runs
from tdlab.studies.kernels.convergence import guards, phase, phase_runs, rate_runs, rates
from tdlab.studies.kernels.landscape import curvature, stage_runs, surfaces, variation
from tdlab.studies.kernels.setting import STAGE_ONE, Setting
from tdlab.trajectory import Trained


class Measurements(measurements.Measurements[Setting]):
    """What claims are judged by."""

    def wanted(self) -> list[Run]:
        """All runs that the tables are measured on."""
        setting = self.setting
        points = [*phase_runs(setting).values(), *rate_runs(setting).values()]
        points += [*scalar_runs(setting).values(), *query_runs(setting).values()]
        points += classification_runs(setting, self._device).values()
        for kernel in STAGE_ONE:
            points += stage_runs(replace(setting, stage_one=kernel)).values()
        return [run for point in points for run in point]

    @property
    def stages(self) -> dict[str, list[Trained]]:
        """The results of stage two, by kernel, after the setting's stage one."""
        return self.by_point(stage_runs(self.setting))

    def _of_both_stages(self, table: Callable[..., pd.DataFrame]) -> pd.DataFrame:
        """The table after a stage one with either kernel."""
        settings = [replace(self.setting, stage_one=kernel) for kernel in STAGE_ONE]
        tables = [table(each, self.by_point(stage_runs(each))) for each in settings]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def phase(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.phase``."""
        return phase(self.setting, self.by_point(phase_runs(self.setting)))

    @cached_property
    def rates(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.rates``."""
        return rates(self.setting, self.by_point(rate_runs(self.setting)))

    @cached_property
    def guards(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.guards``."""
        return guards(self.setting)

    @cached_property
    def scalar(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.scalar``."""
        return scalar(self.setting, self.by_point(scalar_runs(self.setting)))

    @cached_property
    def query_only(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.query_only``."""
        return query_only(self.setting, self.by_point(query_runs(self.setting)))

    @cached_property
    def surfaces(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.surfaces``."""
        return surfaces(self.setting, self.stages)

    @cached_property
    def curvature(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.curvature``, after a stage one with either kernel."""
        return self._of_both_stages(curvature)

    @cached_property
    def variation(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.variation``, after a stage one with either kernel."""
        return self._of_both_stages(variation)

    @cached_property
    def classification(self) -> pd.DataFrame:
        """See ``tdlab.studies.kernels.classification``."""
        runs = classification_runs(self.setting, self._device)
        return classification(self.setting, self.by_point(runs))
