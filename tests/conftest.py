"""What every test runs under: a fixed thread count, a store of its own, repeatable examples.

Our packages are not imported here: the shape checks instrument them when the first test does.
"""

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# Bit-for-bit comparisons hold on one thread count, so it is set on purpose. Kernels and child
# processes read the variable.
# Where several processes share the suite, one thread of each occupies a core.
ALONE = "PYTEST_XDIST_WORKER" not in os.environ
THREADS = int(
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1) if ALONE else 1))
)
torch.set_num_threads(THREADS)

# What several files of tests share asserts as well, and says as much when it fails.
pytest.register_assert_rewrite("tests.synthetic_tasks", "tests.tdlab")

# No deadline: the first example of a test pays for imports. CI draws the same examples every time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the runs of the person who starts the suite, or opens a window."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDLAB_STORE", str(tmp_path_factory.mktemp("store")))
        patch.setenv("MPLBACKEND", "agg")
        yield
