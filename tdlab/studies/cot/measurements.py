"""The tables of one setting, each measured once and only when it is asked for."""

from functools import cached_property

import pandas as pd

from tdlab.run import Run
from tdlab.studies import measurements
from tdlab.studies.cot.ablations import ablation_runs, ablations
from tdlab.studies.cot.attention import attention
from tdlab.studies.cot.dynamics import dynamics, phases
from tdlab.studies.cot.inference import chain_errors, conditions, in_context_errors
from tdlab.studies.cot.lengths import needed_lengths
from tdlab.studies.cot.rates import rate_runs, rates
from tdlab.studies.cot.setting import Setting
from tdlab.studies.cot.shift import shift
from tdlab.trajectory import Trained


class Measurements(measurements.Measurements[Setting]):
    """What claims are judged by."""

    @property
    def _base(self) -> list[Trained]:
        return self.results(self.setting.runs())

    @property
    def _wide(self) -> list[Trained]:
        return self.results(self.setting.runs(self.setting.wide_task))

    def wanted(self) -> list[Run]:
        """All runs that the tables are measured on."""
        setting = self.setting
        points = [setting.runs(), setting.runs(setting.wide_task)]
        points += [*ablation_runs(setting).values(), *rate_runs(setting).values()]
        return [run for point in points for run in point]

    @cached_property
    def dynamics(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.dynamics``."""
        return dynamics(self.setting, self._base)

    @cached_property
    def phases(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.phases``, on prompts of the training alpha."""
        return phases(self.dynamics, self.setting.alpha)

    @cached_property
    def ablations(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.ablations``."""
        return ablations(self.setting, self.by_point(ablation_runs(self.setting)))

    @cached_property
    def attention(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.attention``."""
        return attention(self.setting, self._base, self._wide)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.rates``."""
        return rates(self.setting, self.by_point(rate_runs(self.setting)))

    @cached_property
    def chain_errors(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.chain_errors``."""
        return chain_errors(self.setting, self._base)

    @cached_property
    def in_context_errors(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.in_context_errors``."""
        return in_context_errors(self.setting, self._base)

    @cached_property
    def chain_lengths(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.needed_lengths``, for a chain of thought."""
        return needed_lengths(self.chain_errors)

    @cached_property
    def in_context_lengths(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.needed_lengths``, in context."""
        return needed_lengths(self.in_context_errors)

    @cached_property
    def conditions(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.conditions``."""
        return conditions(self.setting, self._base)

    @cached_property
    def shift(self) -> pd.DataFrame:
        """See ``tdlab.studies.cot.shift``."""
        return shift(self.setting, self._wide)
