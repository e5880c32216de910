"""What is seen of a run is what a plain loop over its snapshots and prompts finds."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from synthetic_tasks import sample
from tdlab.exploration import seen as module
from tdlab.exploration.seen import Seen
from tdlab.run import Run
from tdlab.studies import icl
from tests.tdlab.exploration.runs import CHAIN, DIVERGING, GPT, ONE_LAYER, REGRESSION
from tests.tdlab.runs import TASK, anew

KINDS = [ONE_LAYER, CHAIN, GPT, REGRESSION]


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 9)


@cache
def seen(run: Run) -> Seen:
    return Seen(anew([run])[0])


def shaped(table: pd.DataFrame, *axes: str) -> np.ndarray:
    """The values as an array with these axes, whatever the order of the rows."""
    return table.set_index(list(axes)).value.unstack().to_numpy()


def last_token(run: Run, step: int, prompt: int) -> np.ndarray:
    """Head, column: one forward pass of one prompt."""
    its = seen(run)
    params = its.trained.at(int(step))
    trace = run.model.forward(params, its.batch.prompt[prompt], its.batch.mask[prompt])
    rows = trace.attention if trace.attention.ndim == 1 else trace.attention[..., -1, :]
    return rows.reshape(-1, rows.shape[-1]).numpy()


@pytest.mark.parametrize("run", KINDS, ids=lambda run: type(run.model).__name__)
@pytest.mark.parametrize("prompt", [0, 2])
def test_attention_is_that_of_one_forward_pass_at_each_snapshot(run, prompt):
    table = seen(run).attention(prompt)
    assert table.step.unique().tolist() == list(seen(run).steps)
    for step, rows in table.groupby("step"):
        expected = last_token(run, step, prompt)
        found = rows.value.to_numpy().reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert rows.column.tolist() == list(range(1, expected.shape[1] + 1)) * len(expected)


@pytest.mark.parametrize("run", [ONE_LAYER, CHAIN, GPT], ids=lambda run: type(run.model).__name__)
def test_concentration_is_the_mass_on_relevant_columns_mean_over_prompts(run):
    table, its = seen(run).concentration, seen(run)
    assert table is not None
    for step, rows in table.groupby("step"):
        mass = []
        for prompt in range(len(its.batch.target)):
            latent = its.batch.latent
            if run is CHAIN:
                column = (latent.step, latent.pattern)
                same = [each[prompt, :-1] == each[prompt, -1] for each in column]
                relevant = same[0] & same[1]
            else:
                relevant = latent.relevant[prompt]
            looks = last_token(run, step, prompt)
            mass.append(looks[:, : len(relevant)][:, relevant.numpy()].sum(1))
        np.testing.assert_allclose(rows.value.to_numpy(), np.mean(mass, axis=0), rtol=1e-12)


def test_prompts_are_those_of_the_runs_own_evaluation_stream():
    its = seen(ONE_LAYER)
    expected = sample(ONE_LAYER.task, seed=ONE_LAYER.seed, size=9, dtype=torch.float64)
    assert its.batch.prompt.equal(expected.prompt)
    assert len(seen(CHAIN).batch.target) == 16  # balanced: a multiple of K M = 8
    assert len(seen(REGRESSION).batch.target) % 3 == 0


def test_columns_are_marked_as_the_task_calls_them_and_a_query_is_not_relevant():
    for run in (ONE_LAYER, GPT):
        table, latent = seen(run).attention(5), seen(run).batch.latent
        (_, first), *_ = table.groupby(["step", "head"])
        marked = first.relevant.tolist()
        assert marked[: TASK.length] == latent.relevant[5].tolist()
        assert marked[TASK.length :] == [False] * (run is GPT)


def test_heads_are_named_by_layer_where_there_are_layers():
    assert seen(ONE_LAYER).attention(0)["head"].unique().tolist() == ["head 1"]
    assert seen(REGRESSION).attention(0)["head"].unique().tolist() == ["head 1", "head 2", "head 3"]
    gpt = seen(GPT).attention(0)["head"].unique().tolist()
    assert gpt == [f"layer {layer}, head {head}" for layer in (1, 2) for head in (1, 2, 3)]


def test_loss_is_the_training_loss_of_every_step_taken():
    table = seen(ONE_LAYER).loss
    assert table.step.tolist() == list(range(10))
    np.testing.assert_array_equal(table.value, seen(ONE_LAYER).trained.loss)
    assert set(table.run) == {ONE_LAYER.id}


def test_neurons_are_those_of_the_study_where_the_model_has_them():
    its = seen(ONE_LAYER)
    pd.testing.assert_frame_equal(its.neurons, icl.neurons([its.trained]))
    assert [seen(run).neurons for run in (CHAIN, GPT, REGRESSION)] == [None] * 3


def test_what_a_task_does_not_say_is_missing():
    assert seen(REGRESSION).concentration is None
    assert seen(REGRESSION).attention(0).relevant.isna().all()


@pytest.mark.filterwarnings("ignore:.*diverged")
def test_of_a_run_that_diverged_there_is_what_was_kept():
    its = seen(DIVERGING)
    assert its.trained.ending.reason == "diverged"
    assert its.neurons is None
    assert its.attention(0).step.max() == its.trained.ending.step
    assert len(its.loss) == its.trained.ending.losses < DIVERGING.steps


def test_prompts_seen_a_few_at_a_time_give_the_same(monkeypatch):
    whole = seen(GPT).attention(7)
    monkeypatch.setattr(module, "_NUMBERS", 5 * GPT.task.columns**2)
    pd.testing.assert_frame_equal(Seen(seen(GPT).trained).attention(7), whole)
