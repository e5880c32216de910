"""Members that several files measure, trained once."""

from dataclasses import replace

import pytest

from tdlab.studies.icl import pruning
from tdlab.sweep import trained
from tests.tdlab.studies.icl.settings import LEARNED, TINY


@pytest.fixture(scope="session")
def tiny():
    return trained(TINY.runs())


@pytest.fixture(scope="session")
def learned():
    return trained(LEARNED.runs())


@pytest.fixture(scope="session")
def pruned_table(learned):
    return pruning(replace(LEARNED, prompts=200), learned)
