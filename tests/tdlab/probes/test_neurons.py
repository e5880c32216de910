"""What neurons learn, on planted rows; angles precise where the inverse cosine is not."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tdlab.probes import angle, parts, rows

ROOT = Path(__file__).parents[3]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20240607)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def turned(degrees, size=1.0):
    """A vector of 5 entries at that angle to the direction (1, 2, 0, -2, 0)."""
    along = torch.tensor([1.0, 2.0, 0.0, -2.0, 0.0], dtype=torch.float64) / 3
    across = torch.tensor([2.0, 0.0, 1.0, 1.0, 0.5], dtype=torch.float64)
    across /= across.norm()  # orthogonal to the first
    radians = math.radians(degrees)
    return size * (math.cos(radians) * along + math.sin(radians) * across)


# Rows of W_O W_V.


def test_a_row_is_what_its_neuron_reads_from_the_attended_token(generator):
    output, value = normal(generator, 3, 4), normal(generator, 4, 6)
    token = normal(generator, 6)
    torch.testing.assert_close(rows(output, value) @ token, output @ (value @ token))


def test_members_and_steps_have_rows_of_their_own(generator):
    output, value = normal(generator, 2, 5, 3, 4), normal(generator, 2, 5, 4, 6)
    measured = rows(output, value)
    for member in range(2):
        for step in range(5):
            torch.testing.assert_close(
                measured[member, step], output[member, step] @ value[member, step]
            )


def test_feature_part_comes_first_and_label_part_is_the_rest():
    neurons = torch.arange(24.0).reshape(2, 3, 4)
    feature, label = parts(neurons, 3)
    assert feature.tolist() == [[row[:3] for row in block] for block in neurons.tolist()]
    assert label.tolist() == [[row[3:] for row in block] for block in neurons.tolist()]


@pytest.mark.parametrize("width", [0, 4, 7, -1])
def test_a_width_that_cuts_nothing_off_is_refused(width):
    with pytest.raises(
        ValueError, match=rf"^width is {width}, but must cut rows of 4 entries in two$"
    ):
        parts(torch.ones(2, 4), width)


# Angles.


@pytest.mark.parametrize("degrees", [0.0, 13.7, 45.0, 90.0, 151.2, 180.0])
def test_angle_is_the_planted_one_whatever_the_lengths(degrees):
    measured = angle(turned(degrees, size=7.3), 0.02 * turned(0.0))
    # A unit vector is rounded by about 1e-16 an entry, so an angle by some 1e-14 degrees.
    assert measured.item() == pytest.approx(degrees, abs=1e-12)


@pytest.mark.parametrize("small", [1e-9, 1e-7, 1e-5])
def test_angle_keeps_its_precision_next_to_0_and_180_degrees(small):
    # The same rounding: 1e-14 of 1e-9 degrees leaves five digits; the inverse cosine has none.
    near, opposite = angle(turned(small), turned(0.0)), angle(-turned(small), turned(0.0))
    assert near.item() == pytest.approx(small, abs=5e-14)
    assert 180 - opposite.item() == pytest.approx(small, abs=2e-13)  # 180 itself rounds to 3e-14
    assert near > 0


def test_angle_of_a_vector_to_itself_is_zero_and_to_its_opposite_180():
    vectors = torch.stack([turned(20.0, 3.1), turned(77.0, 0.4)])
    assert angle(vectors, vectors).tolist() == [0.0, 0.0]
    assert angle(vectors, -vectors).tolist() == [180.0, 180.0]


def test_every_neuron_of_every_member_is_held_against_its_members_direction():
    degrees = torch.tensor([[10.0, 60.0, 130.0], [5.0, 95.0, 170.0]], dtype=torch.float64)
    neurons = torch.stack([torch.stack([turned(d) for d in row]) for row in degrees.tolist()])
    directions = torch.stack([turned(0.0), -turned(0.0)])[:, None]
    expected = torch.stack([degrees[0], 180 - degrees[1]])
    torch.testing.assert_close(angle(neurons, directions), expected)
    torch.testing.assert_close(angle(neurons, turned(0.0)), degrees)


def test_a_zero_vector_has_no_direction():
    vectors = torch.stack([turned(33.0), torch.zeros(5, dtype=torch.float64)])
    assert angle(vectors, turned(0.0)).isnan().tolist() == [False, True]


def test_shapes_that_do_not_fit_are_refused_in_one_line_with_both():
    # Without the suite's own shape checks, as in a script of somebody else.
    script = """
import torch
from tdlab.probes import angle, rows
calls = [
    lambda: rows(torch.ones(3, 4), torch.ones(5, 6)),
    lambda: rows(torch.ones(2, 3, 4), torch.ones(7, 4, 6)),
    lambda: rows(torch.ones(3, 4), torch.ones(4)),
    lambda: angle(torch.ones(3, 4), torch.ones(5)),
    lambda: angle(torch.ones(2, 4), torch.ones(3, 4)),
    lambda: angle(torch.ones(2, 4), torch.ones(())),
]
for call in calls:
    try:
        call()
    except ValueError as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    shapes = [
        ("(3, 4)", "(5, 6)"),
        ("(2, 3, 4)", "(7, 4, 6)"),
        ("(3, 4)", "(4,)"),
        ("(3, 4)", "(5,)"),
        ("(2, 4)", "(3, 4)"),
        ("(2, 4)", "()"),
    ]
    said = done.stdout.splitlines()
    assert len(said) == len(shapes), done
    for line, (first, second) in zip(said, shapes, strict=True):
        assert line.startswith("ValueError "), line
        assert f"shape {first}, " in line, line
        assert f" {second}: " in line, line
