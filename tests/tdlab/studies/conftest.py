"""What takes the place of training, and of tables, where a test asks only which are wanted."""

from importlib import import_module
from typing import Any

import pandas as pd
import pytest
import torch

from tdlab.run import Run
from tdlab.studies import measurements
from tdlab.trajectory import Ending, Trained


@pytest.fixture
def trainings(monkeypatch):
    """Every run that would be trained from here on, in order."""
    runs: list[Run] = []

    def noting(wanted, **rest):
        runs.extend(wanted)
        ending, loss = Ending(1, "finished"), torch.zeros(1)
        return [
            Trained(run=run, steps=(0,), params={}, loss=loss, observed={}, ending=ending)
            for run in wanted
        ]

    monkeypatch.setattr(measurements, "trained", noting)
    return runs


@pytest.fixture
def planted(monkeypatch):
    """Puts tables with nothing but their names in place of a study's, and notes what they get."""

    def plant(study, names):
        calls: dict[str, list[Any]] = {name: [] for name in names}

        def noting(name):
            def table(*given):
                calls[name].append(given)
                return pd.DataFrame({"table": [name]})

            return table

        module = import_module(f"tdlab.studies.{study}.measurements")
        for name in calls:
            monkeypatch.setattr(module, name, noting(name))
        return calls

    return plant
