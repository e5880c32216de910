import json
import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthetic_tasks import Transitions
from synthetic_tasks.transitions import (
    common_shift,
    in_first_step,
    noiseless,
    wanted,
    wanted_outcome,
)
from synthetic_tasks.value import canonical

WORKED = (((0.6, 0.4), (0.4, 0.6)), ((0.4, 0.6), (0.8, 0.2)))
close = partial(pytest.approx, abs=1e-12)
three_steps = partial(wanted, 3, 10)
three_steps_outcome = partial(wanted_outcome, 3, 10)


def generic(seed: int, steps: int, patterns: int) -> Transitions:
    """Random rows without any symmetry; the largest entries lie on random permutations."""
    generator = np.random.default_rng(seed)
    spread = np.full(patterns, 0.2 if seed % 2 else 1.0)  # of odd seeds most steps are right
    matrices = np.sort(generator.dirichlet(spread, (steps, patterns)), axis=-1)
    for matrix in matrices:
        for row, correct in zip(matrix, generator.permutation(patterns), strict=True):
            row[:-1] = generator.permutation(row[:-1])
            row[[correct, -1]] = row[[-1, correct]]
    return Transitions(matrices=matrices.tolist())


def paths(made: Transitions) -> Iterator[tuple[tuple[int, ...], float, bool]]:
    """Every path with its probability, given its start, and whether each of its steps is right."""
    for path in product(range(made.patterns), repeat=made.steps + 1):
        rows = [matrix[i] for matrix, i in zip(made.matrices, path[:-1], strict=True)]
        entries = [row[j] for row, j in zip(rows, path[1:], strict=True)]
        right = all(entry == max(row) for entry, row in zip(entries, rows, strict=True))
        yield path, math.prod(entries), right


def by_shift(steps: int, p: float) -> list[float]:
    """How likely w = 0..K wrong steps are, each a shift by one: binomial."""
    return [math.comb(steps, w) * p ** (steps - w) * (1 - p) ** w for w in range(steps + 1)]


# What theorems ask of the matrices.


def test_the_worked_example_digit_by_digit():
    made = Transitions(matrices=WORKED)
    assert (made.steps, made.patterns) == (2, 2)
    assert made.stepwise.tolist() == [[list(row) for row in matrix] for matrix in WORKED]
    assert made.whole == close(np.array([[0.56, 0.44], [0.64, 0.36]]))
    # Correct paths 1 -> 1 -> 2 and 2 -> 2 -> 1, counted from 0.
    assert made.correct.tolist() == [[0, 1], [1, 0]]
    assert made.answer.tolist() == [1, 0]
    assert made.tau == close(0.36)  # .6 .6; the other path has .6 .8
    assert made.tau_o == close(0.56)
    assert made.rho == close(1 / 3)  # 1 - .4 / .6
    assert made.rho_o == close(1 - 0.56 / 0.44)
    assert not made.condition_1


@pytest.mark.parametrize("seed", range(8))
def test_all_quantities_are_those_of_the_enumerated_paths(seed):
    made = generic(seed, steps=3, patterns=4)
    assert len(set(np.ravel(made.matrices).tolist())) == 3 * 4 * 4
    B, tau, answer = np.zeros((4, 4)), dict[int, float](), dict[int, int]()
    for path, chance, right in paths(made):
        B[path[0], path[-1]] += chance
        if right:
            tau[path[0]], answer[path[0]] = chance, path[-1]
    assert made.whole == close(B)
    assert made.tau == close(min(tau.values()))
    assert made.answer.tolist() == [answer[i] for i in range(4)]
    assert sorted(answer.values()) == [0, 1, 2, 3]
    assert made.tau_o == close(min(max(row) for row in B))

    def primacy(row: Any, j: int) -> float:
        return 1 - max(np.delete(row, j)) / row[j]

    rows = [sorted(row) for matrix in made.matrices for row in matrix]
    assert made.rho == close(min(1 - row[-2] / row[-1] for row in rows))
    assert made.rho_o == close(min(primacy(B[i], answer[i]) for i in range(4)))
    assert made.condition_1 == all(B[i].argmax() == answer[i] for i in range(4))


def test_among_generic_matrices_condition_1_holds_and_fails():
    held = Counter(generic(seed, steps=3, patterns=4).condition_1 for seed in range(8))
    assert held.keys() == {True, False}


