"""What tdlab asks of the machine: reproducible products, patient threads, memory that is kept."""

import ctypes
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_KEEP = 1 << 30  # bytes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def prepare() -> None:
    """Asks the libraries below torch for the first two; what the user has set stays.

    They read these variables once, when they are first used.
    """
    # MKL rounds a product by where its matrices lie in memory unless it is told to be reproducible,
    # and a member must not depend on its place in an ensemble.
    os.environ.setdefault("MKL_CBWR", "AVX2")
    # Threads that spin while they wait take the core from another process that needs it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_memory() -> None:
    """Lets the allocator keep what is freed, unless the user has told it something else."""
    # An eager step frees and takes the same megabytes hundreds of times. Where the allocator hands
    # them back in between, the page faults cost a third of the step, and more with two threads.
    told = any(name.startswith("MALLOC_") for name in os.environ)
    if platform.libc_ver()[0] == "glibc" and not told:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP)
        # Heaps of their own would each keep what their thread once needed.
        libc.mallopt(_M_ARENA_MAX, 1)


def cores() -> int:
    """How many cores this process may use: ``$OMP_NUM_THREADS``, or all that it is let to."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    has_mask = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_mask else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensor operations of this thread use no others: their bits then do not depend on how many."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """``work`` on each part, as many at a time as torch has threads, each on one of them.

    Returns:
        The results, in the order of the parts; a single part was given all threads.
    """
    import torch

    if len(parts) == 1:
        return [work(parts[0])]

    def alone(part: T) -> R:
        with one_thread():
            return work(part)

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(alone, parts))
    finally:
        torch.set_num_threads(threads)  # torch hands a thread's count to those that start later
