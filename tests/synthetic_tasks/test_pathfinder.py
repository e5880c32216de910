from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import FullBatch, Task, pathfinder, sample, walks
from synthetic_tasks.pathfinder import CUT, EMPTY, REMOVED, SHORT, WHOLE, Pathfinder, World
from synthetic_tasks.task import Batch, cast
from synthetic_tasks.threefry import fold, stream, uniforms
from synthetic_tasks.walks import place, require_room

SEED = 5
TASK = Pathfinder(side=12, size=16, path=15, gap=3, distractors=2, short=4)
SETTINGS = [
    TASK,
    Pathfinder(size=16),
    Pathfinder(size=16, path=24, gap=1, distractors=3, patch=2),
    Pathfinder(size=8, side=32, path=40, gap=6, distractors=5, short=8, patch=4),
    replace(TASK, distractors=0, path=6, gap=2, part="test"),
]
Pixel = tuple[int, int]


def world_of(task: Pathfinder, seed: int = SEED) -> World:
    return task.world(stream(seed, "world"))


@cache
def pool(task: Pathfinder, seed: int = SEED) -> Batch:
    """All images in order."""
    return task.rows(world_of(task, seed), torch.arange(task.size))


def pixels(image: Tensor) -> set[Pixel]:
    """Where an image is not zero."""
    return {(int(y), int(x)) for y, x in image.nonzero().tolist()}