def test_condition_1_fails_where_a_wrong_output_is_as_likely_as_the_correct_one():
    # Three quarters and its powers are exact: B has 27/64 for the correct output and for a shift.
    made = common_shift(3, 5, correct=0.75)
    assert made.rho_o == 0
    assert not made.condition_1


def test_one_step_is_its_own_outcome():
    made = generic(3, steps=1, patterns=5)
    assert made.whole.tolist() == made.stepwise[0].tolist()
    assert (made.tau_o, made.rho_o, made.condition_1) == (made.tau, made.rho, True)


# Matrices for the numbers that are wanted.


@pytest.mark.parametrize(("steps", "patterns"), [(1, 2), (3, 7)])
def test_without_noise_every_step_is_right(steps, patterns):
    made = noiseless(steps, patterns)
    assert made.stepwise.tolist() == [np.eye(patterns).tolist()] * steps
    assert (made.tau, made.rho, made.tau_o, made.rho_o) == (1, 1, 1, 1)


feasible = st.tuples(
    st.integers(1, 4),
    st.integers(2, 7),
    st.floats(0.01, 1),  # where tau lies between 1/M' and 1
    st.floats(0, 1) | st.sampled_from([0.0, 1.0]),  # and the strongest wrong entry in its range
)


def pair(patterns: int, where: float, share: float) -> tuple[float, float]:
    """Tau, and rho from the largest wrong entry: from an even share of 1 - tau to all of it."""
    tau = (1 + where * (patterns - 1)) / patterns
    least, most = (1 - tau) / (patterns - 1), min(1 - tau, 0.999 * tau)
    return tau, 1 - (least + share * (most - least)) / tau


@given(feasible)
def test_with_condition_1_chain_and_outcome_have_any_feasible_pair(shape):
    steps, patterns, *place = shape
    tau, rho = pair(patterns, *place)
    made = wanted(steps, patterns, tau=tau, rho=rho)
    assert (made.steps, made.patterns) == (steps, patterns)
    assert [made.tau, made.rho] == close([tau, rho])
    assert [made.tau_o, made.rho_o] == close([tau, rho])
    assert made.condition_1
    # All noise sits in step 1, where everything but one wrong output shares what is left evenly.
    assert made.stepwise[1:].tolist() == [np.eye(patterns).tolist()] * (steps - 1)
    for i, row in enumerate(made.stepwise[0]):
        assert row[i] == close(tau)
        assert row[(i + 1) % patterns] == close(tau * (1 - rho))
        others = np.roll(row, -i)[2:]
        assert others.tolist() == close(
            [(1 - tau * (2 - rho)) / max(1, patterns - 2)] * len(others)
        )
    assert made == in_first_step(steps, patterns, tau=tau, rho=rho)
    assert made == wanted_outcome(steps, patterns, tau_o=tau, rho_o=rho)


@given(
    st.integers(2, 4),
    st.integers(1, 3),
    st.floats(0.01, 0.99),
)
def test_without_condition_1_the_chain_has_any_tau_and_the_rho_of_it(steps, more, share):
    p = 0.5 + share * (steps / (steps + 1) - 0.5)
    tau, rho = p**steps, 1 - (1 - p) / p
    made = wanted(steps, steps + more, tau=tau, rho=rho, condition_1=False)
    assert [made.tau, made.rho] == close([tau, rho])
    assert not made.condition_1


@given(
    st.integers(2, 4),
    st.integers(1, 3),
    st.floats(0.01, 0.99),
)
def test_without_condition_1_the_outcome_has_any_rho_o_and_the_tau_o_of_it(steps, more, share):
    p = 0.5 + share * (steps / (steps + 1) - 0.5)
    right, *wrong = by_shift(steps, p)
    tau_o, rho_o = max(right, *wrong), 1 - max(wrong) / right
    made = wanted_outcome(steps, steps + more, tau_o=tau_o, rho_o=rho_o, condition_1=False)
    assert [made.tau_o, made.rho_o] == pytest.approx([tau_o, rho_o], abs=1e-9)
    assert not made.condition_1
    assert made.stepwise[0].diagonal() == pytest.approx(p)


@pytest.mark.parametrize("steps", [2, 3, 4])
@pytest.mark.parametrize("more", [1, 4])
def test_a_common_shift_fails_condition_1_exactly_below_k_over_k_plus_1(steps, more):
    edge = steps / (steps + 1)
    for p in [0.501, 0.6, edge - 1e-6, edge + 1e-6, 0.9, 1.0]:
        made = common_shift(steps, steps + more, correct=p)
        assert made.condition_1 == (p > edge)
        assert made.tau == close(p**steps)
        assert made.rho == close(2 - 1 / p)
        shifted = [np.roll(by_shift(steps, p) + [0] * (more - 1), i) for i in range(steps + more)]
        assert made.whole == close(np.array(shifted))


