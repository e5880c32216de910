"""The tables of one setting, each measured once and only when it is asked for."""

from functools import cached_property

import pandas as pd

from tdlab.run import Run
from tdlab.studies import measurements
from tdlab.studies.icl.batches import batch_runs, batches
from tdlab.studies.icl.classical import learners
from tdlab.studies.icl.coverage import coverage, coverage_tasks
from tdlab.studies.icl.dynamics import dynamics, neurons
from tdlab.studies.icl.lengths import length_runs, test_lengths, training_lengths, training_runs
from tdlab.studies.icl.pruning import pruning
from tdlab.studies.icl.rates import rate_runs, rates
from tdlab.studies.icl.setting import Setting
from tdlab.studies.icl.shift import shift
from tdlab.studies.icl.step_size import step_size_runs, step_sizes


class Measurements(measurements.Measurements[Setting]):
    """What claims are judged by."""

    def wanted(self) -> list[Run]:
        """All runs that the tables are measured on."""
        tasks = [self.setting.task, *coverage_tasks(self.setting).values()]
        points = [*map(self.setting.runs, tasks), *step_size_runs(self.setting).values()]
        for runs in (rate_runs, length_runs, training_runs, batch_runs):
            points += runs(self.setting).values()
        return [run for point in points for run in point]

    @cached_property
    def dynamics(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.dynamics``."""
        return dynamics(self.setting, self.results(self.setting.runs()))

    @cached_property
    def neurons(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.neurons``."""
        return neurons(self.results(self.setting.runs()))

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.coverage``."""
        tasks = coverage_tasks(self.setting)
        runs = {name: self.setting.runs(task) for name, task in tasks.items()}
        return coverage(self.setting, self.by_point(runs))

    @cached_property
    def step_sizes(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.step_sizes``."""
        return step_sizes(self.setting, self.by_point(step_size_runs(self.setting)))

    @cached_property
    def shift(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.shift``."""
        return shift(self.setting, self.results(self.setting.runs()))

    @cached_property
    def pruning(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.pruning``."""
        return pruning(self.setting, self.results(self.setting.runs()))

    @cached_property
    def learners(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.learners``."""
        return learners(self.setting, self.results(self.setting.runs()))

    @cached_property
    def rates(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.rates``."""
        return rates(self.setting, self.by_point(rate_runs(self.setting)))

    @cached_property
    def test_lengths(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.test_lengths``."""
        return test_lengths(self.setting, self.by_point(length_runs(self.setting)))

    @cached_property
    def training_lengths(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.training_lengths``."""
        return training_lengths(self.setting, self.by_point(training_runs(self.setting)))

    @cached_property
    def batches(self) -> pd.DataFrame:
        """See ``tdlab.studies.icl.batches``."""
        return batches(self.setting, self.by_point(batch_runs(self.setting)))
