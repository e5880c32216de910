"""What every test runs under: a fixed thread count, a store of its own, repeatable examples.

Our packages are not imported here: the shape checks instrument them when the first test does.
"""

import os
import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# What several files of tests share asserts as well, and says as much when it fails.
pytest.register_assert_rewrite("tests.synthetic_tasks", "tests.tdlab", "tests.first_use")

# No deadline: the first example of a test pays for imports. CI draws the same examples every time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """Sets the thread count on purpose, because bit-for-bit comparisons hold on one count.

    Where several processes share the suite, one thread of each occupies a core. The process that
    starts them comes here first, so that they, and what tests start, find the variable set.
    """
    shared = "PYTEST_XDIST_WORKER" in os.environ or config.getoption("dist", "no") != "no"
    count = 1 if shared else min(2, os.cpu_count() or 1)
    torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", str(count))))
    # What a shell starts in the background ignores interrupts, which some tests send.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the runs of the person who starts the suite, or opens a window."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDLAB_STORE", str(tmp_path_factory.mktemp("store")))
        patch.setenv("MPLBACKEND", "agg")
        yield
