"""Task sets that leave something out, and the tasks on which they are compared."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest

from synthetic_tasks import sample
from tdlab.studies.icl import coverage, coverage_tasks
from tdlab.studies.icl.coverage import task_sets, unseen_by_all
from tdlab.sweep import trained
from tests.tdlab.studies.icl.naive import assert_agree, naive
from tests.tdlab.studies.icl.settings import TINY
from tests.tdlab.studies.icl.tables import RISKS, assert_tidy, where


@pytest.mark.parametrize("count", [5, 6, 9])
def test_task_sets_are_equally_large_and_leave_out_what_they_say(count):
    sets = task_sets(count)
    assert list(sets) == ["nothing", "a pattern", "a label"]
    shown = {}
    for left_out, pairs in sets.items():
        assert len(pairs) == len(set(pairs)) == count
        assert all(a != b and {a, b} <= set(range(count)) for a, b in pairs)
        plus, minus = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
        shown[left_out] = [(plus[j], minus[j]) for j in range(count)]
    assert shown["nothing"] == [(1, 1)] * count
    assert shown["a pattern"][-1] == (0, 0)
    assert all(min(both) >= 1 for both in shown["a pattern"][:-1])
    assert shown["a label"][-1] == (0, 1)
    assert all(min(both) >= 1 for both in shown["a label"][:-1])


@pytest.mark.parametrize("count", [5, 6, 9])
def test_the_tasks_that_are_in_no_set_are_all_the_others(count):
    task = unseen_by_all(replace(TINY, relevant=count))
    trained_on = set().union(*task_sets(count).values())
    everything = set(itertools.permutations(range(count), 2))
    assert len(set(task.pairs)) == len(task.pairs)
    assert set(task.pairs) == everything - trained_on
    assert not set(task.pairs) & trained_on
    assert {j for pair in task.pairs for j in pair} == set(range(count))  # no pattern is missing


def test_coverage_measures_all_sets_on_the_same_tasks_that_are_in_none():
    tasks = coverage_tasks(TINY)
    assert {name: task.pairs for name, task in tasks.items()} == task_sets(6)
    results = {name: trained(TINY.runs(task)) for name, task in tasks.items()}
    table = coverage(TINY, results)
    assert_tidy(table, "left_out", key=["left_out"])
    assert len(table) == len(RISKS) * 3 * 2
    in_some = set().union(*task_sets(6).values())
    rest = tuple(p for p in itertools.permutations(range(6), 2) if p not in in_some)
    same = replace(TINY.task, tasks=rest, coverage="violated")
    batch = sample(same, seed=4, size=TINY.prompts)
    for left_out in task_sets(6):
        expected = naive(results[left_out][1].final, batch)
        assert_agree(where(table, left_out=left_out, seed=4), expected, RISKS)
