"""Where attention goes at every step of a chain of thought."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import Batch, NoisyReasoning
from synthetic_tasks.noisy_cot import NoisyWorld
from synthetic_tasks.transitions import noiseless
from tdlab.models import Head, Params
from tdlab.probes import by_step_and_pattern, chain_of_thought, mistakes
from tdlab.results import tidy
from tdlab.studies.cot.dynamics import PLACES
from tdlab.studies.cot.inference import head_of
from tdlab.studies.cot.setting import Setting
from tdlab.studies.evaluation import Measure, measured, members
from tdlab.theory import li2025
from tdlab.trajectory import Trained, final

MIXED = 0.6  # (ours) the part in the span of the trained patterns, where prompts leave it


def attention(
    setting: Setting, results: Sequence[Trained], wide: Sequence[Trained]
) -> pd.DataFrame:
    """Attention mass and mistakes at each step of the chain, by the kind of prompt.

    ``clean``: test patterns in the span of the trained ones, right steps; ``noisy``: wrong steps
    and noise as well; ``out of domain``: clean, but patterns with a part outside the span, for the
    ``wide`` runs.

    Returns:
        A tidy table with columns ``prompts`` (the kind), ``output`` (1 .. K, the step of the chain)
        and, for a ``mass``, ``place`` (a key of ``PLACES``).
    """
    clean = setting.test(
        noiseless(setting.chain, setting.test_patterns), noise=0.0, length=setting.length
    )
    noisy = setting.test(setting.chain_noise, length=setting.length)
    outside = setting.shifted(MIXED, 0.0)
    kinds = {
        "clean": (results, clean),
        "noisy": (results, noisy),
        "out of domain": (
            wide,
            setting.test(
                outside.transitions,
                trained=outside.trained,
                component=MIXED,
                noise=0.0,
                length=setting.length,
            ),
        ),
    }
    tables = [
        along_chain(setting, its, task).assign(prompts=kind) for kind, (its, task) in kinds.items()
    ]
    limit = [
        tidy(
            "mass",
            torch.full((setting.chain,), li2025.limit_mass()),
            "output",
            source="theory",
            step=setting.steps,
            output=range(1, setting.chain + 1),
            place="same step, same pattern",
        ).assign(prompts=kind)
        for kind in kinds
    ]
    return pd.concat([*tables, *limit], ignore_index=True)


def along_chain(setting: Setting, results: Sequence[Trained], task: NoisyReasoning) -> pd.DataFrame:
    """Attention mass by place, and the share of mistakes, at each step of greedy chains.

    Returns:
        A tidy table with columns ``output`` (1 .. K) and ``place``.
    """
    return along_chains(setting, results, [task])[0]


def along_chains(
    setting: Setting, results: Sequence[Trained], tasks: Sequence[NoisyReasoning]
) -> list[pd.DataFrame]:
    """The table ``along_chain`` of each of these tasks."""
    runs = [result.run for result in results]
    measure = _measure(head_of(results))
    numbers = measured(runs, [final(results)], tasks, setting.prompts, measure)
    means = {name: each[0].mean(-1) for name, each in numbers.items()}
    shared = {"source": "measured", "step": runs[0].steps, **members(runs)}
    tables = []
    for place, task in enumerate(tasks):
        its = shared | {"output": range(1, task.steps + 1)}
        masses = [
            tidy("mass", means[name][place], "member output", place=name, **its) for name in PLACES
        ]
        error = tidy("error", means["error"][place], "member output", **its)
        tables.append(pd.concat([error, *masses], ignore_index=True))
    return tables


def _measure(head: Head) -> Measure:
    def measure(params: Params, world: NoisyWorld, batch: Batch) -> dict[str, Tensor]:
        def answer(context: Tensor, chain: Tensor, mask: Tensor) -> object:
            return head.answer(params, context, chain, mask)

        def one(prompt: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
            chain = chain_of_thought(
                answer, prompt[:-1], prompt[-1], mask[:-1], world.patterns, world.codes
            )
            return chain.patterns, chain.attention

        chosen, looked = vmap(one)(batch.prompt, batch.mask)  # (prompt, step), then columns
        latent, steps = batch.latent, torch.arange(len(world.codes), device=looked.device)
        # Step k asks from z_0 or v_{k-1}; the chain's own columns hold the same patterns.
        asked = torch.cat([latent.chain[:, :1], chosen[:, :-1]], dim=1)
        pattern = torch.cat([latent.pattern[:, :-1], asked[:, :-1]], dim=1)
        step = torch.cat([latent.step[:, :-1], steps[:-1].expand_as(asked[:, :-1])], dim=1)
        masses = by_step_and_pattern(
            looked, step[:, None] == steps[:, None], pattern[:, None] == asked[..., None]
        )
        found = {
            place: masses[..., int(same_step), int(same_pattern)].T
            for place, (same_step, same_pattern) in PLACES.items()
        }
        return {"error": mistakes(chosen, latent.chain[:, 1:]).T, **found}

    return measure