def test_a_shift_among_two_patterns_never_fails_condition_1():
    # Two wrong steps cancel, so that the correct output keeps more than a half.
    assert all(common_shift(3, 2, correct=p).condition_1 for p in (0.501, 0.6, 0.9))


def test_the_common_shift_of_the_study():
    made = common_shift(3, 10, correct=0.65)
    assert made.tau == pytest.approx(0.275, abs=5e-4)
    assert made.rho == pytest.approx(0.46, abs=5e-3)
    assert not made.condition_1
    rounded = three_steps(tau=0.275, rho=0.46, condition_1=False)
    assert rounded.tau == close(0.275)
    assert rounded.rho == pytest.approx(0.46, abs=5e-3)


@pytest.mark.parametrize("rho", [0.4523, 0.4721])
def test_a_pair_without_condition_1_may_be_rounded_to_a_hundredth(rho):
    exact = three_steps(tau=0.275, rho=0.4622, condition_1=False)
    assert three_steps(tau=0.275, rho=rho, condition_1=False) == exact


@pytest.mark.parametrize("tau", [0.6, 0.7])
def test_what_equal_noise_in_all_steps_cannot_do_noise_in_the_first_can(tau):
    # With p = tau^(1/3) at each step, the largest wrong entry is at most 1 - p.
    assert common_shift(3, 10, correct=tau ** (1 / 3)).rho > 0.8
    made = three_steps(tau=tau, rho=0.8)
    assert [made.tau, made.rho] == close([tau, 0.8])


def test_with_equal_noise_a_tau_of_a_half_forces_rho_to_its_bound():
    assert common_shift(3, 10, correct=0.5 ** (1 / 3)).rho == pytest.approx(0.74, abs=5e-4)


# A value.


@pytest.mark.parametrize("kind", [list, np.array, lambda item: [np.array(part) for part in item]])
def test_lists_and_arrays_are_the_same_value_as_tuples(kind):
    one, other = Transitions(matrices=kind(WORKED)), Transitions(matrices=WORKED)
    assert one == other
    assert hash(one) == hash(other)
    assert type(one.matrices[0][0][0]) is float
    assert one.matrices == WORKED
    assert len({one, other, Transitions(matrices=WORKED[::-1])}) == 2


def test_what_was_asked_of_a_value_does_not_change_it():
    asked, fresh = generic(5, 3, 4), generic(5, 3, 4)
    before = hash(asked), canonical(asked)
    assert asked.condition_1 in (True, False)
    assert (hash(asked), canonical(asked)) == before
    assert asked == fresh
    assert repr(asked) == repr(fresh)


@pytest.mark.parametrize(
    "made",
    [generic(1, 3, 4), common_shift(2, 3, correct=0.65), noiseless(2, 3)],
    ids=["generic", "shift", "noiseless"],
)
def test_a_value_comes_back_from_its_canonical_json(made):
    stored = json.loads(json.dumps(canonical(made)))
    assert stored == canonical(made)
    assert stored.keys() == {"type", "revision", "matrices"}
    again = Transitions(matrices=stored["matrices"])
    assert again == made
    assert hash(again) == hash(made)
    assert canonical(again) == canonical(made)
    assert (again.tau, again.rho, again.tau_o) == (made.tau, made.rho, made.tau_o)


def test_whole_numbers_are_probabilities():
    made = Transitions(matrices=(((0, 1), (1, 0)),))
    assert made.stepwise.dtype == np.float64
    assert (made.tau, made.rho) == (1, 1)


# Bad input.

FAIR = ((0.6, 0.4), (0.4, 0.6))


