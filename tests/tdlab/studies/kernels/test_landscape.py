"""Two stages of training, and the planes and spectra around the second, against plain versions."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from synthetic_tasks import Digits
from synthetic_tasks.threefry import key_of, stream
from tdlab.studies import kernels
from tdlab.studies.kernels.setting import STAGE_TWO
from tdlab.sweep import trained
from tdlab.trajectory import Diverged
from tests.tdlab.studies import tidy
from tests.tdlab.studies.kernels.settings import FEW
from tests.tdlab.studies.tidy import TIDY

TINY = replace(
    FEW,
    batch=4,
    class_lr=0.02,
    stage_one="gaussian",
    land_seeds=2,
    land_width=4,
    land_hidden=3,
    land_steps=5,
    land_snapshots=1,
    land_samples=3,
    land_points=5,
    land_random=(-0.7, 1.1),
    land_runs=(-0.4, 1.6),
    land_eigenvalues=3,
    land_pieces=2,
)
STEPS, SEEDS = (0, 5), (3, 4)


@pytest.fixture(scope="module")
def stages():
    return {kernel: trained(runs) for kernel, runs in kernels.stage_runs(TINY).items()}


def of(table, *names, **where):
    """The selected numbers by the columns of these names; all is measured."""
    assert set(table["source"]) == {"measured"}
    return tidy.of(table, *names, **where)


def flat(params):
    return torch.cat([leaf.double().flatten() for leaf in params.values()])


def images():
    """The first training samples: 64 pixels between 0 and 1, and the sign of each."""
    world = Digits().world(key_of(9))
    return world.grey[:3, :, None].double() / 16, world.target[:3]


def loss(model, params, count=3):
    """The cross-entropy of the images, one after the other."""
    total, mask = torch.zeros((), dtype=torch.float64), torch.ones(64, dtype=torch.bool)
    prompts, targets = images()
    for i in range(count):
        output = model.forward(params, prompts[i], mask).output
        total = total + torch.log1p(torch.exp(-targets[i] * output))
    return total / count


def doubled(params):
    return {name: leaf.double() for name, leaf in params.items()}


def gradient(model, params):
    leaves = {name: leaf.requires_grad_() for name, leaf in params.items()}
    parts = torch.autograd.grad(loss(model, leaves), list(leaves.values()))
    return torch.cat([part.flatten() for part in parts])


# Two stages.


def test_both_kernels_start_bit_for_bit_where_one_run_of_stage_one_ended(stages):
    assert list(stages) == list(STAGE_TWO) == ["softmax", "gaussian"]
    before: Any = trained([each.run.after for each in stages["softmax"]])
    assert [each.run.model.kernel for each in before] == ["gaussian"] * 2
    for results in stages.values():
        for each, first in zip(results, before, strict=True):
            assert each.steps == STEPS
            for name, leaf in first.final.items():
                assert torch.equal(each.at(0)[name], leaf)
                assert each.at(0)[name].dtype == torch.float32
            start = first.run.model.init(stream(first.run.seed, "init"))
            assert not torch.equal(first.final["E"], start["E"].float())
    softmax, gaussian = ([flat(each.final) for each in results] for results in stages.values())
    for one, other in zip(softmax, gaussian, strict=True):
        assert not torch.equal(one, other)
    assert not torch.equal(softmax[0], softmax[1])


def test_the_two_stages_see_different_batches_and_both_kernels_the_same(stages):
    # A full step of Adam on the same batch from the same start is the same step.
    softmax = stages["softmax"][0].run
    same = replace(softmax, model=stages["gaussian"][0].run.model)
    (again,) = trained([same])
    assert torch.equal(flat(again.final), flat(stages["gaussian"][0].final))
    assert same.earlier_steps == softmax.earlier_steps == 5


def test_a_risk_is_the_mean_loss_on_the_first_training_samples(stages):
    for kernel, results in stages.items():
        model: Any = results[0].run.model
        assert model.kernel == kernel
        params = doubled(results[0].final)
        expected = float(loss(model, params))
        risk = kernels.risk_of(TINY, model, torch.float64)
        assert float(risk(params)) == pytest.approx(expected, rel=1e-12)
        single = kernels.risk_of(TINY, model, torch.float32)(results[0].final)
        assert single.dtype == torch.float32
        assert float(single) == pytest.approx(expected, rel=1e-5)


# Planes.


@pytest.fixture(scope="module")
def made(stages):
    return {(each.kernel, each.kind): each for each in kernels.planes(stages)}


def test_there_are_two_planes_of_the_first_seed_for_each_kernel(stages, made):
    assert list(made) == [(kernel, kind) for kernel in stages for kind in ("random", "runs")]
    for (kernel, kind), each in made.items():
        result = stages[kernel][0]
        assert each.model == result.run.model
        origin = result.at(0) if kind == "runs" else result.final
        assert torch.equal(flat(each.origin), flat(origin))
        assert list(each.path) == list(STEPS)
        for step, params in each.path.items():
            assert torch.equal(flat(params), flat(result.at(step)))


@pytest.mark.parametrize(("kernel", "other"), [("softmax", "gaussian"), ("gaussian", "softmax")])
def test_the_plane_of_two_runs_holds_both_ends(stages, made, kernel, other):
    plane = made[kernel, "runs"]
    origin, first, second = map(flat, (plane.origin, plane.first, plane.second))
    own, its = flat(stages[kernel][0].final), flat(stages[other][0].final)
    # Its own end at (1, 0), the other's at y = 1, at right angles to each other.
    torch.testing.assert_close(origin + first, own, rtol=0, atol=1e-6)
    x = (its - origin) @ first / (first @ first)
    torch.testing.assert_close(origin + x * first + second, its, rtol=0, atol=1e-6)
    assert abs(first @ second) < 1e-5 * first.norm() * second.norm()
    assert second.norm() > 0.05 * first.norm()


def filters(name, leaf):
    """The norm of each filter: columns of what x is multiplied with, whole matrices of heads."""
    leaf = leaf.double()
    if name in ("W_1", "W_2"):
        return leaf.square().sum(-2).sqrt()  # of the weights into each unit
    if name in ("P", "b_1", "b_2"):
        return leaf.square().sum(-1).sqrt()  # of each position, of each layer
    if name in ("W_Q", "W_K", "W_V", "W_O"):
        return leaf.square().sum((-2, -1)).sqrt()  # of each layer and head
    return leaf.square().sum().sqrt()


def test_a_random_direction_has_the_norms_of_its_filters(made):
    for kernel in STAGE_TWO:
        plane = made[kernel, "random"]
        for direction in (plane.first, plane.second):
            for name, leaf in plane.origin.items():
                expected = filters(name, leaf)
                torch.testing.assert_close(
                    filters(name, direction[name]), expected, rtol=1e-4, atol=1e-7
                )
        assert set(plane.first) == set(plane.second) == set(plane.origin)
        apart = flat(plane.first) @ flat(plane.second)
        assert abs(apart) < 0.5 * flat(plane.first).norm() * flat(plane.second).norm()
    assert filters("W_Q", made["softmax", "random"].origin["W_Q"]).shape == (2, 2)


def test_random_directions_differ_between_kernels_in_their_norms_alone(made):
    for which in ("first", "second"):
        one, other = (getattr(made[kernel, "random"], which) for kernel in STAGE_TWO)
        assert not torch.equal(flat(one), flat(other))
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            units = [d[name] / d[name].norm(dim=(-2, -1), keepdim=True) for d in (one, other)]
            torch.testing.assert_close(*units, rtol=1e-4, atol=1e-5)


def test_planes_are_of_the_first_seed_that_every_kernel_has(stages):
    later = {"softmax": stages["softmax"], "gaussian": stages["gaussian"][1:]}
    for each in kernels.planes(later):
        end = each.origin if each.kind == "random" else each.path[5]
        assert torch.equal(flat(end), flat(stages[each.kernel][1].final))
    apart = {"softmax": stages["softmax"][:1], "gaussian": stages["gaussian"][1:]}
    with pytest.raises(Diverged, match=r"^no seed is left of all kernels"):
        kernels.planes(apart)


def test_directions_are_kept_under_the_names_of_their_plane(made):
    kept = kernels.directions(list(made.values()))
    expected = {
        f"{kernel}/{kind}/{which}/{name}"
        for kernel, kind in made
        for which in ("origin", "first", "second")
        for name in made[kernel, kind].origin
    }
    assert set(kept) == expected
    for (kernel, kind), plane in made.items():
        assert torch.equal(kept[f"{kernel}/{kind}/second/W_K"], plane.second["W_K"])
        assert torch.equal(kept[f"{kernel}/{kind}/origin/P"], plane.origin["P"])


@pytest.fixture(scope="module")
def surfaces(stages):
    return kernels.surfaces(TINY, stages)


@pytest.mark.parametrize("kind", ["random", "runs"])
@pytest.mark.parametrize("kernel", STAGE_TWO)
def test_a_surface_is_the_loss_at_every_point_of_its_plane(surfaces, made, kernel, kind):
    plane = made[kernel, kind]
    ends = {"random": (-0.7, 1.1), "runs": (-0.4, 1.6)}[kind]
    at = np.linspace(*ends, 5)
    found = of(surfaces, "x", "y", quantity="loss", kernel=kernel, kind=kind)
    assert set(found) == {(x, y) for x in at for y in at}
    for x in at[[0, 1, 4]]:
        for y in at[[0, 3]]:
            params = {
                name: leaf.double() + x * plane.first[name] + y * plane.second[name]
                for name, leaf in plane.origin.items()
            }
            assert found[x, y] == pytest.approx(float(loss(plane.model, params)), rel=1e-4)


def test_the_path_of_stage_two_leads_from_the_origin_to_its_end(surfaces, made):
    rows = surfaces[surfaces.quantity == "path"]
    assert set(rows.kind) == {"runs"}
    for kernel in STAGE_TWO:
        path = rows[rows.kernel == kernel].set_index("value")
        assert path.index.tolist() == path["step"].tolist() == list(STEPS)
        plane = made[kernel, "runs"]
        origin, axes = flat(plane.origin), torch.stack([flat(plane.first), flat(plane.second)])
        for step in STEPS:
            away = flat(plane.path[step]) - origin
            shadow = torch.linalg.lstsq(axes.T, away).solution
            assert path.loc[step, ["x", "y"]].tolist() == pytest.approx(shadow.tolist(), abs=1e-5)
        assert path.loc[0, ["x", "y"]].tolist() == pytest.approx([0, 0], abs=1e-6)
        assert path.loc[5, ["x", "y"]].tolist() == pytest.approx([1, 0], abs=1e-5)


def test_rows_of_a_surface_belong_to_the_run_of_its_kernel(surfaces, stages):
    assert list(surfaces.columns[:6]) == TIDY
    owners = {(kernel, results[0].run.id, 3) for kernel, results in stages.items()}
    assert set(zip(surfaces.kernel, surfaces["run"], surfaces.seed, strict=True)) == owners


# Curvature.


def hessian(model, params):
    """All second derivatives of the loss on the first image."""
    leaves = [leaf.clone().requires_grad_() for leaf in params.values()]
    risk = loss(model, dict(zip(params, leaves, strict=True)), count=1)
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(risk, leaves, create_graph=True)])
    rows = []
    for some in torch.eye(len(slope), dtype=torch.float64).split(70):
        options: Any = {"retain_graph": True, "is_grads_batched": True}
        parts = torch.autograd.grad(slope, leaves, some, **options)
        rows.append(torch.cat([part.reshape(len(some), -1) for part in parts], dim=1))
    return torch.cat(rows)


@pytest.fixture(scope="module")
def curvature(stages):
    return kernels.curvature(TINY, stages)


@pytest.mark.parametrize("kernel", STAGE_TWO)
def test_the_eigenvalues_are_those_of_the_dense_hessian(stages, kernel):
    one, each = replace(TINY, land_samples=1), stages[kernel][1]
    at_end = replace(each, steps=(5,), params={k: leaf[-1:] for k, leaf in each.params.items()})
    table = kernels.curvature(one, {kernel: [at_end]})
    found = of(table, "rank", quantity="eigenvalue")
    residuals = of(table, "rank", quantity="residual")
    exact = torch.linalg.eigvalsh(hessian(each.run.model, doubled(each.final))).flip(0)
    for rank in range(3):
        assert residuals[rank,] <= 1e-3 * exact.abs().max()
        assert abs(found[rank,] - exact[rank]) <= residuals[rank,] + 1e-12
    assert exact[0] > exact[1] > exact[2] > 0


def test_the_spectrum_is_known_at_every_snapshot_of_every_run(curvature, stages):
    assert list(curvature.columns[:6]) == TIDY
    owners = {(k, each.run.id, each.run.seed) for k, results in stages.items() for each in results}
    for kernel, run, seed in owners:
        own = curvature[(curvature.kernel == kernel) & (curvature.seed == seed)]
        assert set(own["run"]) == {run}
        values = of(own, "step", "rank", quantity="eigenvalue")
        assert set(values) == {(step, rank) for step in STEPS for rank in range(3)}
        residuals = of(own, "step", "rank", quantity="residual")
        assert set(residuals) == set(values)
        for step in STEPS:
            assert values[step, 0] > values[step, 1] > values[step, 2]
            assert 0 <= residuals[step, 0] < 0.1 * values[step, 0]


def test_the_loss_beside_the_spectrum_is_on_the_same_samples(curvature, stages):
    for kernel, results in stages.items():
        for each in results:
            where = {"kernel": kernel, "seed": each.run.seed}
            found = of(curvature, "step", quantity="loss", **where)
            for step in STEPS:
                expected = float(loss(each.run.model, doubled(each.at(step))))
                assert found[step,] == pytest.approx(expected, rel=1e-10)


# Variation.


def test_variation_is_the_difference_of_gradients_over_the_length_of_each_piece(stages):
    table = kernels.variation(TINY, stages)
    assert list(table.columns[:6]) == TIDY
    for kernel, results in stages.items():
        for each in results:
            start, end, model = doubled(each.at(0)), doubled(each.final), each.run.model
            slopes = []
            for t in (0, 0.5, 1):
                point = {name: (1 - t) * leaf + t * end[name] for name, leaf in start.items()}
                slopes.append(gradient(model, point))
            length = (flat(end) - flat(start)).norm() / 2
            expected = {
                (t,): ((after - before).norm() / length).item()
                for t, before, after in zip((0.25, 0.75), slopes, slopes[1:], strict=False)
            }
            where = {"kernel": kernel, "seed": each.run.seed, "run": each.run.id}
            found = of(table, "at", quantity="variation", **where)
            assert found == pytest.approx(expected, rel=1e-6)
            assert math.isfinite(sum(found.values()))
    assert set(table.seed) == set(SEEDS)
