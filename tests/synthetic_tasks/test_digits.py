import math
import sys

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import FullBatch, Task, sample
from synthetic_tasks.digits import Digits, World, _images
from synthetic_tasks.task import Batch, cast
from synthetic_tasks.threefry import stream, uniforms

PARTS = {"training": 1347, "test": 450}


def whole(part: str, seed: int = 0) -> Batch:
    """All images of a part in order."""
    return sample(FullBatch(of=Digits(part=part)), seed=seed, size=PARTS[part], dtype=torch.float64)


def as_rows(grey: Tensor) -> list[tuple[int, ...]]:
    return [tuple(image) for image in grey.long().tolist()]


@pytest.mark.parametrize(("part", "size"), PARTS.items())
def test_a_part_has_its_size_and_each_pixel_is_a_token(part, size):
    task = Digits(part=part)
    assert isinstance(task, Task)
    assert (task.size, task.columns, task.token_width) == (size, 64, 1)
    batch = whole(part)
    assert batch.prompt.shape == (size, 64, 1)
    assert batch.mask.all()
    assert batch.target.shape == (size,)


def test_both_parts_together_are_scikit_learns_digits_each_once():
    grey, digit = load_digits(return_X_y=True)
    wanted = sorted(zip(as_rows(torch.from_numpy(grey)), digit.tolist(), strict=True))
    found = [
        (image, int(digit))
        for batch in map(whole, PARTS)
        for image, digit in zip(as_rows(16 * batch.prompt[..., 0]), batch.latent.digit, strict=True)
    ]
    assert sorted(found) == wanted


@pytest.mark.parametrize("part", PARTS)
def test_the_target_is_plus_one_for_odd_digits_and_minus_one_for_even_ones(part):
    batch = whole(part)
    odd = torch.tensor([digit in {1, 3, 5, 7, 9} for digit in batch.latent.digit.tolist()])
    assert batch.target.equal(torch.where(odd, 1.0, -1.0).double())


def test_a_fourth_of_each_digit_is_in_the_test_part():
    train, test = (whole(part).latent.digit.long().bincount(minlength=10) for part in PARTS)
    assert ((test - (train + test) / 4).abs() < 1).all()


@pytest.mark.parametrize("part", PARTS)
def test_the_images_of_a_part_lie_in_random_order(part):
    batch = whole(part)
    digit = batch.latent.digit.long()
    # Neighbours are alike by chance in a tenth of the cases; sorted ones nearly always.
    chance = 0.1 * 0.9 / len(digit)
    assert abs((digit[1:] == digit[:-1]).double().mean() - 0.1) < 5 * math.sqrt(chance)
    at = {image: row for row, image in enumerate(as_rows(torch.from_numpy(load_digits().data)))}
    place = torch.tensor([float(at[image]) for image in as_rows(16 * batch.prompt[..., 0])])
    correlation = torch.stack([place, torch.arange(len(place)).float()]).corrcoef()[0, 1]
    assert abs(correlation) < 5 / math.sqrt(len(place))


@pytest.mark.parametrize("part", PARTS)
def test_the_split_and_the_order_are_the_same_for_all_members(part):
    worlds = [Digits(part=part).world(stream(seed, "world")) for seed in (0, 11)]
    assert all(one.equal(other) for one, other in zip(*worlds, strict=True))


def test_members_draw_different_rows_of_the_same_images():
    one, other = (sample(Digits(), seed=seed, size=32) for seed in (0, 1))
    assert not one.prompt.equal(other.prompt)
    known = set(as_rows(16 * whole("training").prompt[..., 0]))
    assert known.issuperset(as_rows(16 * one.prompt[..., 0]))


def test_a_sample_is_the_same_each_time_and_has_the_precision_asked_for():
    for dtype in (torch.float32, torch.float64):
        one, again = (sample(Digits(), seed=4, size=9, dtype=dtype) for _ in range(2))
        assert one.prompt.equal(again.prompt)
        assert one.target.equal(again.target)
        assert one.prompt.dtype == one.target.dtype == dtype


@pytest.mark.parametrize("shared", [False, True])
def test_a_mapped_member_draws_what_it_draws_alone(shared):
    task = Digits()
    world = cast(task.world(stream(0, "world")), torch.float32)
    u = torch.stack([uniforms(stream(seed, "train"), (6, 1)) for seed in (0, 1)])
    stacked = World(*(leaf if shared else torch.stack([leaf, leaf]) for leaf in world))
    together = vmap(task.draw, (World._make([None if shared else 0] * 3), 0))(stacked, u)
    for member in (0, 1):
        alone = task.draw(world, u[member])
        assert together.prompt[member].equal(alone.prompt)
        assert together.target[member].equal(alone.target)
        assert together.latent.digit[member].equal(alone.latent.digit)


def test_another_part_is_refused():
    with pytest.raises(ValueError, match="part is 'validation', but must be one of training, test"):
        Digits(part="validation")


def test_missing_scikit_learn_names_the_extra_when_images_are_wanted(monkeypatch):
    _images.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    task = Digits()  # a description needs nothing
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tdlab\[digits\]'") as caught:
        sample(task, seed=0, size=1)
    assert "\n" not in str(caught.value)
