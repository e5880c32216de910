import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from synthetic_tasks import InContextClassification
from tdlab import machine
from tdlab.models import OneLayer
from tdlab.run import Run
from tdlab.train import Training

ASKED = {"MKL_CBWR": "AVX2", "OMP_WAIT_POLICY": "PASSIVE"}
TINY = Run(
    task=InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7),
    model=OneLayer(width=9, label_width=3, neurons=6, xi=0.3),
    batch=9,
    steps=5,
    loss="logistic",  # the hinge has a constant slope and hides a last bit
)
DEFAULT = Run(task=InContextClassification(), model=OneLayer(), steps=4, loss="logistic")


@pytest.fixture
def threads():
    """Sets the number of threads; as before once the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_thread_is_one_thread_and_afterwards_as_many_as_before(threads, count):
    threads(count)
    with machine.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == count


def test_one_thread_restores_the_count_after_an_exception(threads):
    threads(2)
    with pytest.raises(KeyError), machine.one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2


def test_one_thread_can_be_nested(threads):
    threads(2)
    with machine.one_thread():
        with machine.one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_one_thread_is_a_matter_of_the_thread_that_asks(threads):
    threads(2)
    inside, done = threading.Event(), threading.Event()

    def hold():
        with machine.one_thread():
            inside.set()
            done.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    assert inside.wait(10)
    mine = torch.get_num_threads()
    done.set()
    other.join()
    assert mine == torch.get_num_threads() == 2


def test_parts_are_worked_on_at_the_same_time_and_come_back_in_their_order(threads):
    threads(2)
    second_is_done = threading.Event()

    def work(part):
        if part == "first":
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return part.upper()

    assert machine.side_by_side(work, ["first", "second", "third"]) == ["FIRST", "SECOND", "THIRD"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_parts_as_there_are_threads_each_on_one_of_them(threads, count):
    threads(count)
    now, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(count)

    def work(part):
        nonlocal now, most
        with lock:
            now += 1
            most = max(now, most)
        together.wait(10)  # with fewer at a time it waits in vain
        time.sleep(0.01)  # were there more, they would come meanwhile
        with lock:
            now -= 1
        return torch.get_num_threads()

    assert machine.side_by_side(work, range(6)) == [1] * 6
    assert most == count
    assert torch.get_num_threads() == count


def test_a_single_part_has_all_threads_and_none_has_no_result(threads):
    threads(3)
    caller = threading.get_ident()

    def work(part):
        return part, torch.get_num_threads(), threading.get_ident()

    assert machine.side_by_side(work, ["only"]) == [("only", 3, caller)]
    assert machine.side_by_side(work, []) == []
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("parts", [["only"], ["one", "other"]])
def test_work_that_fails_is_heard_of_and_the_count_is_restored(threads, parts):
    threads(3)

    def fails(part):
        raise KeyError(part)

    with pytest.raises(KeyError, match=parts[0]):
        machine.side_by_side(fails, parts)
    assert torch.get_num_threads() == 3


def count_of_a_new_thread():
    counts = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


@pytest.mark.parametrize("fails", [False, True])
def test_threads_that_start_later_have_the_count_of_before(threads, fails):
    threads(2)
    both = threading.Barrier(2)

    def work(part):
        both.wait(10)
        # The second thread began with the count of the first one, 1, and hands it on if it is the
        # last to end; so it waits for the first, a second at most.
        for _ in range(100 if part == "second" else 0):
            if count_of_a_new_thread() == 2:
                break
            time.sleep(0.01)
        if fails and part == "second":
            raise KeyError

    with pytest.raises(KeyError) if fails else nullcontext():
        machine.side_by_side(work, ["first", "second"])
    assert count_of_a_new_thread() == 2


def test_what_the_user_has_set_stays(monkeypatch):
    for name in ASKED:
        monkeypatch.setenv(name, "mine")
    machine.prepare()
    assert [os.environ[name] for name in ASKED] == ["mine", "mine"]


def test_what_the_user_has_not_set_is_asked_for(monkeypatch):
    for name in ASKED:
        monkeypatch.setenv(name, "so that it is restored")
        monkeypatch.delenv(name)
    machine.prepare()
    assert {name: os.environ[name] for name in ASKED} == ASKED


@pytest.fixture
def told(monkeypatch):
    """What the allocator is told, where no variable of the user's says anything."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    said = []
    libc = SimpleNamespace(mallopt=lambda *option: said.append(option))
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: libc)
    return said


def test_the_allocator_is_told_to_keep_memory(told):
    machine.keep_memory()
    # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX.
    assert told == [(-1, 1 << 30), (-3, 1 << 30), (-8, 1)]


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"])
def test_an_allocator_that_the_user_has_set_stays_as_it_is(told, monkeypatch, name):
    monkeypatch.setenv(name, "4096")
    before = dict(os.environ)
    machine.keep_memory()
    assert told == []
    assert dict(os.environ) == before


def test_another_allocator_than_glibcs_is_told_nothing(told, monkeypatch):
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("", ""))
    machine.keep_memory()
    assert told == []


def test_importing_tdlab_asks_before_torch_starts():
    program = "import os, sys, tdlab; print('torch' in sys.modules, os.environ['MKL_CBWR'])"
    bare = {name: given for name, given in os.environ.items() if name not in ASKED}
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, env=bare, text=True) == "False AVX2\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("run", [TINY, DEFAULT], ids=["tiny", "default shape"])
def test_a_training_has_the_same_bits_on_one_thread_and_on_two(threads, run, dtype):
    runs = [replace(run, dtype=dtype, seed=seed) for seed in (0, 3, 8)]
    trainings = []
    for count in (1, 2):
        threads(count)
        trainings.append(Training(runs, path="eager"))
        assert list(trainings[-1])
        assert torch.get_num_threads() == count
    one, two = trainings
    assert one.loss.isfinite().all()
    assert one.loss.equal(two.loss)
    assert all(one.params[name].equal(two.params[name]) for name in one.params)
