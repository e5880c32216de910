"""Risk under distribution shift: mixed patterns in context, noise along a chain of thought."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import pad

from synthetic_tasks import Batch, NoisyReasoning, OutOfDomain
from synthetic_tasks.noisy_cot import NoisyWorld
from synthetic_tasks.transitions import noiseless
from tdlab.models import Params, Transformer
from tdlab.models.transformer import Trace
from tdlab.probes import chain_of_thought, mistakes
from tdlab.results import tidy
from tdlab.studies.evaluation import Measure, measured, members
from tdlab.studies.multilayer.dynamics import of_heads
from tdlab.studies.multilayer.numbers import of_model
from tdlab.studies.multilayer.setting import CHAIN, IN_CONTEXT, Setting
from tdlab.trajectory import Trained, final

# Grids (ours), across the theorem's threshold, and up to the bound on noise.
COEFFICIENT_SUMS = (0.5, 0.7, 0.9, 1.1, 1.3)
NOISES = (0.0, 0.2, 0.4, 0.6, 0.7)
TEST_PATTERNS = 10  # M' of the paper


def shift(setting: Setting, results: Mapping[str, Sequence[Trained]]) -> pd.DataFrame:
    """Error, and concentration in context, on prompts unlike those of training.

    In context against the coefficient sum S_1 of patterns mixed in pairs drawn for each seed; along
    greedy chains of thought (the share of wrong steps) against the noise of test patterns.

    Returns:
        A tidy table with columns ``kind``, ``varied`` (coefficient_sum, noise), ``at``, and for the
        concentration ``layer`` and ``head``.
    """
    return pd.concat(
        [_mixed(setting, results[IN_CONTEXT]), _noisy(setting, results[CHAIN])], ignore_index=True
    )


def _mixed(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    runs = [result.run for result in results]
    trained = setting.in_context()
    tasks = [OutOfDomain(trained=trained, coefficient_sum=at) for at in COEFFICIENT_SUMS]
    measure = of_model(setting.model(IN_CONTEXT))
    numbers = measured(runs, [final(results)], tasks, setting.prompts, measure)
    axes, places = of_heads(setting)
    shared = {"source": "measured", "step": runs[0].steps, "kind": IN_CONTEXT, **members(runs)}
    shared |= {"varied": "coefficient_sum", "at": COEFFICIENT_SUMS}
    mean = {name: each[0].mean(-1) for name, each in numbers.items()}
    tables = [tidy(name, mean[name], "at member", **shared) for name in ("loss", "error")]
    tables.append(
        tidy("concentration", mean["concentration"], f"at member {axes}", **shared, **places)
    )
    return pd.concat(tables)


def _noisy(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    runs, trained = [result.run for result in results], setting.chain
    tables = []
    for noise in NOISES:
        task = NoisyReasoning(
            trained=trained,
            transitions=noiseless(trained.steps, TEST_PATTERNS),
            length=trained.length,
            noise=noise,
        )
        measure = _wrong_steps(setting.model(CHAIN))
        numbers = measured(runs, [final(results)], [task], setting.prompts, measure)
        shared = {"source": "measured", "step": runs[0].steps, "kind": CHAIN, **members(runs)}
        error = numbers["error"][0, 0].mean(-1)
        tables.append(tidy("error", error, "member", varied="noise", at=noise, **shared))
    return pd.concat(tables)


def _wrong_steps(model: Transformer) -> Measure:
    def measure(params: Params, world: NoisyWorld, batch: Batch) -> dict[str, Tensor]:
        def answer(context: Tensor, chain: Tensor, mask: Tensor) -> Trace:
            # As in training, the query is the last of all columns and padding stands before its
            # chain: positions are learned.
            gap = model.columns - len(context) - len(chain)
            prompt = torch.cat([pad(context, (0, 0, 0, gap)), chain])
            there = torch.cat([pad(mask, (0, gap)), mask.new_ones(len(chain))])
            return model.forward(params, prompt, there)

        def one(prompt: Tensor, mask: Tensor) -> Tensor:
            return chain_of_thought(
                answer, prompt[:-1], prompt[-1], mask[:-1], world.patterns, world.codes
            ).patterns

        chosen = vmap(one)(batch.prompt, batch.mask)
        return {"error": mistakes(chosen, batch.latent.chain[:, 1:]).mean(-1)}

    return measure
