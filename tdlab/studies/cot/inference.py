"""Errors on test prompts against the number of examples: chain of thought, and in context.

All lengths of a curve see the same prompts, of which the shorter ones show the first examples.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor
from torch.func import vmap

from synthetic_tasks import Batch, NoisyReasoning
from synthetic_tasks.noisy_cot import NoisyWorld
from tdlab.models import Head, Params
from tdlab.probes import chain_of_thought, final_outputs_only, in_context, mistakes
from tdlab.results import tidy
from tdlab.run import Run
from tdlab.studies.cot.setting import Setting
from tdlab.studies.evaluation import Measure, measured, members
from tdlab.theory import li2025
from tdlab.trajectory import Trained, final

CHAIN, IN_CONTEXT = INFERENCES = ("chain of thought", "in context")
MEAN, FINAL = "mean over steps", "final answer"


def chain_errors(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Error of the chain of thought for grids of alpha', tau and rho; Condition 1 holds.

    Theory rows: the bound on the error of a vote (``error_bound``), the limit of the error at the
    longest prompt, and the theorem's number of examples, with one for its constant
    (``length_bound``).

    Returns:
        A tidy table as of ``errors``, with columns ``varied`` (alpha, tau or rho) and ``at`` (its
        value).
    """
    return _grids(setting, results, setting.chain_grids, CHAIN)


