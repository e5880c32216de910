"""On a GPU the same runs draw the same batches and take the same steps, to rounding.

Where there is none the file is skipped; owner: whoever has one.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from synthetic_tasks import FullBatch, InContextClassification, Reasoning, TokenRegression
from synthetic_tasks.threefry import fold, normals, stream, uniforms
from tdlab.models import KernelLayer, OneHead, OneLayer, Params, over_prompts
from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.probes import concentration, entropy
from tdlab.run import Run
from tdlab.schedule import At, Every
from tdlab.studies.evaluation import evaluate
from tdlab.studies.prompts import prompts
from tdlab.train import Training
from tdlab.train.engine import Engine
from tdlab.train.ensemble import chance, data, draw
from tdlab.trajectory import Ending, final
from tests.tdlab.runs import anew

DEVICE = "cuda"
GPU, CPU = torch.device(DEVICE), torch.device("cpu")
STEPS = 20

pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="torch sees no GPU here"
)

ICL = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7)
LAYER = OneLayer(width=9, label_width=3, neurons=6, query_width=8, value_width=10, xi=0.3)
POOL = TokenRegression(samples=6, tokens=3, width=5)
ONE_LAYER = Run(
    task=ICL, model=LAYER, batch=9, dtype="float64", steps=STEPS, snapshots=Every(stride=5)
)
KERNEL_LAYER = replace(
    ONE_LAYER,
    task=POOL,
    model=KernelLayer(width=5, heads=2),
    loss="token_squared",
    batch=4,
    optimiser=SGD(lr=0.01),
)
RUNS = {
    "one layer": ONE_LAYER,
    "one head": replace(
        ONE_LAYER,
        task=Reasoning(width=9, patterns=4, steps=2, length=3),
        model=OneHead(width=9, xi=0.3),
        loss="squared",
        batch=16,
    ),
    "kernel layer": KERNEL_LAYER,
    "kernel layer, full batch": replace(
        KERNEL_LAYER, task=FullBatch(of=POOL), batch=6, optimiser=Backtracking()
    ),
    "in tokens, with Adam": replace(ONE_LAYER, optimiser=Adam(lr=0.01)),
}
# A step rounds sums of up to a thousand numbers of order 1, by eps each at worst; twenty steps pass
# that on, each enlarging it by less than 1 + lr * curvature, which is 1.1 or so: 2e4 * 7 eps. A
# tenth of it is enough, as roundings rarely agree.
TOLERANCE = {"float64": 1e-9, "float32": 1.5e4 * 2.0**-23}
COMPILED = [("one layer", "float32"), *((name, "float64") for name in list(RUNS)[:3])]
CASES = [
    *((name, dtype, "eager") for name in RUNS for dtype in TOLERANCE),
    *(pytest.param(*case, "compiled", marks=pytest.mark.slow) for case in COMPILED),
]


def ensemble(run: Run) -> list[Run]:
    """Members that differ in their seed and their learning rate."""
    assert isinstance(run.optimiser, SGD | Adam | Backtracking)
    rate = run.optimiser.lr
    return [
        replace(run, seed=seed, optimiser=replace(run.optimiser, lr=rate / (1 + place)))
        for place, seed in enumerate((3, 8, 2**40))
    ]


def on_cpu(item: Any) -> Any:
    return tree_map(Tensor.cpu, item)


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    torch.testing.assert_close(on_cpu(one), on_cpu(other), rtol=0, atol=tolerance, equal_nan=True)


# Chance and data.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chance_has_the_same_bits_on_both_devices(dtype):
    for seed in (0, 7, 2**62 + 1):
        there, here = (fold(stream(seed, "train").to(device), 5) for device in (GPU, CPU))
        assert there.device.type == DEVICE
        assert there.cpu().equal(here)
        one, other = uniforms(there, (50, 7), dtype), uniforms(here, (50, 7), dtype)
        assert one.device.type == DEVICE
        assert one.cpu().equal(other)


def test_normals_are_the_same_to_rounding():
    one, other = (
        normals(stream(3, "world").to(device), (40, 5), torch.float64) for device in (GPU, CPU)
    )
    assert_close(one, other, 1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run.task.uniforms])
def test_members_draw_the_same_batches_on_both_devices(name, dtype):
    runs = [replace(run, dtype=dtype) for run in ensemble(RUNS[name])]
    made = []
    for device in (GPU, CPU):
        its_data, axes = data(runs, device)
        blocks = chance(runs[0])(its_data, torch.tensor([0, 3, 1000], device=device))
        made.append([blocks, *tree_leaves(draw(runs[0], axes)(its_data, blocks))])
        assert {leaf.device.type for leaf in made[-1]} == {device.type}
    for one, other in zip(*made, strict=True):
        assert one.cpu().equal(other)


def test_prompts_of_an_evaluation_are_the_same_on_both_devices():
    runs = ensemble(ONE_LAYER)
    both = [list(prompts(ICL, runs, 40, device)) for device in (GPU, CPU)]
    assert_close(both[0], both[1], 1e-14)


# Training.


def fit(runs: list[Run], device: str, path: str, **settings: Any) -> tuple[Training, list[Params]]:
    training = Training(runs, device=device, path=path, **settings)
    return training, [snapshot.params for snapshot in training]


# torch's own: the second would rather see products in less than single precision.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")
@pytest.mark.parametrize(("name", "dtype", "path"), CASES)
def test_training_is_the_cpus(name, dtype, path, tmp_path, monkeypatch):
    monkeypatch.setenv("TDLAB_CACHE", str(tmp_path))
    runs = [replace(run, dtype=dtype) for run in ensemble(RUNS[name])]
    there, passed = fit(runs, DEVICE, path)
    here, wanted = fit(runs, "cpu", "eager")
    assert {leaf.device.type for leaf in there.params.values()} == {DEVICE}
    assert there.loss.device.type == "cpu"
    assert there.endings == here.endings == [Ending(STEPS, "finished")] * 3
    assert_close(there.loss, here.loss, TOLERANCE[dtype])
    assert_close(passed, wanted, TOLERANCE[dtype])
    for leaf_name, leaf in wanted[-1].items():
        moved = (leaf - wanted[0][leaf_name]).abs().max()
        assert moved > 10 * TOLERANCE[dtype] or leaf_name not in runs[0].moving


@pytest.mark.parametrize("name", ["one layer", "kernel layer"])
def test_a_run_after_another_starts_on_the_gpu(name):
    earlier = ensemble(RUNS[name])
    runs = [replace(run, after=run, steps=5) for run in earlier]
    ways = []
    for device in (DEVICE, "cpu"):
        first, _ = fit(earlier, device, "eager")
        ways.append(fit(runs, device, "eager", start=first.params)[1])
    assert_close(ways[0], ways[1], 1e-9)
    # From parameters that lie on the CPU it starts as well.
    assert_close(fit(runs, DEVICE, "eager", start=first.params)[1], ways[1], 1e-9)


def test_a_member_equals_its_solo_run_to_rounding():
    runs = ensemble(ONE_LAYER)
    together, _ = fit(runs, DEVICE, "eager")
    for place, run in enumerate(runs):
        alone, _ = fit([run], DEVICE, "eager")
        assert_close(alone.loss[0], together.loss[place], 1e-12)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")
@pytest.mark.parametrize("path", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_sweep_of_two_programs_is_the_cpus(path, tmp_path, monkeypatch):
    """Its ensembles run in threads of their own; a result lies on the CPU."""
    monkeypatch.setenv("TDLAB_CACHE", str(tmp_path))
    runs = [*ensemble(ONE_LAYER), *ensemble(RUNS["kernel layer, full batch"])]
    there = anew(runs, device=DEVICE, path=path)
    assert {leaf.device.type for one in there for leaf in tree_leaves(one.params)} == {"cpu"}
    for one, other in zip(there, anew(runs, path="eager"), strict=True):
        assert (one.run, one.steps, one.ending) == (other.run, other.steps, other.ending)
        assert_close(one.params, other.params, 1e-9)
        assert_close(one.loss, other.loss, 1e-9)


# Diverging, observing, stopping.


@pytest.mark.parametrize("lr", [1e4, 1e160])
def test_a_member_diverges_on_the_gpu_as_it_does_on_the_cpu(lr):
    runs = ensemble(replace(ONE_LAYER, snapshots=At(at=(0, STEPS))))
    runs[1] = replace(runs[1], optimiser=SGD(lr=lr))
    both = []
    for device in (DEVICE, "cpu"):
        with pytest.warns(RuntimeWarning, match=f"run {runs[1].id} .* diverged at step"):
            both.append(fit(runs, device, "eager"))
    (there, passed), (here, wanted) = both
    assert there.endings == here.endings
    assert there.endings[1].reason == "diverged"
    assert there.loss.isnan().equal(here.loss.isnan())
    assert all(leaf.isfinite().all() for leaf in passed[-1].values())
    assert_close(there.loss[::2], here.loss[::2], 1e-9)
    for name, leaf in passed[-1].items():
        assert_close(leaf[::2], wanted[-1][name][::2], 1e-9)


@pytest.mark.parametrize("where", [DEVICE, "cpu"])
def test_observe_sees_the_members_and_stops_them_wherever_its_answer_lies(where):
    seen: list[str] = []

    def observe(step: int, params: Params) -> Mapping[str, Tensor]:
        seen.append(params["W_O"].device.type)
        enough = torch.tensor([step >= 5, step >= 10, False], device=where)
        return {"norm": params["W_O"].norm(dim=(1, 2)), "stop": enough}

    runs = ensemble(ONE_LAYER)
    there, passed = fit(runs, DEVICE, "eager", observe=observe)
    assert set(seen) == {DEVICE}
    assert there.endings == [
        Ending(5, "observed"),
        Ending(10, "observed"),
        Ending(STEPS, "finished"),
    ]
    free, whole = fit(runs, "cpu", "eager")
    assert there.loss.isfinite().sum(1).tolist() == [5, 10, STEPS]
    assert there.loss[0, :5].allclose(free.loss[0, :5])
    for place, step in enumerate((5, 10, STEPS)):  # a snapshot every five steps
        for name, leaf in passed[-1].items():
            assert_close(leaf[place], whole[step // 5][name][place], 1e-9)
    for step, numbers in there.observed.items():
        frozen = [whole[min(step, its) // 5]["W_O"][i] for i, its in enumerate((5, 10, STEPS))]
        assert_close(numbers["norm"], torch.stack([leaf.norm() for leaf in frozen]), 1e-9)


def test_a_training_that_is_interrupted_ends_on_the_gpu():
    stop = Event()
    training = Training(ensemble(ONE_LAYER), device=DEVICE, path="eager", stop=stop)
    for snapshot in training:
        if snapshot.step == 5:
            stop.set()
    assert training.loss.isfinite().sum(1).tolist() == [5, 5, 5]
    assert {leaf.device.type for leaf in training.params.values()} == {DEVICE}


# Measuring.


def measures(trace: Any, batch: Any) -> dict[str, Tensor]:
    return {
        "output": trace.output,
        "concentration": concentration(trace.attention, batch.latent.relevant),
        "entropy": entropy(trace.attention),
    }


def test_probes_and_evaluation_on_a_gpus_results_are_the_cpus():
    runs = ensemble(ONE_LAYER)
    both = []
    for device in (DEVICE, "cpu"):
        params = Engine(runs, torch.device(device), "eager").members.params
        tasks = [replace(ICL, length=12)]
        both.append(evaluate(runs, [params], tasks, 30, measures))
    assert {leaf.device.type for leaf in both[0].values()} == {"cpu"}
    assert_close(both[0], both[1], 1e-12)
    assert all(math.isfinite(leaf.sum()) and leaf.std() > 0 for leaf in both[0].values())


def test_what_a_sweep_on_the_gpu_hands_out_is_evaluated_as_it_is():
    runs = ensemble(ONE_LAYER)
    both = [
        evaluate(runs, [final(anew(runs, device=device))], [ICL], 30, measures)
        for device in (DEVICE, "cpu")
    ]
    assert_close(both[0], both[1], 1e-9)


@pytest.mark.parametrize("name", ["one head", "kernel layer"])
def test_a_trace_of_a_model_is_the_cpus(name):
    run = RUNS[name]
    params = run.model.init(stream(3, "init"))
    block = uniforms(stream(3, "probe"), (run.batch, run.task.uniforms), torch.float64)
    batch = run.task.draw(run.task.world(stream(3, "world")), block)
    there = tree_map(lambda leaf: leaf.to(GPU), (params, batch))
    made = over_prompts(run.model, *there)
    assert made.output.device.type == DEVICE
    assert_close(made, over_prompts(run.model, params, batch), 1e-12)
