from dataclasses import replace
from itertools import count

import pytest
import torch

from tdlab import bench, cli
from tdlab.bench import comparison, floor
from tdlab.bench.comparison import CASES, Timing, compare, line
from tests.tdlab.runs import anew


# A loop that trained something else would be no comparison: each starts at our loss, and its loss
# goes where ours goes.
@pytest.mark.parametrize(
    ("case", "steps", "gone"),
    [("icl", 200, 0.9), ("cot", 2, -0.05), ("kernels", 60, 0.01)],
)
def test_a_plain_loop_trains_what_we_train(case, steps, gone):
    run = replace(CASES[case].run, steps=steps)
    ours = torch.stack([each.loss for each in anew([replace(run, seed=s) for s in range(3)])])
    first, last = (CASES[case].loop(count).item() for count in (1, steps))
    spread = 0.35 if case == "kernels" else 0.05  # a full batch of 16 targets of its own
    assert first == pytest.approx(ours[:, 0].mean().item(), rel=spread)
    assert 1 - ours[:, -1].mean() / ours[:, 0].mean() >= gone
    assert 1 - last / first >= gone


@pytest.mark.parametrize("members", [1, 3])
def test_what_is_compared_is_timed(members):
    timing = compare("cot", members, "eager", steps=2, repeats=1)
    assert (timing.case, timing.members, timing.path) == ("cot", members, "eager")
    assert timing.jax is None
    assert timing.floor is not None
    assert min(timing.floor, timing.loop, timing.ours) > 0


def test_a_line_has_the_ratios():
    timing = Timing(
        case="icl", members=64, path="compiled", ours=0.5, loop=4.0, floor=0.25, jax=1.0
    )
    assert line(timing) == (
        "in-context learning,   64 members, compiled:   8.0 times faster than a plain loop, "
        " 2.0 times faster than JAX, 2.00 times the dense products alone  "
        "(0.500 ms per member and step)"
    )
    alone = replace(timing, members=1, floor=None, jax=None)
    assert line(alone) == (
        "in-context learning,    1 member , compiled:   8.0 times faster than a plain loop  "
        "(0.500 ms per member and step)"
    )


def test_the_floor_is_every_product_of_every_member_by_a_clock_that_ticks_once_a_look(monkeypatch):
    shapes = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(floor.time, "perf_counter", count().__next__)
    monkeypatch.setattr(torch, "bmm", lambda left, right: shapes.append((left.shape, right.shape)))
    assert floor.seconds([(12, 100, 60, 64), (2, 5, 6, 7)], 3, repeats=4) == 12 + 2
    assert set(shapes) == {((3, 100, 60), (3, 60, 64)), ((3, 5, 6), (3, 6, 7))}


def test_shares_are_those_of_the_parts_of_a_step(monkeypatch):
    ticks = iter([0.0, 1.0, 2.0, 5.0] * 3)  # 1 s for two steps, and 3 s for one
    monkeypatch.setattr(comparison.time, "perf_counter", ticks.__next__)
    done: list[str] = []

    class Ready:
        def __init__(self, runs, device, path):
            assert (len(runs), path) == (8, "compiled")

        def parts(self):
            return {"a": (lambda: done.append("a"), 2), "b": (lambda: done.append("b"), 1)}

    monkeypatch.setattr(comparison.engine, "Engine", Ready)
    assert comparison.shares("cot", repeats=3) == (
        "chain of thought, a compiled step of 8 members on one core: a 14 %, b 86 %"
    )
    assert done == ["a", "b"] * 3


def test_tdlab_bench_prints_a_line_for_each_case_number_and_path(monkeypatch, capsys):
    asked = []

    def fake(case, members, path, **settings):
        asked.append((case, members, path, settings))
        return Timing(
            case=case, members=members, path=path, ours=1.0, loop=2.0, floor=None, jax=None
        )

    monkeypatch.setattr(comparison, "compare", fake)
    monkeypatch.setattr(comparison, "shares", "where the time goes: {}".format)
    assert cli.main(["bench", "--members", "2", "5", "--steps", "7", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert sum("2.0 times faster than a plain loop" in each for each in printed) == 12
    assert sum("where the time goes" in each for each in printed) == 3
    assert len(asked) == 12
    settings = {"steps": 7, "repeats": 1, "device": "cpu"}
    assert asked[0] == ("icl", 2, "eager", settings)


def test_tdlab_bench_compares_the_cases_that_are_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "main", lambda members, **settings: asked.append(settings["cases"]))
    assert cli.main(["bench", "--cases", "kernels", "cot"]) == 0
    assert cli.main(["bench"]) == 0
    assert asked == [["kernels", "cot"], list(CASES)]


@pytest.mark.parametrize("value", ["0", "-3", "2.5", "x"])
def test_a_number_of_members_that_is_none_is_refused_in_one_line(capsys, value):
    with pytest.raises(SystemExit) as refused:
        cli.main(["bench", f"--members={value}"])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert f"'{value}' is no whole number of at least 1" in error
    assert error.count("\n") == 1