def in_context_errors(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Error of in-context inference for grids of alpha', tau_o and rho_o; Condition 1 holds.

    Theory rows: as for the chain, with tau_o and rho_o.

    Returns:
        A tidy table as of ``errors``, with columns ``varied`` (alpha, tau_o or rho_o) and ``at``.
    """
    return _grids(setting, results, setting.outcome_grids, IN_CONTEXT)


def conditions(setting: Setting, results: Sequence[Trained]) -> pd.DataFrame:
    """Both errors on the same prompts, where Condition 1 holds and where it fails.

    Returns:
        A tidy table as of ``errors``, with column ``condition_1`` (holds, fails).
    """
    kinds = (setting.chain_noise, setting.failing_noise)
    tables = errors_on(setting, results, [setting.test(noise) for noise in kinds])
    return pd.concat(
        [
            table.assign(condition_1="holds" if noise.condition_1 else "fails")
            for noise, table in zip(kinds, tables, strict=True)
        ],
        ignore_index=True,
    )


def errors(
    setting: Setting,
    results: Sequence[Trained],
    task: NoisyReasoning,
    inferences: tuple[str, ...] = INFERENCES,
) -> pd.DataFrame:
    """Error on prompts of ``task`` with the first 10, 20, ... of their examples.

    Returns:
        A tidy table with columns ``length``, ``inference`` (chain of thought, in context), and
        ``output``: what is wrong, ``step 1`` .. ``step K``, their ``mean over steps``, or the
        ``final answer``.
    """
    return errors_on(setting, results, [task], inferences)[0]


def errors_on(
    setting: Setting,
    results: Sequence[Trained],
    tasks: Sequence[NoisyReasoning],
    inferences: tuple[str, ...] = INFERENCES,
) -> list[pd.DataFrame]:
    """As ``errors``, of tasks of one length: where they share noise, it is drawn once.

    Returns:
        The table of each task.
    """
    runs = [result.run for result in results]
    lengths = [length for length in setting.lengths if length <= tasks[0].length]
    measure = _measure(head_of(results), inferences, lengths)
    numbers = measured(runs, [final(results)], tasks, setting.prompts, measure)
    # In double precision: a share of mistakes is then the fraction that a limit may be equal to.
    means = {name: each[0].double().mean(-1) for name, each in numbers.items()}
    return [
        _tidied(runs, lengths, {name: mean[place] for name, mean in means.items()})
        for place in range(len(tasks))
    ]


def _tidied(
    runs: Sequence[Run], lengths: Sequence[int], means: Mapping[str, Tensor]
) -> pd.DataFrame:
    outputs = {}
    if CHAIN in means:
        steps = means[CHAIN]  # (member, length, step)
        outputs[CHAIN, MEAN] = steps.mean(-1)
        for k in range(steps.shape[-1]):
            outputs[CHAIN, f"step {k + 1}"] = steps[..., k]
        outputs[CHAIN, FINAL] = steps[..., -1]
    if IN_CONTEXT in means:
        outputs[IN_CONTEXT, FINAL] = means[IN_CONTEXT]
    return pd.concat(
        [
            tidy(
                "error",
                error,
                "member length",
                source="measured",
                step=runs[0].steps,
                length=lengths,
                inference=inference,
                output=output,
                **members(runs),
            )
            for (inference, output), error in outputs.items()
        ],
        ignore_index=True,
    )


def _grids(
    setting: Setting,
    results: Sequence[Trained],
    grids: Mapping[str, Mapping[float, NoisyReasoning]],
    inference: str,
) -> pd.DataFrame:
    """One curve for each task; a task that stands in several grids is measured once."""
    every = list(dict.fromkeys(task for tasks in grids.values() for task in tasks.values()))
    found = dict(zip(every, errors_on(setting, results, every, (inference,)), strict=True))
    tables = []
    for varied, tasks in grids.items():
        for at, task in tasks.items():
            predicted = _predictions(setting, task, inference)
            tables.append(pd.concat([found[task], predicted]).assign(varied=varied, at=at))
    return pd.concat(tables, ignore_index=True)


def _predictions(setting: Setting, task: NoisyReasoning, inference: str) -> pd.DataFrame:
    noise = task.transitions
    tau, rho = (noise.tau, noise.rho) if inference == CHAIN else (noise.tau_o, noise.rho_o)
    bounds = [
        li2025.bound_vote_error(length, task.alpha, tau, rho, task.patterns)
        for length in setting.lengths
    ]
    output = MEAN if inference == CHAIN else FINAL
    tidied = partial(tidy, source="theory", step=setting.steps, inference=inference, output=output)
    bound = tidied("error_bound", torch.tensor(bounds), "length", length=setting.lengths)
    limit = tidied("error", li2025.limit_error(), "", length=max(setting.lengths))
    needed = tidied("length_bound", li2025.bound_test_length(task.alpha, tau, rho), "")
    return pd.concat([bound, limit, needed])


def head_of(results: Sequence[Trained]) -> Head:
    """The model of these results. Raises ``TypeError`` unless it answers prompts in two parts."""
    model = results[0].run.model
    if not isinstance(model, Head):
        raise TypeError(f"the model is {model!r}, but must be one with a method `answer`")
    return model


def _measure(head: Head, inferences: tuple[str, ...], lengths: Sequence[int]) -> Measure:
    def measure(params: Params, world: NoisyWorld, batch: Batch) -> dict[str, Tensor]:
        def answer(context: Tensor, chain: Tensor, mask: Tensor) -> object:
            return head.answer(params, context, chain, mask)

        codes, dictionary = world.codes, world.patterns
        count = (batch.prompt.shape[-2] - 1) // len(codes)
        example = torch.arange(count, device=codes.device).repeat_interleave(len(codes))
        masks = example < torch.tensor(lengths, device=codes.device)[:, None]

        def chains(prompt: Tensor) -> Tensor:
            def one(mask: Tensor) -> Tensor:
                context, query = prompt[:-1], prompt[-1]
                return chain_of_thought(answer, context, query, mask, dictionary, codes).patterns

            return vmap(one)(masks)

        def answers(prompt: Tensor) -> Tensor:
            context, query = final_outputs_only(prompt[:-1], codes), prompt[-1]
            return vmap(lambda mask: in_context(answer, context, query, mask, dictionary))(masks)

        # Axes prompt, length, and step for chains; the prompt goes last.
        truth = batch.latent.chain
        found = {}
        if CHAIN in inferences:
            wrong = mistakes(vmap(chains)(batch.prompt), truth[:, None, 1:])
            found[CHAIN] = wrong.movedim(0, -1)
        if IN_CONTEXT in inferences:
            wrong = mistakes(vmap(answers)(batch.prompt)[..., None], truth[:, None, -1:])
            found[IN_CONTEXT] = wrong[..., 0].movedim(0, -1)
        return found

    return measure
