r"""How reasoning goes wrong: transition matrices, and the numbers that theorems ask of them.

Li et al. (ICLR 2025, arXiv 2410.02167): step k of a context example goes from pattern i to j with
probability :math:`A_k(i, j)`, and the largest entry of a row is the correct output. The whole chain
goes from i to j with probability :math:`B(i, j)`, :math:`B = A_1 A_2 \cdots A_K`.
"""

import math
from functools import cached_property, reduce
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from synthetic_tasks.value import require_between, require_count, require_number, value

Matrix = tuple[tuple[float, ...], ...]

_SUM = 1e-6  # how far the sum of a row of probabilities may be from one
_ROUNDED = 0.01  # how far a pair may be from the curve of common shifts: papers round


@value
class Transitions:
    r"""The matrices :math:`A_1 \dots A_K`, rows from, columns to.

    Raises:
        ValueError: unless they are square, of one size, with rows that are distributions, a single
            largest entry in each row, and a different correct output for each pattern.
    """

    revision: ClassVar[int] = 1

    matrices: tuple[Matrix, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.matrices, tuple) or not self.matrices:
            raise ValueError(f"matrices are {self.matrices!r}, but must be a list of at least one")
        for k, matrix in enumerate(self.matrices, start=1):
            _check_matrix(f"A_{k}", matrix, self.matrices[0])

    @property
    def steps(self) -> int:
        """K."""
        return len(self.matrices)

    @property
    def patterns(self) -> int:
        """M', the number of patterns."""
        return len(self.matrices[0])

    @property
    def in_program(self) -> tuple[int, int]:
        """What a program knows of them: their numbers are in the world of each member."""
        return self.steps, self.patterns

    @cached_property
    def stepwise(self) -> Float[np.ndarray, "k j j"]:
        """The matrices as one array."""
        return np.array(self.matrices, dtype=np.float64)

    @cached_property
    def whole(self) -> Float[np.ndarray, "j j"]:
        r""":math:`B = A_1 A_2 \cdots A_K`."""
        return reduce(np.matmul, self.stepwise)

    @cached_property
    def correct(self) -> Int[np.ndarray, "k j"]:
        """The correct output of each step for each pattern."""
        return self.stepwise.argmax(-1)

    @cached_property
    def answer(self) -> Int[np.ndarray, " j"]:
        """The correct final output for each start."""
        return reduce(lambda at, step: step[at], self.correct, np.arange(self.patterns))

    @property
    def tau(self) -> float:
        """The probability of the correct path of K steps, from the start where it is smallest."""
        at, along = np.arange(self.patterns), np.ones(self.patterns)
        for matrix, step in zip(self.stepwise, self.correct, strict=True):
            along, at = along * matrix[at, step[at]], step[at]
        return float(along.min())

    @property
    def rho(self) -> float:
        """Primacy: the least of 1 - (largest wrong entry) / (correct one), over rows and steps."""
        each = zip(self.stepwise, self.correct, strict=True)
        return min(_primacy(matrix, step) for matrix, step in each)

    @property
    def tau_o(self) -> float:
        r""":math:`\min_i \max_j B(i, j)`."""
        return float(self.whole.max(-1).min())

    @property
    def rho_o(self) -> float:
        """Primacy of B; negative where a wrong final output is the likeliest one."""
        return _primacy(self.whole, self.answer)

    @property
    def condition_1(self) -> bool:
        """Whether for every start the correct final output is the single likeliest one under B."""
        return self.rho_o > 0


def noiseless(steps: int, patterns: int) -> Transitions:
    """No wrong step: tau = rho = 1."""
    return in_first_step(steps, patterns, tau=1.0, rho=1.0)


def wanted(
    steps: int, patterns: int, *, tau: float, rho: float, condition_1: bool = True
) -> Transitions:
    """Matrices whose chain has this tau and this rho.

    Returns:
        Where Condition 1 is to hold, all noise in step 1 (``in_first_step``); where it is to fail,
        the same ``common_shift`` at every step, of which tau fixes rho.

    Raises:
        ValueError: for a pair that these matrices cannot have, with the range that they can.
    """
    for name, number in (("tau", tau), ("rho", rho)):
        require_number(name, number)
    if condition_1:
        return in_first_step(steps, patterns, tau=tau, rho=rho)
    highest = _highest_correct(steps, patterns)
    if tau >= 0.5:
        raise ValueError(f"tau is {tau}, but Condition 1 cannot fail where it is 1/2 or more")
    require_between("tau", tau, 0.5**steps, highest**steps, above=True, below=True)
    made = common_shift(steps, patterns, correct=tau ** (1 / steps))
    _require_rounded("rho", rho, made.rho, f"tau = {tau:g}")
    return made


def wanted_outcome(
    steps: int, patterns: int, *, tau_o: float, rho_o: float, condition_1: bool = True
) -> Transitions:
    r"""Matrices whose B has this tau_o and this rho_o, as ``wanted`` for the chain.

    Where Condition 1 is to fail, rho_o is negative and fixes tau_o: with r = (1 - p) / p,
    :math:`1 - \rho_o = \max_w \tbinom{K}{w} r^w` over the numbers w of wrong steps.

    Returns:
        ``in_first_step`` or ``common_shift``.

    Raises:
        ValueError: for a pair that these matrices cannot have, with the range that they can.
    """
    for name, number in (("tau_o", tau_o), ("rho_o", rho_o)):
        require_number(name, number)
    if condition_1:
        return in_first_step(steps, patterns, tau=tau_o, rho=rho_o, names=("tau_o", "rho_o"))
    _highest_correct(steps, patterns)
    ways = [math.comb(steps, wrong) for wrong in range(1, steps + 1)]
    require_between("rho_o", rho_o, 1 - max(ways), 0, above=True, below=True)
    odds = min(((1 - rho_o) / count) ** (1 / wrong) for wrong, count in enumerate(ways, start=1))
    made = common_shift(steps, patterns, correct=1 / (1 + odds))
    _require_rounded("tau_o", tau_o, made.tau_o, f"rho_o = {rho_o:g}")
    return made


