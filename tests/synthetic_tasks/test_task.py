from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

from synthetic_tasks import Batch, InContextClassification, OutOfDomain, Task, sample
from synthetic_tasks.icl import Latent
from synthetic_tasks.task import cast
from synthetic_tasks.threefry import STREAMS, fold, stream, uniforms

TASK = InContextClassification(relevant=4, irrelevant=5, label_width=3, length=7, alpha=0.6)
SHIFTED = OutOfDomain(trained=InContextClassification(irrelevant=8))


class Scale(NamedTuple):
    factor: Tensor
    whole: Tensor
    yes: Tensor


class Echo:
    """A task of someone else: it shows its uniforms, scaled by what its member keeps for life."""

    revision: ClassVar[int] = 1
    token_width = 1
    columns = 3
    uniforms = 3
    balance = 2

    def world(self, key: Tensor) -> Scale:
        return Scale(uniforms(key, (1,), torch.float64)[0], torch.tensor(2), torch.tensor(True))

    def draw(self, world: Scale, uniforms: Tensor) -> Batch:
        prompt = (world.factor * uniforms)[:, :, None]
        return Batch(prompt, torch.ones_like(prompt[..., 0], dtype=torch.bool), uniforms[:, 0], ())


def assert_equal(one: Batch, other: Batch) -> None:
    flat = [[*batch[:3], *batch.latent] for batch in (one, other)]
    assert all(a.equal(b) for a, b in zip(*flat, strict=True))


@pytest.mark.parametrize("task", [TASK, SHIFTED, Echo()], ids=type)
def test_a_task_is_what_has_the_members_of_the_protocol(task):
    assert isinstance(task, Task)


MEMBERS = ["revision", "token_width", "columns", "uniforms", "balance", "world", "draw"]


@pytest.mark.parametrize("missing", MEMBERS)
def test_what_lacks_one_of_them_is_no_task(missing):
    names: dict[str, Any] = {**dict.fromkeys(MEMBERS, 1), "world": len, "draw": len}
    assert isinstance(type("Own", (), names)(), Task)
    assert not isinstance(type("Own", (), {k: v for k, v in names.items() if k != missing})(), Task)


@pytest.mark.parametrize("task", [TASK, SHIFTED, Echo()], ids=type)
def test_a_token_of_a_prompt_has_token_width_entries(task):
    assert sample(task, seed=0, size=2).prompt.shape[-1] == task.token_width


def test_a_sample_is_world_and_uniforms_of_seed_stream_and_step_put_through_draw():
    block = uniforms(fold(stream(9, "train"), 5), (6, 3), torch.float64)
    factor = uniforms(stream(9, "world"), (1,), torch.float64)
    batch = sample(Echo(), seed=9, size=6, step=5, name="train", dtype=torch.float64)
    assert batch.prompt[:, :, 0].equal(factor * block)
    assert batch.target.equal(block[:, 0])


def test_a_sample_is_the_same_each_time_and_leaves_torchs_own_generator_alone():
    before = torch.get_rng_state()
    batch = sample(TASK, seed=3, size=8)
    assert before.equal(torch.get_rng_state())
    torch.rand(1)
    assert_equal(batch, sample(TASK, seed=3, size=8))
    assert_equal(batch, sample(TASK, seed=3, size=8, step=0, name="evaluation"))


def test_seeds_streams_and_steps_give_different_prompts():
    others: list[dict[str, Any]] = [{"seed": 4}, {"step": 1}, {"step": 2}]
    others += [{"name": name} for name in STREAMS if name != "evaluation"]
    base: dict[str, Any] = {"seed": 3, "size": 8}
    drawn = [sample(TASK, **(base | other)).prompt for other in [{}, *others]]
    assert not any(a.equal(b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_streams_and_steps_of_a_seed_share_its_world():
    # The query's label slot is empty; an example's is +-q, the member's label vector.
    def label_vector(**place: Any) -> Tensor:
        batch = sample(TASK, seed=3, size=1, **place)
        return batch.prompt[0, 0, TASK.width :] * batch.latent.label[0, 0]

    assert label_vector().equal(label_vector(step=7))
    assert label_vector().equal(label_vector(name="train"))


def test_the_first_prompts_of_many_are_those_of_few():
    few, many = sample(TASK, seed=3, size=5), sample(TASK, seed=3, size=40)
    first = many._replace(
        prompt=many.prompt[:5],
        mask=many.mask[:5],
        target=many.target[:5],
        latent=Latent(*(part[:5] for part in many.latent)),
    )
    assert_equal(few, first)


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-3, ValueError), (True, TypeError), (2.5, TypeError)]
)
def test_a_sample_of_no_size_is_refused(size, error):
    with pytest.raises(error, match=r"size") as caught:
        sample(TASK, seed=3, size=size)
    assert caught.type is error or "size" in str(caught.value)


def test_a_sample_has_the_precision_asked_for():
    assert sample(TASK, seed=3, size=2).prompt.dtype == torch.float32
    batch = sample(TASK, seed=3, size=2, dtype=torch.float64)
    assert batch.prompt.dtype == batch.target.dtype == batch.latent.label.dtype == torch.float64


def test_casting_changes_floats_and_nothing_else():
    world = cast(Echo().world(stream(0, "world")), torch.float32)
    assert isinstance(world, Scale)
    assert [leaf.dtype for leaf in world] == [torch.float32, torch.int64, torch.bool]
    assert world.factor == Echo().world(stream(0, "world")).factor.float()


class Loose(NamedTuple):
    number: Any


@pytest.mark.parametrize("world", [(torch.zeros(2),), Loose(0.5), {"number": torch.zeros(2)}])
def test_a_world_that_is_no_named_tuple_of_tensors_is_refused(world):
    with pytest.raises(TypeError, match=r"^a world is .*, but must be a named tuple of tensors$"):
        cast(world, torch.float32)


def test_a_batch_prints_its_shapes_and_what_is_hidden():
    task = InContextClassification(length=4)
    assert repr(sample(task, seed=0, size=3)) == (
        "<batch: prompt (3, 5, 60), mask (3, 5), target (3,); "
        "latent task, pattern, label, relevant>"
    )
