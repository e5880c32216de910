import io

import pytest

from tdlab import progress
from tdlab.train import training
from tests.tdlab.members import MEMBERS, fit


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("tqdm.std.time", clock := Clock())
    return clock


class Log(io.StringIO):
    """A file in memory, with all that ``typing.IO`` asks of one."""

    mode, name = "w", "log"


@pytest.fixture
def log():
    return Log()


def written(log: io.StringIO) -> list[str]:
    return [line for line in log.getvalue().split("\r") if line.strip()]


def test_long_work_leaves_a_line_now_and_then_in_a_log(clock, log):
    with progress.bar(100, "training 3 members", unit="step", out=log) as bar:
        for _ in range(50):
            clock.now += 1
            bar.update()
        lines = written(log)
    assert 1 <= len(lines) <= 3
    assert "training 3 members" in lines[-1]
    assert "/100" in lines[-1]
    assert "".join(lines).isascii()


def test_short_work_leaves_no_line_in_a_log(clock, log):
    with progress.bar(100, "training", unit="step", out=log) as bar:
        for _ in range(100):
            clock.now += 0.1
            bar.update()
    assert not written(log)


def test_a_terminal_sees_a_bar_at_once(monkeypatch, clock, log):
    monkeypatch.setattr(log, "isatty", lambda: True)
    with progress.bar(10, "training", unit="step", out=log) as bar:
        clock.now += 1
        bar.update()
        assert "1/10" in written(log)[-1]


def test_training_moves_the_progress_line_by_one_for_each_step_of_each_member(monkeypatch, log):
    bars = []

    def bar(total, label, *, unit):
        bars.append(progress.bar(total, label, unit=unit, out=log))
        return bars[-1]

    monkeypatch.setattr(training, "bar", bar)
    fit(MEMBERS[:2])
    (only,) = bars
    assert (only.total, only.n, only.desc) == (24, 24, "training 2 members")
