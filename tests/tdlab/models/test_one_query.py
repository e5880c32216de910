"""One scalar query: the exact examples in which softmax has a bad basin and the Gaussian has none.

`Line` is the same model in plain floats, its gradient written out. It stands in for the trainer
where a statement takes more steps than a test has; that both take the same steps is tested.
"""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from synthetic_tasks import FullBatch, KeysAndValues
from synthetic_tasks.threefry import stream
from tdlab.models import KERNELS, OneQuery
from tdlab.optimisers import SGD
from tdlab.run import Run
from tdlab.schedule import At
from tests.tdlab.runs import anew

KEYS = (-1, 0, 1)
RATE = 0.5
BARRIER = math.log(1 + math.sqrt(3))
HALF_WAY = KeysAndValues(values=(1, 0, 0.5), wanted=0.8)
ALL_ONE = KeysAndValues(values=(1, 1, 1), wanted=2)


@dataclass
class Line:
    """o(q) and its derivative for one kernel and one task, sum by sum."""

    kernel: str
    task: KeysAndValues

    def at(self, q):
        v = self.task.values
        if self.kernel == "gaussian":
            S = [math.exp(-((q - k) ** 2) / 2) for k in KEYS]
            slopes = [s * (k - q) for s, k in zip(S, KEYS, strict=True)]
        else:
            # The normalized Gaussian is a softmax whose scores q k - k^2/2 have the same slopes.
            off = 0.5 if self.kernel == "normalized gaussian" else 0.0
            weights = [math.exp(q * k - off * k * k) for k in KEYS]
            S = [w / sum(weights) for w in weights]
            mean = sum(s * k for s, k in zip(S, KEYS, strict=True))
            slopes = [s * (k - mean) for s, k in zip(S, KEYS, strict=True)]
        output = sum(s * value for s, value in zip(S, v, strict=True))
        return output, sum(slope * value for slope, value in zip(slopes, v, strict=True))

    def loss(self, q):
        return (self.at(q)[0] - self.task.wanted) ** 2 / 2

    def descend(self, q, steps, enough=0.0):
        """Where gradient descent is after ``steps`` steps, or once the loss is ``enough``."""
        for _ in range(steps):
            output, slope = self.at(q)
            if (output - self.task.wanted) ** 2 / 2 < enough:
                break
            q -= RATE * (output - self.task.wanted) * slope
        return q


def runs_from(starts, kernel, task, steps):
    base = Run(
        task=FullBatch(of=task),
        model=OneQuery(kernel=kernel),
        loss="squared",
        optimiser=SGD(lr=RATE),
        batch=1,
        dtype="float64",
        steps=steps,
        snapshots=At(at=()),
    )
    return [replace(base, model=OneQuery(kernel=kernel, start=start)) for start in starts]


def ends(starts, kernel, task, steps):
    results = anew(runs_from(starts, kernel, task, steps), path="eager")
    return [(result.final["q"].item(), result.loss[-1].item()) for result in results]


# The model.


@pytest.mark.parametrize("kernel", KERNELS)
def test_output_and_slope_are_those_of_the_sums_written_out(kernel):
    prompt = torch.tensor([KEYS, HALF_WAY.values], dtype=torch.float64).T
    for q in (-1.7, 0.0, 0.3, 2.9):
        leaf = torch.tensor([[q]], dtype=torch.float64, requires_grad=True)
        trace = OneQuery(kernel=kernel).forward({"q": leaf}, prompt, torch.ones(3).bool())
        (slope,) = torch.autograd.grad(trace.output.sum(), leaf)
        assert trace.attention.shape == (3,)
        expected = Line(kernel, HALF_WAY).at(q)
        assert (trace.output.item(), slope.item()) == pytest.approx(expected, rel=1e-12)


def test_padding_is_no_key():
    prompt = torch.tensor([[-1, 1], [7, 9], [0, 0], [1, 0.5]], dtype=torch.float64)
    q = {"q": torch.tensor([[0.7]], dtype=torch.float64)}
    there = torch.tensor([True, False, True, True])
    for kernel in KERNELS:
        trace = OneQuery(kernel=kernel).forward(q, prompt, there)
        assert trace.attention[1] == 0
        assert trace.output.item() == pytest.approx(Line(kernel, HALF_WAY).at(0.7)[0], rel=1e-14)


def test_the_query_starts_where_it_is_told_to_whatever_the_seed():
    for seed in (0, 3):
        start = OneQuery(start=-1.25).init(stream(seed, "init"))
        assert start["q"].tolist() == [[-1.25]]
        assert start["q"].dtype == torch.float64


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_trainer_takes_the_steps_of_the_plain_loop(kernel):
    starts = [-2, 0.5, 1, 1.04, 6]
    for start, (q, loss) in zip(starts, ends(starts, kernel, HALF_WAY, 40), strict=True):
        line = Line(kernel, HALF_WAY)
        assert q == pytest.approx(line.descend(start, 40), abs=1e-11)
        assert loss == pytest.approx(line.loss(line.descend(start, 39)), abs=1e-11)


