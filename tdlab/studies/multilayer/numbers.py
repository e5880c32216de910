"""What is measured on a prompt of either kind: where heads look, and how wrong the answer is."""

from torch import Tensor

from synthetic_tasks import Batch, icl
from synthetic_tasks.task import World
from tdlab.losses import hinge, squared, zero_one
from tdlab.models import Params, Transformer, over_prompts
from tdlab.probes import concentration, nearest
from tdlab.studies.evaluation import Measure


def of_model(model: Transformer) -> Measure:
    """Loss and error of each prompt, and the concentration of each head (layer, head, prompt)."""

    def measure(params: Params, world: World, batch: Batch) -> dict[str, Tensor]:
        trace = over_prompts(model, params, batch)
        # Of the query, over the columns before it; heads come before prompts.
        looks = trace.attention[..., -1, :-1].movedim(0, -2)
        return {
            "concentration": concentration(looks, batch.latent.relevant),
            **wrong(trace.output, world, batch),
        }

    return measure


def wrong(output: Tensor, world: World, batch: Batch) -> dict[str, Tensor]:
    """Loss and error of each answer: a wrong class, or another pattern than the right one."""
    if isinstance(batch.latent, icl.Latent):
        return {
            "loss": hinge(output, batch.target),
            "error": zero_one(output, batch.target),
        }
    found, right = (nearest(each, world.patterns) for each in (output, batch.target))
    return {
        "loss": squared(output, batch.target),
        "error": (found != right).to(output.dtype),
    }
