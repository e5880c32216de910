import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import FullBatch, InContextClassification, Task, sample
from synthetic_tasks.pool import PARTS, Pooled, require_part
from synthetic_tasks.task import Batch, require_balance
from synthetic_tasks.threefry import stream, uniforms
from synthetic_tasks.value import value


class Numbers(NamedTuple):
    number: Tensor


@value
class Own(Pooled):
    """A pool of someone else: numbers, one a prompt, that differ between members."""

    revision: ClassVar[int] = 1
    token_width: ClassVar[int] = 1
    columns: ClassVar[int] = 1

    size: int = 7

    def world(self, key: Tensor) -> Numbers:
        return Numbers(key[0] % 100 + torch.arange(self.size).double())

    def rows(self, world: Numbers, row: Tensor) -> Batch:
        number = world.number[row]
        return Batch(number[:, None, None], torch.ones(len(row), 1, dtype=torch.bool), number, ())


def first(seed: int) -> float:
    """The first number of a member's pool."""
    return float(stream(seed, "world")[0] % 100)


def rows_of(task: Task, seed: int = 3, **given: Any) -> Tensor:
    """Which rows of its pool a member draws."""
    return (sample(task, seed=seed, **given).target - first(seed)).long()


@pytest.mark.parametrize("task", [Own(), FullBatch(of=Own())], ids=type)
def test_a_pool_and_its_full_batch_are_tasks(task):
    assert isinstance(task, Task)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_unit_interval_are_the_first_and_the_last_row(size, dtype):
    task = Own(size=size)
    least = 0.5 * 2.0**-23  # uniforms are the midpoints of 2**23 cells
    ends = torch.tensor([[least], [1 - least]], dtype=dtype)
    number = task.draw(Numbers(torch.arange(size).double()), ends).target
    assert number.tolist() == [0, size - 1]


def test_a_uniform_that_rounding_carries_to_one_still_is_the_last_row():
    number = Own().draw(Numbers(torch.arange(7.0)), torch.ones(1, 1)).target
    assert number.tolist() == [6]


def test_a_row_is_drawn_by_the_part_of_the_unit_interval_that_is_its_own():
    inside = (torch.arange(7).double()[:, None] + torch.tensor([[0.01, 0.99]])).flatten() / 7
    number = Own().draw(Numbers(torch.arange(7).double()), inside[:, None]).target
    assert number.tolist() == [row for row in range(7) for _ in range(2)]


def test_draws_have_replacement_and_take_every_row_equally_often():
    size = 7000
    counts = rows_of(Own(), size=size).bincount()
    assert len(counts) == 7
    # A binomial number of 7000 draws at 1/7 is 1000, give or take 29.3; seven of them, 5 sigmas.
    assert (counts - 1000).abs().max() < 5 * math.sqrt(size * (1 / 7) * (6 / 7))


def test_a_batch_may_be_larger_than_the_pool_and_steps_draw_different_rows():
    drawn = [rows_of(Own(), size=20, step=step) for step in (0, 1)]
    assert not drawn[0].equal(drawn[1])
    assert drawn[0].equal(rows_of(Own(), size=20, step=0))


@pytest.mark.parametrize(("size", "times"), [(7, 1), (21, 3)])
def test_a_full_batch_is_the_pool_in_order_at_every_step(size, times):
    for step in (0, 5):
        row = rows_of(FullBatch(of=Own()), size=size, step=step)
        assert row.tolist() == list(range(7)) * times


def test_a_full_batch_has_the_shapes_of_its_pool_and_draws_nothing():
    task = FullBatch(of=Own(size=5))
    assert (task.token_width, task.columns, task.balance, task.uniforms) == (1, 1, 5, 0)
    assert task.world(stream(2, "world")).number[0] == first(2)


@pytest.mark.parametrize("make", [Own, lambda: FullBatch(of=Own())], ids=["drawn", "full"])
def test_each_mapped_member_draws_from_its_own_pool(make: Callable[[], Task]):
    task = make()
    worlds = [task.world(stream(seed, "world")) for seed in (0, 1)]
    blocks = [uniforms(stream(seed, "train"), (7, task.uniforms), torch.float64) for seed in (0, 1)]
    world = Numbers(torch.stack([each.number for each in worlds]))
    together = vmap(lambda *given: task.draw(*given).target)(world, torch.stack(blocks))
    for member in (0, 1):
        assert together[member].equal(task.draw(worlds[member], blocks[member]).target)
    assert not together[0].equal(together[1])


def test_a_full_batch_refuses_a_size_that_is_no_multiple_of_the_pool():
    task = FullBatch(of=Own())
    with pytest.raises(ValueError, match="batch is 8, but a FullBatch needs a multiple of 7"):
        require_balance("batch", 8, task)


@pytest.mark.parametrize("of", [InContextClassification(), 3, None])
def test_a_full_batch_refuses_what_has_no_pool(of):
    with pytest.raises(TypeError, match=r"^of is .*, but must be a task with a pool$"):
        FullBatch(of=of)


def test_what_lacks_a_method_of_a_pool_is_none():
    class Half(Pooled):
        revision = 1
        size = 1
        token_width = 1
        columns = 1

        def world(self, key: Tensor) -> Numbers:
            return Numbers(key)

    make: Callable[[], Pooled] = Half
    with pytest.raises(TypeError, match="rows"):
        make()


def test_a_part_is_training_or_test():
    for part in PARTS:
        require_part(part)
    with pytest.raises(ValueError, match="part is 'tests', but must be one of training, test"):
        require_part("tests")