def in_first_step(
    steps: int,
    patterns: int,
    *,
    tau: float,
    rho: float,
    names: tuple[str, str] = ("tau", "rho"),
) -> Transitions:
    r"""All noise in step 1, so that B = :math:`A_1`, tau_o = tau, rho_o = rho; Condition 1 holds.

    ``names`` are those of the two numbers in an error.

    Returns:
        Rows of :math:`A_1` with the correct output at tau, one wrong output at tau (1 - rho), and
        the rest shared evenly by the others.

    Raises:
        ValueError: for a pair that no such matrix has, with the range of rho at this tau.
    """
    _check_shape(steps, patterns)
    require_between(names[0], tau, 1 / patterns, 1, above=True)
    low, high = max(0.0, 2 - 1 / tau), 1 - (1 - tau) / (tau * max(1, patterns - 1))
    strongest = tau * (1 - rho)
    if not (rho > 0 and low - _SUM <= rho <= high + _SUM):
        start = "[" if low > 0 else "("
        raise ValueError(
            f"{names[1]} is {rho}, but with {names[0]} = {tau:g} and {patterns} patterns it must "
            f"lie in {start}{low:.4g}, {high:.4g}]"
        )
    others = max(0.0, 1 - tau - strongest) / max(1, patterns - 2)
    still = _circulant(patterns, 1.0, 0.0, 0.0)
    first = _circulant(patterns, tau, strongest, others)
    return Transitions(matrices=(first, *[still] * (steps - 1)))


def common_shift(steps: int, patterns: int, *, correct: float) -> Transitions:
    """Every step goes right with probability ``correct``, and else to one common cyclic shift.

    Returns:
        Matrices that, with K > 1 and more than K patterns, fail Condition 1 below K / (K + 1): one
        wrong step can happen at K places, all with the same final output.
    """
    _check_shape(steps, patterns)
    require_between("correct", correct, 0.5, 1, above=True)
    matrix = _circulant(patterns, correct, 1 - correct, 0.0)
    return Transitions(matrices=(matrix,) * steps)


def _highest_correct(steps: int, patterns: int) -> float:
    """K / (K + 1): where each step goes right less often, Condition 1 fails."""
    _check_shape(steps, patterns)
    if steps == 1:
        raise ValueError("steps (K) is 1, but Condition 1 can fail only with 2 or more")
    if patterns <= steps:
        raise ValueError(
            f"patterns (M') is {patterns}, but must exceed K = {steps}, lest K common shifts lead "
            "back to the correct output"
        )
    return steps / (steps + 1)


def _require_rounded(name: str, number: float, fixed: float, by: str) -> None:
    if not abs(number - fixed) <= _ROUNDED:
        raise ValueError(
            f"{name} is {number}, but without Condition 1 {by} makes it {fixed:.4g}: every step "
            "goes wrong to one common shift"
        )


def _primacy(matrix: np.ndarray, correct: np.ndarray) -> float:
    rows = np.arange(len(matrix))
    wrong = matrix.copy()
    wrong[rows, correct] = 0
    return float((1 - wrong.max(-1) / matrix[rows, correct]).min())


def _circulant(patterns: int, correct: float, shifted: float, others: float) -> Matrix:
    """Row i: ``correct`` at i, ``shifted`` at i + 1 (cyclic), ``others`` elsewhere."""
    row = np.full(patterns, others)
    row[1 % patterns] = shifted
    row[0] = correct
    return tuple(tuple(np.roll(row, i).tolist()) for i in range(patterns))


def _check_shape(steps: int, patterns: int) -> None:
    require_count("steps (K)", steps, 1)
    require_count("patterns (M')", patterns, 2)


def _check_matrix(name: str, rows: object, first: object) -> None:
    if not isinstance(rows, tuple) or not isinstance(first, tuple):
        raise TypeError(f"{name} is {rows!r}, but must be a list of rows")
    size = len(first)
    if size < 2 or len(rows) != size:
        raise ValueError(f"{name} has {len(rows)} rows, but all need the same number, at least 2")
    for i, row in enumerate(rows):
        _check_row(f"row {i} of {name}", row, size)
    largest = [row.index(max(row)) for row in rows]
    if len(set(largest)) < size:
        twice = next(j for j in largest if largest.count(j) > 1)
        raise ValueError(
            f"{name} has its largest entry in column {twice} for several rows, but each pattern "
            "must have a correct output of its own"
        )


def _check_row(name: str, row: object, size: int) -> None:
    if not isinstance(row, tuple) or len(row) != size:
        raise ValueError(f"{name} is {row!r}, but must have {size} entries")
    for entry in row:
        require_between(f"an entry of {name}", entry, 0, 1)
    if abs(math.fsum(row) - 1) > _SUM:
        raise ValueError(f"{name} sums to {math.fsum(row):.9g}, but must sum to 1")
    if row.count(max(row)) > 1:
        raise ValueError(
            f"{name} has its largest entry {max(row):g} {row.count(max(row))} times, but the "
            "correct output must be the only one"
        )
