"""How far an answer moves: by hand, once for many changes, and where nothing can be compared."""

import math

import pytest
import torch

from tdlab.probes import displacement, plane

AT = {"w": torch.tensor([3.0, 4.0])}


def test_it_is_the_way_of_the_answer_over_its_length():
    moved = displacement(lambda params: 2 * params["w"][:, None], AT)
    assert moved({"w": torch.tensor([3.0, 6.5])}).item() == pytest.approx(0.5)
    assert moved(AT) == 0


def test_a_plane_of_it_asks_for_the_unmoved_answer_once():
    asked = []

    def answer(params):
        asked.append(params["w"] is AT["w"])
        return params["w"] ** 2

    moved = displacement(answer, AT)
    right, up = {"w": torch.tensor([1.0, 0])}, {"w": torch.tensor([0, 1.0])}
    found = plane(moved, AT, right, up, torch.tensor([0.0, 1]), torch.tensor([0.0, 2]))
    length = math.hypot(9, 16)
    expected = [[0, 7 / length], [20 / length, math.hypot(7, 20) / length]]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert sum(asked) == 1


@pytest.mark.parametrize(
    ("factor", "words"), [(0.0, "length 0.0"), (math.nan, "length nan"), (math.inf, "length inf")]
)
def test_an_answer_that_nothing_can_be_compared_with_is_refused(factor, words):
    with pytest.raises(ValueError, match=f"the answer has {words}, but must have one that others"):
        displacement(lambda params: factor * params["w"], AT)
