"""Directions: the norm of every filter, the plane of two runs, where a path lies on it."""

import math

import pytest
import torch
from torch.func import vmap

from synthetic_tasks.threefry import fold, normals, stream
from tdlab.probes import between, coordinates, filter_normalized, orthogonalized

KEY = stream(3, "probe")
SHAPES = {"W_Q": (2, 3, 5, 4), "W_K": (2, 3, 5, 4), "W_1": (5, 7), "b": (7,), "scale": ()}
PER_FILTER = {"W_Q": (-2, -1), "W_K": (-2, -1), "W_1": (-2, -1), "b": (-1,), "scale": ()}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241108)


def some(generator, shapes=None):
    shapes = SHAPES if shapes is None else shapes
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


@pytest.fixture
def params(generator):
    return some(generator)


def norm(leaf, axes):
    return leaf.square().sum(axes).sqrt() if axes else leaf.abs()


def flat(params):
    return torch.cat([params[name].flatten() for name in sorted(params)])


def combined(*terms):
    return {name: sum(share * leaves[name] for share, leaves in terms) for name in terms[0][1]}


def same(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


# Filter normalization.


def test_every_head_every_matrix_and_every_vector_has_the_norm_of_its_own(params):
    direction = filter_normalized(params, KEY)
    assert {name: leaf.shape for name, leaf in direction.items()} == {
        name: torch.Size(shape) for name, shape in SHAPES.items()
    }
    for name, axes in PER_FILTER.items():
        torch.testing.assert_close(norm(direction[name], axes), norm(params[name], axes))


def test_a_filter_extends_over_the_axes_that_are_named(params):
    spans = {"W_1": (-2,), "W_Q": (0, -1), "b": (0,)}
    direction = filter_normalized(params, KEY, spans)
    for name, axes in (PER_FILTER | spans).items():
        torch.testing.assert_close(norm(direction[name], axes), norm(params[name], axes))
    torch.testing.assert_close(direction["W_K"], filter_normalized(params, KEY)["W_K"])


def test_each_leaf_is_a_normal_draw_by_its_place_among_the_sorted_names(params):
    direction = filter_normalized(params, KEY)
    for place, name in enumerate(["W_1", "W_K", "W_Q", "b", "scale"]):
        drawn = normals(fold(KEY, place), SHAPES[name], torch.float64) if SHAPES[name] else None
        if drawn is not None:
            axes = PER_FILTER[name]
            sizes = (params[name].norm(dim=axes, keepdim=True), drawn.norm(dim=axes, keepdim=True))
            torch.testing.assert_close(direction[name], drawn * sizes[0] / sizes[1])
    cosine = torch.cosine_similarity(
        direction["W_Q"].flatten(), direction["W_K"].flatten(), 0
    )  # leaves of one shape are not drawn alike; 120 entries, five standard deviations
    assert cosine.abs() < 5 / math.sqrt(120)


def test_a_key_gives_the_same_direction_whatever_the_order_of_names_and_another_key_another(params):
    shuffled = {name: params[name] for name in reversed(params)}
    assert same(filter_normalized(params, KEY), filter_normalized(shuffled, KEY))
    assert not same(filter_normalized(params, KEY), filter_normalized(params, stream(4, "probe")))


def test_rotating_the_inner_axis_of_a_head_changes_no_norm_but_those_of_columns(params, generator):
    drawn = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(drawn).Q
    turned = {**params, "W_Q": params["W_Q"] @ rotation, "W_K": params["W_K"] @ rotation}
    scores = [leaves["W_Q"] @ leaves["W_K"].mT for leaves in (params, turned)]
    torch.testing.assert_close(*scores)  # it is the same model
    before, after = filter_normalized(params, KEY), filter_normalized(turned, KEY)
    for name in ("W_Q", "W_K"):
        torch.testing.assert_close(after[name], before[name])
    one, other = (filter_normalized(p, KEY, {"W_Q": (-2,)})["W_Q"] for p in (params, turned))
    assert not torch.allclose(one, other, rtol=0.05)


def test_only_the_moving_leaves_move_and_as_they_would_among_all(params):
    direction = filter_normalized(params, KEY, moving=("W_K", "b"))
    everything = filter_normalized(params, KEY)
    for name, leaf in direction.items():
        expected = everything[name] if name in {"W_K", "b"} else torch.zeros_like(params[name])
        assert leaf.equal(expected)


def test_a_filter_of_norm_zero_stays_where_it_is(params):
    params["W_Q"][1, 2], params["b"][:] = 0.0, 0.0
    direction = filter_normalized(params, KEY)
    assert not direction["W_Q"][1, 2].any()
    assert not direction["b"].any()
    assert direction["W_Q"][1, 1].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_direction_has_the_dtype_of_the_parameters(params, dtype):
    narrow = {name: leaf.to(dtype) for name, leaf in params.items()}
    assert {leaf.dtype for leaf in filter_normalized(narrow, KEY).values()} == {dtype}


def test_leaves_that_are_not_there_and_spans_without_an_axis_are_refused(params):
    for wrong in ({"spans": {"W_9": (-1,)}}, {"moving": ("b", "W_9")}):
        with pytest.raises(ValueError, match=r"^there is no parameter 'W_9'; there are: W_Q, W_K,"):
            filter_normalized(params, KEY, **wrong)
    with pytest.raises(ValueError, match=r"^a filter must extend over at least one axis$"):
        filter_normalized(params, KEY, {"b": ()})


# The plane of two directions.


def test_a_step_of_one_along_the_direction_between_two_points_leads_from_one_to_the_other(
    params, generator
):
    end = some(generator)
    torch.testing.assert_close(combined((1, params), (1, between(params, end))), end)


def test_what_is_orthogonalized_stands_at_a_right_angle_and_loses_only_the_parallel_part(
    params, generator
):
    against = some(generator)
    rest = orthogonalized(params, against)
    assert abs(flat(rest) @ flat(against)) < 1e-12 * flat(rest).norm() * flat(against).norm()
    share = flat(params) @ flat(against) / flat(against).square().sum()
    assert abs(share) > 0.01
    torch.testing.assert_close(combined((1, rest), (share, against)), params)


def test_the_ends_of_both_runs_lie_on_the_plane_of_the_first_and_the_orthogonalized_second(
    params, generator
):
    one, other = some(generator), some(generator)
    first = between(params, one)
    second = orthogonalized(between(params, other), first)
    for end, height in ((params, 0.0), (one, 0.0), (other, 1.0)):
        place = coordinates(end, params, first, second)
        torch.testing.assert_close(
            combined((1, params), (place[0], first), (place[1], second)), end
        )
        assert place[1].item() == pytest.approx(height, abs=1e-12)
    torch.testing.assert_close(
        coordinates(one, params, first, second), torch.tensor([1.0, 0.0], dtype=torch.float64)
    )


def planted(generator, params):
    """Two directions at no right angle, and one at a right angle to both."""
    first, second = some(generator), some(generator)
    across = orthogonalized(some(generator), first)
    return first, second, orthogonalized(across, orthogonalized(second, first))


def test_coordinates_of_a_planted_point_are_the_planted_ones_though_it_lies_off_the_plane(
    params, generator
):
    first, second, across = planted(generator, params)
    point = combined((1, params), (-1.3, first), (0.4, second), (2.2, across))
    torch.testing.assert_close(
        coordinates(point, params, first, second), torch.tensor([-1.3, 0.4], dtype=torch.float64)
    )


def test_a_whole_path_has_coordinates_at_once(params, generator):
    first, second, across = planted(generator, params)
    shares = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    points = [
        combined((1, params), (a, first), (b, second), (c, across)) for a, b, c in shares.tolist()
    ]
    path = {name: torch.stack([point[name] for point in points]) for name in params}
    found = vmap(lambda point: coordinates(point, params, first, second))(path)
    torch.testing.assert_close(found, shares[:, :2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_that_span_no_plane_are_refused(params, dtype):
    one = {name: leaf.to(dtype) for name, leaf in params.items()}
    zero = {name: torch.zeros_like(leaf) for name, leaf in one.items()}
    for pair in ((one, zero), (zero, one)):
        with pytest.raises(ValueError, match=r"^a direction of length zero spans no plane$"):
            orthogonalized(*pair)
    other = {name: -leaf / 3 for name, leaf in one.items()}
    with pytest.raises(ValueError, match=r"^the two directions are parallel"):
        orthogonalized(one, other)
    with pytest.raises(ValueError, match=r"^the two directions are parallel"):
        coordinates(one, zero, one, other)


def test_points_with_other_leaves_are_refused_with_their_names_or_shapes(params):
    fewer = {name: leaf for name, leaf in params.items() if name != "b"}
    wider = {**params, "b": torch.ones(1, dtype=torch.float64)}  # would broadcast
    for function in (between, orthogonalized):
        with pytest.raises(ValueError, match=r"^leaves are .*b, scale in one, .*W_1, scale in the"):
            function(*((params, fewer) if function is between else (fewer, params)))
        with pytest.raises(ValueError, match=r"^b has shape \(7,\) in one, \(1,\) in the other$"):
            function(*((params, wider) if function is between else (wider, params)))