# Values (1, 0, 1/2), and 0.8 is wanted.


def test_softmax_can_say_what_is_wanted_and_has_its_barrier_at_log_of_one_plus_root_three():
    line = Line("softmax", HALF_WAY)
    assert round(BARRIER, 3) == 1.005
    output, slope = line.at(BARRIER)
    assert slope == pytest.approx(0, abs=1e-15)
    assert round(output, 4) == 0.4226
    assert output == pytest.approx(1 - 1 / math.sqrt(3), rel=1e-14)
    # Nowhere is the output lower; beyond it rises to 1/2, which is not enough.
    grid = [q / 100 for q in range(-1000, 3001)]
    assert min(line.at(q)[0] for q in grid) >= output
    assert max(line.at(q)[0] for q in grid if q > BARRIER) <= 0.5
    assert line.loss(-1.4690736) < 1e-15


def test_softmax_reaches_zero_from_below_the_barrier_and_drifts_off_from_above_it():
    below, above = (-2, 0, 0.5, 0.9, 1.0), (1.04, 1.5, 3)
    line, results = Line("softmax", HALF_WAY), ends([*below, *above], "softmax", HALF_WAY, 250)
    for start, (q, loss) in zip(below, results[: len(below)], strict=True):
        assert q < start / 2 - 0.4
        assert loss < 0.7 * line.loss(start)
        assert line.loss(line.descend(q, 3_000, enough=1e-25)) < 1e-24
    for start, (q, loss) in zip(above, results[len(below) :], strict=True):
        assert q > start + 0.5
        assert 0.045 < loss < line.loss(start)


def test_from_above_the_barrier_the_query_drifts_to_infinity_and_the_loss_to_0_045():
    """The drift dq/dt = (0.8 - 1/2) e^-q / 2 has e^q = 0.15 t, so loss - 0.045 is about 1 / t."""
    line, q = Line("softmax", HALF_WAY), 1.04
    for steps, time in ((20_000, 10_000), (80_000, 50_000)):
        q = line.descend(q, steps)
        assert math.exp(q) == pytest.approx(0.15 * time, rel=0.02)
        assert line.loss(q) - 0.045 == pytest.approx(1 / time, rel=0.02)


def test_the_gaussian_reaches_zero_from_every_start_between_minus_two_and_five():
    starts = [-2, -1, 0, 1, 1.04, 2, 3, 4]
    for q, loss in ends(starts, "gaussian", HALF_WAY, 200):
        assert loss < 1e-5
        assert min(abs(q - root) for root in (-1.692724, 0.374448)) < 0.02
    line = Line("gaussian", HALF_WAY)
    for start in range(-20, 51):
        assert line.loss(line.descend(start / 10, 2_000, enough=1e-21)) < 1e-20


def test_the_gaussian_is_slow_from_six_and_arrives_in_the_end():
    line = Line("gaussian", HALF_WAY)
    q = line.descend(6.0, 20_000)
    assert 5.9 < q < 6
    assert line.loss(q) > 0.9999 * line.loss(6.0)
    assert line.loss(line.descend(q, 280_000, enough=1e-21)) < 1e-20


# Values (1, 1, 1), and 2 is wanted.


def test_softmax_of_equal_values_is_one_and_its_gradient_is_zero_whatever_the_query():
    starts = [-3, -0.4, 0, 0.66, 5]
    for start, (q, loss) in zip(starts, ends(starts, "softmax", ALL_ONE, 3), strict=True):
        assert loss == pytest.approx(0.5, abs=1e-15)
        assert q == pytest.approx(start, abs=1e-15)


def test_the_gaussian_of_equal_values_reaches_zero_at_0_660_on_the_side_it_starts_from():
    starts = [-3, -0.1, 0.4, 2]
    for start, (q, loss) in zip(starts, ends(starts, "gaussian", ALL_ONE, 125), strict=True):
        assert loss < 1e-20
        assert q == pytest.approx(math.copysign(0.6604098, start), abs=1e-7)
        assert round(abs(q), 3) == 0.660


def test_at_zero_the_gaussian_of_equal_values_stands_still_above_what_is_wanted():
    ((q, loss),) = ends([0], "gaussian", ALL_ONE, 3)
    assert q == pytest.approx(0, abs=1e-15)
    assert loss == pytest.approx((2 * math.exp(-0.5) - 1) ** 2 / 2, rel=1e-14)


# Bad input.


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"kernel": "linear"}, ValueError, "kernel is 'linear', but must be one of softmax, .*"),
        ({"start": math.inf}, ValueError, r"start is inf, but must lie in \(-inf, inf\)"),
        ({"start": -math.inf}, ValueError, r"start is -inf, but must lie in \(-inf, inf\)"),
        ({"start": math.nan}, ValueError, r"start is nan, but must lie in \(-inf, inf\)"),
        ({"start": None}, TypeError, "start is None, but must be a number"),
    ],
    ids=str,
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=f"^{line}$"):
        OneQuery(**wrong)