def images(task: Pathfinder, batch: Batch) -> list[tuple[set[Pixel], set[Pixel]]]:
    """What a person sees of each prompt, cut up again from its tokens: paths, and marks."""
    side, patch = task.side, task.patch
    found = []
    for prompt in batch.prompt:
        paths, marks = torch.zeros(2, side, side)
        for token, entries in enumerate(prompt.tolist()):
            y, x = patch * (token // (side // patch)), patch * (token % (side // patch))
            for k in range(patch**2):
                paths[y + k // patch, x + k % patch] = entries[k]
                marks[y + k // patch, x + k % patch] = entries[patch**2 + k]
        found.append((pixels(paths), pixels(marks)))
    return found


def around(pixel: Pixel) -> set[Pixel]:
    """Pixels that touch this one, by a side or by a corner."""
    y, x = pixel
    return {(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} - {pixel}


def flooded(start: Pixel, land: set[Pixel]) -> set[Pixel]:
    """All that can be reached from a pixel."""
    reached, edge = {start}, [start]
    while edge:
        new = (around(edge.pop()) & land) - reached
        reached |= new
        edge += new
    return reached


def pieces(land: set[Pixel]) -> list[set[Pixel]]:
    left, found = set(land), []
    while left:
        found.append(flooded(min(left), land))
        left -= found[-1]
    return found


# What an image is made of, by an independent flood fill.


@pytest.mark.parametrize("task", SETTINGS)
def test_the_target_says_whether_the_marked_ends_are_joined(task):
    batch = pool(task)
    for target, (paths, marks) in zip(batch.target.tolist(), images(task, batch), strict=True):
        assert len(marks) == 2
        assert marks <= paths
        one, other = marks
        assert target == (1 if other in flooded(one, paths) else -1)


@pytest.mark.parametrize("task", SETTINGS)
def test_marks_moved_to_the_other_long_path_turn_the_target_and_change_nothing_else(task):
    world = world_of(task)
    row = torch.arange(task.size)
    batch, turned = task.rows(world, row), task.rows(world._replace(target=-world.target), row)
    for target, (paths, marks), (same, moved) in zip(
        turned.target.tolist(), images(task, batch), images(task, turned), strict=True
    ):
        assert same == paths
        assert not moved & marks
        one, other = moved
        assert target == (1 if other in flooded(one, paths) else -1)
    seen, marks = batch.prompt.chunk(2, dim=-1)
    assert turned.prompt.chunk(2, dim=-1)[0].equal(seen)
    assert not turned.prompt.chunk(2, dim=-1)[1].equal(marks)


@pytest.mark.parametrize("task", SETTINGS)
def test_an_image_is_a_whole_path_two_pieces_of_a_cut_one_and_the_short_ones(task):
    least = max(2, (task.path - task.gap) // 4)
    for paths, _ in images(task, pool(task)):
        left = Counter(map(len, pieces(paths)))
        left -= Counter({task.path: 1}) + Counter({task.short: task.distractors})
        cut = sorted(left.elements())
        assert len(cut) == 2
        assert sum(cut) == task.path - task.gap
        assert cut[0] >= least


@pytest.mark.parametrize("task", SETTINGS)
def test_pixels_touch_only_if_they_follow_each_other_on_one_path(task):
    for paths, marks in images(task, pool(task)):
        for piece in pieces(paths):
            neighbours = Counter(len(around(pixel) & paths) for pixel in piece)
            assert neighbours == Counter({1: 2}) + Counter({2: len(piece) - 2})
        assert all(len(around(mark) & paths) == 1 for mark in marks)


@pytest.mark.parametrize("task", SETTINGS)
def test_the_generators_paths_are_those_of_the_image_with_the_gap_filled(task):
    batch = pool(task)
    kinds = task.image(batch.latent.pixels)
    for kind, target, (paths, marks) in zip(
        kinds, batch.target.tolist(), images(task, batch), strict=True
    ):
        whole, cut, short, removed = (pixels(kind == code) for code in (WHOLE, CUT, SHORT, REMOVED))
        assert paths == whole | cut | short
        assert (len(whole), len(cut | removed)) == (task.path, task.path)
        assert len(removed) == task.gap
        ends = {
            pixel
            for path in (whole, cut | removed)
            for pixel in path
            if len(around(pixel) & path) == 1
        }
        assert marks == ends & (whole if target == 1 else cut)
        assert len(ends) == 4
        assert len(short) == task.distractors * task.short


@pytest.mark.parametrize("task", SETTINGS)
def test_the_latent_says_of_each_token_what_it_holds(task):
    batch = pool(task)
    seen, marks = batch.prompt.bool().chunk(2, dim=-1)
    latent = batch.latent
    code = torch.where(batch.target > 0, WHOLE, CUT)[:, None, None]
    assert latent.marked.equal((latent.pixels == code).any(-1))
    assert latent.other.equal((latent.pixels == WHOLE + CUT - code).any(-1))
    assert latent.removed.equal((latent.pixels == REMOVED).any(-1))
    assert latent.end.equal(marks.any(-1))
    assert seen.equal((latent.pixels != EMPTY) & (latent.pixels != REMOVED))
    assert (latent.marked | ~latent.end).all()


def test_paths_go_straight_on_or_turn_by_45_degrees():
    width, lengths = 20, (30, 30, 6)
    laid = place(stream(SEED, "world"), 50, width, lengths)
    for walk in [part for parts in laid.split(lengths, dim=1) for part in parts.tolist()]:
        at = [complex(p % width, p // width) for p in walk]
        steps = [b - a for a, b in pairwise(at)]
        assert all(max(abs(step.real), abs(step.imag)) == 1 for step in steps)
        # The inner product of steps that are at most 45 degrees apart is positive.
        assert all((a * b.conjugate()).real > 0 for a, b in pairwise(steps))


# Nothing but the path tells the label.


@pytest.mark.parametrize("size", [2, 24, 25])
def test_both_labels_are_equally_frequent(size):
    target = pool(replace(TASK, size=size)).target
    assert target.sum().abs() == size % 2
    assert set(target.tolist()) == {-1, 1}


def test_labels_lie_in_random_order_and_the_first_long_path_is_cut_in_half_of_the_images():
    size = 800
    task = Pathfinder(size=size, side=10, path=8, gap=2, distractors=0)
    target = pool(task).target
    # A coin tossed 800 times is within 5 sigmas, 71, of 400.
    assert abs(int((target[1:] == target[:-1]).sum()) - 400) < 71
    key = fold(fold(stream(SEED, "world"), 0), 0)  # of the training part, of its paths
    first = place(key, size, task.side, (task.path, task.path))[:, 0]
    whole = world_of(task).ends[:, 0, 0] == first
    assert abs(int(whole.sum()) - 400) < 71
    assert abs(int((whole == (target > 0)).sum()) - 400) < 71


def test_the_cut_may_lie_at_each_place_that_leaves_a_quarter_on_either_side():
    task = Pathfinder(size=100, path=16, gap=3, distractors=0)
    start = world_of(task).ends[:, 1, 0].tolist()  # where the cut path begins
    found = {
        len(flooded(divmod(begin, task.side), paths))
        for begin, (paths, _) in zip(start, images(task, pool(task)), strict=True)
    }
    assert found == {3, 4, 5, 6, 7, 8, 9, 10}


def test_a_path_may_begin_anywhere():
    begin = place(stream(SEED, "world"), 1000, 8, (3, 3))[:, [0, 3]]
    assert (begin.flatten().bincount(minlength=64) > 0).all()


# The pool.


def flat(batch: Batch) -> list[Any]:
    return [*batch[:3], *batch.latent]


@pytest.mark.parametrize("task", SETTINGS)
def test_the_pool_is_a_task_with_tokens_of_its_patches(task):
    batch = pool(task)
    assert batch.prompt.shape == (task.size, task.columns, task.token_width)
    assert task.columns * task.token_width == 2 * task.side**2
    assert batch.mask.all()
    assert set(batch.prompt.unique().tolist()) == {0, 1}
    assert batch.target.shape == (task.size,)
    assert isinstance(task, Task)


def test_patches_hold_the_same_image_as_pixels():
    fine, coarse = pool(TASK), pool(replace(TASK, patch=3))
    assert images(TASK, fine) == images(replace(TASK, patch=3), coarse)
    assert fine.target.equal(coarse.target)


def test_the_full_batch_is_the_pool_in_order():
    batch = sample(FullBatch(of=TASK), seed=SEED, size=16, dtype=torch.float64)
    assert all(a.equal(b) for a, b in zip(flat(batch), flat(pool(TASK)), strict=True))


def test_a_sample_holds_rows_of_the_pool_and_is_a_function_of_its_seed():
    one, again = (sample(TASK, seed=SEED, size=30, dtype=torch.float64) for _ in range(2))
    assert all(a.equal(b) for a, b in zip(flat(one), flat(again), strict=True))
    whole = pool(TASK)
    same = (one.prompt[:, None] == whole.prompt).all(-1).all(-1)
    assert same.any(1).all()
    assert one.target.equal(whole.target[same.int().argmax(1)])


def test_members_parts_and_images_differ():
    worlds = [world_of(TASK), world_of(TASK, seed=6), world_of(replace(TASK, part="test"))]
    every = torch.cat([world.pixels for world in worlds]).flatten(1)
    assert len(every.unique(dim=0)) == len(every)


def test_the_paths_of_a_smaller_pool_are_those_of_a_larger_one(monkeypatch):
    monkeypatch.setattr(walks, "_TRIES", 1)  # so that some images are begun afresh
    task = replace(TASK, path=12, distractors=1)
    few, many = world_of(replace(task, size=10)), world_of(task)
    assert ((few.pixels > 0) == (many.pixels[:10] > 0)).all()


def test_a_mapped_member_draws_what_it_draws_alone():
    worlds = [cast(world_of(TASK, seed), torch.float32) for seed in (0, 1)]
    u = torch.stack([uniforms(stream(seed, "train"), (9, 1)) for seed in (0, 1)])
    world = World(*(torch.stack(leaf) for leaf in zip(*worlds, strict=True)))
    together = vmap(TASK.draw)(world, u)
    for member in (0, 1):
        alone = TASK.draw(worlds[member], u[member])
        assert all(a[member].equal(b) for a, b in zip(flat(together), flat(alone), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_has_the_precision_asked_for(dtype):
    batch = sample(TASK, seed=SEED, size=2, dtype=dtype)
    assert batch.prompt.dtype == batch.target.dtype == dtype


def test_the_example_of_the_module_is_drawn_as_it_says():
    task = Pathfinder(side=12, size=20, path=14, gap=3, distractors=1, short=4)
    batch = sample(task, seed=6, size=2)
    assert batch.target.tolist() == [1, -1]
    left, right = (drawing.split("\n") for drawing in task.drawing(batch.prompt))
    drawn = "".join(f"    {one}      {other}\n" for one, other in zip(left, right, strict=True))
    assert drawn in str(pathfinder.__doc__)


# Refusals.


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"side": 7}, ValueError, "side is 7, but must be at least 8"),
        ({"size": 0}, ValueError, "size is 0, but must be at least 1"),
        ({"path": 6}, ValueError, "path, with a gap of 3, is 6, but must be at least 7"),
        ({"gap": 0}, ValueError, "gap is 0, but must be at least 1"),
        ({"distractors": -1}, ValueError, "distractors is -1, but must be at least 0"),
        ({"short": 1}, ValueError, "short is 1, but must be at least 2"),
        ({"patch": 0}, ValueError, "patch is 0, but must be at least 1"),
        ({"patch": 5}, ValueError, "patch is 5, but must divide the side, 12"),
        ({"part": "tests"}, ValueError, "part is 'tests', but must be one of training, test"),
        ({"side": 16.0}, TypeError, "side"),
        (
            {"path": 38},
            ValueError,
            r"side is 12, but paths of 38 \+ 38 \+ 4 \+ 4 pixels need .* 176 windows .* are 169",
        ),
        ({"ditractors": 1}, TypeError, "did you mean 'distractors'"),
    ],
    ids=str,
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=line):
        replace(TASK, **wrong)


def test_paths_that_only_trying_shows_not_to_fit_are_refused_with_their_numbers(monkeypatch):
    line = r"side is 8, but paths of 17 \+ 17 pixels found no room in {} of {} images; take fewer"
    task = Pathfinder(side=8, size=64, path=17, gap=3, distractors=0)
    with pytest.raises(ValueError, match=line.format(64, 64)):
        world_of(task)
    monkeypatch.setattr(walks, "_ROUNDS", 2)
    with pytest.raises(ValueError, match=line.format(3, 3)):
        world_of(replace(task, size=3))


def test_room_is_refused_just_beyond_what_every_other_line_of_a_grid_takes():
    require_room(9, (9,) * 5)
    with pytest.raises(ValueError, match="102 windows of 2 x 2 pixels, and there are 100"):
        require_room(9, (9, 9, 9, 9, 10))