@pytest.mark.parametrize(
    ("matrices", "line"),
    [
        ((), r"matrices are \(\), but must be a list of at least one"),
        ((((1.0,),),), "A_1 has 1 rows, but all need the same number, at least 2"),
        (
            (FAIR, ((0.6, 0.2, 0.2), (0.2, 0.6, 0.2), (0.2, 0.2, 0.6))),
            "A_2 has 3 rows, but all need the same number, at least 2",
        ),
        (
            (((0.6, 0.2, 0.2), (0.2, 0.6, 0.2)),),
            r"row 0 of A_1 is \(0\.6, 0\.2, 0\.2\), but must have 2 entries",
        ),
        ((FAIR, ((0.6, 0.4), (0.4,))), r"row 1 of A_2 is \(0\.4,\), but must have 2 entries"),
        (FAIR, r"row 0 of A_1 is 0\.6, but must have 2 entries"),
        ((FAIR, ((0.6, 0.4), (0.4, 0.5))), r"row 1 of A_2 sums to 0\.9, but must sum to 1"),
        ((((0.6, 0.4), (0.4, 0.60001)),), r"row 1 of A_1 sums to 1\.00001, but must sum to 1"),
        ((((0.6, 0.400002), (0.4, 0.6)),), r"row 0 of A_1 sums to 1\.000002, but must sum to 1"),
        (
            (FAIR, ((1.2, -0.2), (0.4, 0.6))),
            r"an entry of row 0 of A_2 is 1\.2, but must lie in \[0, 1\]",
        ),
        (
            (((0.6, 0.4), (-0.2, 1.2)),),
            r"an entry of row 1 of A_1 is -0\.2, but must lie in \[0, 1\]",
        ),
        (
            (((0.6, math.nan), (0.4, 0.6)),),
            r"an entry of row 0 of A_1 is nan, but must lie in \[0, 1\]",
        ),
        (
            (((0.6, 0.4), (0.5, 0.5)),),
            r"row 1 of A_1 has its largest entry 0\.5 2 times, .* must be the only one",
        ),
        (
            (FAIR, ((0.4, 0.6), (0.3, 0.7))),
            "A_2 has its largest entry in column 1 for several rows, .* correct output of its own",
        ),
    ],
    ids=str,
)
def test_matrices_that_are_none_are_refused(matrices, line):
    with pytest.raises(ValueError, match=f"^{line}$") as caught:
        Transitions(matrices=matrices)
    assert "\n" not in str(caught.value)


def test_an_entry_that_is_no_number_is_refused():
    wrong: Any = ((("a", 0.4), (0.4, 0.6)),)
    with pytest.raises(TypeError, match=r"^an entry of row 0 of A_1 is 'a', but must be a number$"):
        Transitions(matrices=wrong)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (5, "matrices are 5, but must be a list of at least one"),
        ((1, 2), "A_1 is 1, but must be a list of rows"),
        ((FAIR, None), "A_2 is None, but must be a list of rows"),
        (np.eye(2), r"row 0 of A_1 is 1\.0, but must have 2 entries"),
    ],
    ids=str,
)
def test_what_is_no_list_of_matrices_is_refused_by_name(wrong, line):
    with pytest.raises((TypeError, ValueError), match=f"^{line}$"):
        Transitions(matrices=wrong)


def test_rows_may_be_off_by_what_papers_round():
    thirds = ((0.6666666, 0.3333333), (0.3333333, 0.6666666))
    assert Transitions(matrices=(thirds,)).rho == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("patterns", [2, 5, 10])
@pytest.mark.parametrize("tau", [0.55, 0.8, 0.97])
def test_a_rho_is_feasible_exactly_in_the_range_that_the_refusal_names(patterns, tau):
    highest = 1 - (1 - tau) / (patterns - 1) / tau  # all wrong outputs alike
    lowest = 1 - (1 - tau) / tau  # a single one
    line = rf"^rho is .*, but with tau = {tau} and {patterns} patterns it must lie in "
    for rho in (lowest - 1e-3, highest + 1e-3, -0.1, math.nan):
        with pytest.raises(ValueError, match=line + rf"\[{lowest:.4g}, {highest:.4g}\]$"):
            in_first_step(2, patterns, tau=tau, rho=rho)
    for rho in (lowest, highest):
        assert in_first_step(2, patterns, tau=tau, rho=rho).rho == close(rho)


@pytest.mark.parametrize("tau", [0.05, 0.1])
def test_a_tau_that_leaves_no_rho_is_refused_by_name(tau):
    # The largest of ten probabilities, and the only one of its size, is above a tenth.
    with pytest.raises(ValueError, match=rf"^tau is {tau}, but must lie in \(0\.1, 1\]$"):
        three_steps(tau=tau, rho=0.5)


def shift(**asked: float) -> Transitions:
    return three_steps(**asked, condition_1=False)


def shift_outcome(**asked: float) -> Transitions:
    return three_steps_outcome(**asked, condition_1=False)


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (partial(three_steps, tau=0.5, rho=0), r"rho is 0, but with .* in \(0, 0\.8889\]"),
        (partial(three_steps, tau=0.5, rho=0.9), r"rho is 0\.9, but with .* in \(0, 0\.8889\]"),
        (partial(three_steps, tau=1, rho=0.9), r"rho is 0\.9, but with .* in \[1, 1\]"),
        (partial(three_steps, tau=0, rho=0.5), r"tau is 0, but must lie in \(0\.1, 1\]"),
        (partial(three_steps, tau=1.5, rho=0.5), r"tau is 1\.5, but must lie in \(0\.1, 1\]"),
        (partial(three_steps, tau=math.nan, rho=0.5), r"tau is nan, but must lie in \(0\.1, 1\]"),
        (
            partial(three_steps_outcome, tau_o=0.8, rho_o=0.3),
            r"rho_o is 0\.3, but with tau_o = 0\.8 and 10 patterns .* in \[0\.75, 0\.9722\]",
        ),
        (partial(three_steps_outcome, tau_o=2, rho_o=0.3), "tau_o is 2, but must lie in .*"),
        (
            partial(shift, tau=0.5, rho=0.6),
            "tau is 0.5, but Condition 1 cannot fail where it is 1/2 or more",
        ),
        (partial(shift, tau=0.9, rho=0.6), "tau is 0.9, but Condition 1 cannot fail .* 1/2 .*"),
        (partial(shift, tau=0.43, rho=0.6), r"tau is 0\.43, .* lie in \(0\.125, 0\.421875\)"),
        (partial(shift, tau=0.125, rho=0.6), r"tau is 0\.125, .* lie in \(0\.125, 0\.421875\)"),
        (partial(shift, tau=math.nan, rho=0.6), r"tau is nan, .* lie in \(0\.125, 0\.421875\)"),
        (
            partial(shift, tau=0.275, rho=0.473),
            r"rho is 0\.473, but without Condition 1 tau = 0\.275 makes it 0\.4622: every .* shift",
        ),
        (partial(shift, tau=0.275, rho=0.451), r"rho is 0\.451, .* makes it 0\.4622: .*"),
        (partial(shift, tau=0.275, rho=math.nan), r"rho is nan, .* makes it 0\.4622: .*"),
        (partial(shift_outcome, tau_o=0.5, rho_o=0.1), r"rho_o is 0\.1, .* in \(-2, 0\)"),
        (partial(shift_outcome, tau_o=0.5, rho_o=-2), r"rho_o is -2, .* in \(-2, 0\)"),
        (partial(shift_outcome, tau_o=0.5, rho_o=math.nan), r"rho_o is nan, .* in \(-2, 0\)"),
        (
            partial(shift_outcome, tau_o=0.43, rho_o=-0.3),
            r"tau_o is 0\.43, but without Condition 1 rho_o = -0\.3 makes it 0\.4415: every .*",
        ),
        (partial(common_shift, 3, 5, correct=0.5), r"correct is 0\.5, .* lie in \(0\.5, 1\]"),
        (partial(common_shift, 3, 5, correct=1.1), r"correct is 1\.1, .* lie in \(0\.5, 1\]"),
        (partial(noiseless, 0, 3), r"steps \(K\) is 0, but must be at least 1"),
        (partial(noiseless, 3, 1), r"patterns \(M'\) is 1, but must be at least 2"),
        (partial(common_shift, 0, 3, correct=0.6), r"steps \(K\) is 0, but .* at least 1"),
        (partial(common_shift, 3, 1, correct=0.6), r"patterns \(M'\) is 1, but .* at least 2"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_cannot_be_had_is_refused_in_one_line_with_what_can(ask, line):
    with pytest.raises(ValueError, match=f"^{line}$") as caught:
        ask()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "patterns", "line"),
    [
        (0, 4, r"steps \(K\) is 0, but must be at least 1"),
        (1, 4, r"steps \(K\) is 1, but Condition 1 can fail only with 2 or more"),
        (3, 1, r"patterns \(M'\) is 1, but must be at least 2"),
        (3, 2, r"patterns \(M'\) is 2, but must exceed K = 3, lest .*"),
        (3, 3, r"patterns \(M'\) is 3, but must exceed K = 3, lest .*"),
    ],
)
def test_shapes_that_cannot_fail_condition_1_by_a_shift_are_refused(steps, patterns, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        wanted(steps, patterns, tau=0.3, rho=0.5, condition_1=False)
    with pytest.raises(ValueError, match=f"^{line}$"):
        wanted_outcome(steps, patterns, tau_o=0.43, rho_o=-0.3, condition_1=False)
