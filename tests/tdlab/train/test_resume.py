"""A training that is interrupted and gone on with ends as one that never was."""

import threading
from dataclasses import replace

import pytest

from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.run import Run
from tdlab.schedule import At, Every, LogSpaced
from tdlab.store import Disk, Memory
from tdlab.sweep import job, train, trained
from tdlab.train import Training, training
from tdlab.trajectory import Ending, Trained
from tests.tdlab.members import MEMBERS
from tests.tdlab.runs import LAYER, RUN, WILD, anew, assert_same, different


def stopped_at(step: int, runs: list[Run]) -> Training:
    """A training that somebody interrupts after so many steps."""
    stop = threading.Event()

    def observe(now, _):
        if now == step:
            stop.set()
        return {}

    training = Training(runs, stop=stop, path="eager", observe=observe, observe_at=At(at=(step,)))
    list(training)
    return training


@pytest.mark.parametrize("optimiser", [SGD(lr=0.3), Adam(lr=0.05), Backtracking()])
@pytest.mark.parametrize("step", [1, 4, 7, 11])
def test_a_training_that_resumes_has_the_bits_of_one_that_was_never_interrupted(optimiser, step):
    resumes_with_the_same_bits(optimiser, "eager", step)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", [SGD(lr=0.3), Adam(lr=0.05)])
def test_so_has_one_that_is_compiled(optimiser):
    resumes_with_the_same_bits(optimiser, "compiled", 7)


def resumes_with_the_same_bits(optimiser, path, step):
    runs = [replace(run, optimiser=optimiser, snapshots=At(at=(3, 8))) for run in MEMBERS[:3]]
    whole = Training(runs, path=path)
    snapshots = list(whole)
    part = Training([replace(run, steps=step) for run in runs], path=path)
    for _ in part:
        pass
    assert part.moment.step == step
    rest = Training(runs, path=path, resume=part.moment)
    later = list(rest)
    assert [each.step for each in later] == [at for at in (3, 8) if at >= step]
    assert rest.loss[:, step:].equal(whole.loss[:, step:])
    assert rest.loss[:, :step].isnan().all()
    for name, leaf in whole.params.items():
        assert rest.params[name].equal(leaf)
    for one, other in zip(reversed(later), reversed(snapshots), strict=False):
        assert all(one.params[name].equal(other.params[name]) for name in one.params)
    assert whole.moment.members.params.keys() == rest.moment.members.params.keys()


def test_the_moment_of_other_runs_is_refused():
    part = Training([replace(RUN, steps=2)])
    list(part)
    with pytest.raises(ValueError, match="the moment to resume from is that of other runs"):
        list(Training([RUN, replace(RUN, seed=1)], resume=part.moment))
    with pytest.raises(ValueError, match="the moment to resume from is that of other runs"):
        list(Training([replace(RUN, optimiser=Adam())], resume=part.moment))


def test_an_interrupted_training_says_where_it_is():
    training = stopped_at(3, [RUN, replace(RUN, seed=1)])
    assert training.endings == [Ending(3, "unfinished")] * 2
    assert training.moment.step == 3
    assert training.loss[:, :3].isfinite().all()
    assert training.loss[:, 3:].isnan().all()


class Interrupted(Exception):
    pass


class Breaking(Memory):
    """A store that fails for good once it was saved into so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def save(self, results) -> None:
        super().save(results)
        self.times -= 1
        if self.times == 0:
            raise Interrupted


@pytest.fixture
def saving_always(monkeypatch):
    """Saving may take all the time there is."""
    monkeypatch.setattr(training, "_SAVING", 0)


@pytest.fixture
def steps_taken(monkeypatch):
    """How many steps were taken, by (id, first step) of each member of each ensemble."""
    taken: list[tuple[str, int, int]] = []
    plain = job.Training

    def spy(runs, *, resume, **settings):
        first = resume.step if resume else 0
        taken.extend((run.id, first, run.steps) for run in runs)
        return plain(runs, resume=resume, **settings)

    monkeypatch.setattr(job, "Training", spy)
    return taken


HEAD = Run(
    task=RUN.task,
    model=RUN.model,
    batch=9,
    steps=12,
    optimiser=Adam(lr=0.02),
    snapshots=Every(stride=3),
)


@pytest.mark.parametrize("kind", [Memory, Disk])
@pytest.mark.parametrize(
    "runs",
    [
        different("float64", "logistic"),
        [replace(HEAD, seed=seed) for seed in range(3)],
        [replace(LAYER, seed=seed, optimiser=Backtracking(), steps=9) for seed in range(2)],
    ],
    ids=["sgd in coordinates", "adam", "backtracking"],
)
@pytest.mark.parametrize("times", [1, 3, 6])
def test_a_sweep_that_is_killed_goes_on_from_where_it_was_put_by(
    kind, runs, times, tmp_path, saving_always, steps_taken
):
    wanted = anew(runs)
    store = kind(tmp_path) if kind is Disk else kind()
    broken = Breaking(times)
    outcome = train(runs, store=broken, save_every=0)  # put by after every step
    assert all(why.startswith("Interrupted") for why in outcome.failed.values())
    reached = {run.id: broken.load(run) for run in runs}
    assert {each.ending for each in reached.values()} == {Ending(times, "unfinished")}
    store.save(list(reached.values()))
    steps_taken.clear()
    for result, whole in zip(trained(runs, store=store), wanted, strict=True):
        assert_same(result, whole)
    assert {first for _, first, _ in steps_taken} == {times}
    assert len(steps_taken) == len(runs)


@pytest.mark.parametrize("kind", [Memory, Disk])
def test_asking_for_more_steps_continues(kind, tmp_path, steps_taken):
    store = kind(tmp_path) if kind is Disk else kind()
    runs = [replace(RUN, seed=seed, snapshots=Every(stride=2), steps=6) for seed in range(2)]
    trained(runs, store=store)
    longer = [replace(run, steps=11) for run in runs]
    steps_taken.clear()
    results = trained(longer, store=store)
    assert [each[1:] for each in steps_taken] == [(6, 11)] * 2
    for result, whole in zip(results, anew(longer), strict=True):
        assert_same(result, whole)
    steps_taken.clear()
    for result, whole in zip(trained(runs, store=store), anew(runs), strict=True):
        assert_same(result, whole)
    assert not [each for each in steps_taken if each[1:] != (0, 6)]  # those of ``anew``


@pytest.mark.parametrize("kind", [Memory, Disk])
def test_a_snapshot_that_was_passed_by_is_trained_for_and_nothing_there_is_lost(
    kind, tmp_path, steps_taken
):
    store = kind(tmp_path) if kind is Disk else kind()
    few = replace(RUN, snapshots=At(at=(4,)))
    many = replace(RUN, steps=8, snapshots=LogSpaced(count=5))
    trained([few], store=store)
    steps_taken.clear()
    (result,) = trained([many], store=store)
    assert [each[1:] for each in steps_taken] == [(0, 10)]
    steps_taken.clear()
    assert_same(trained([few], store=store)[0], few_again := anew([few])[0])
    assert_same(result, anew([many])[0])
    assert few_again.steps == (4, 10)
    assert len(steps_taken) == 2  # both of them ``anew``


def test_two_requests_for_one_run_are_one_training(steps_taken):
    runs = [RUN, replace(RUN, steps=6, snapshots=Every(stride=2)), replace(RUN, steps=3)]
    results = trained(runs, store=Memory())
    assert [each[1:] for each in steps_taken] == [(0, 10)]
    for result, run in zip(results, runs, strict=True):
        assert result.run == run
        assert_same(result, anew([run])[0])


@pytest.mark.parametrize("kind", [Memory, Disk])
def test_a_run_that_diverged_is_not_trained_again(kind, tmp_path, steps_taken):
    store = kind(tmp_path) if kind is Disk else kind()
    with pytest.warns(RuntimeWarning, match="diverged"):
        (first,) = trained([WILD], store=store)
    steps_taken.clear()
    for run in (WILD, replace(WILD, steps=20)):
        (result,) = trained([run], store=store)
        assert (result.steps, result.ending) == (first.steps, first.ending)
        assert len(result.loss) == run.steps
        assert result.loss[: len(first.loss)].isnan().equal(first.loss.isnan())
    assert not steps_taken
    # Asked for no more steps than it took before it diverged, it is one that finished.
    (short,) = trained([replace(WILD, steps=first.ending.step)], store=store)
    assert short.ending == Ending(first.ending.step, "finished")


def test_runs_after_others_resume_from_where_these_ended(tmp_path, saving_always, steps_taken):
    store = Disk(tmp_path)
    before = replace(RUN, optimiser=SGD(lr=0.4))
    runs = [replace(RUN, after=replace(before, seed=seed), seed=seed) for seed in range(2)]
    wanted = anew(runs)
    broken = Breaking(4)  # the runs before them are saved ten times and once more at their end
    broken.times = 11 + 4
    train(runs, store=broken, save_every=0)
    parts: list[Trained] = [broken.load(run) for run in runs]
    assert {each.ending for each in parts} == {Ending(4, "unfinished")}
    store.save([*parts, *(broken.load(replace(before, seed=seed)) for seed in range(2))])
    steps_taken.clear()
    for result, whole in zip(trained(runs, store=store), wanted, strict=True):
        assert_same(result, whole)
    assert [each[1:] for each in steps_taken] == [(4, 10)] * 2


def test_what_resumes_takes_the_path_on_which_it_began(monkeypatch):
    seen = []
    (part,) = anew([replace(RUN, steps=4)], path="eager")
    store = Memory([replace(part, path="compiled")])

    def spy(runs, *, path, **settings):
        seen.append(path)
        return Training(runs, path="eager", **settings)

    monkeypatch.setattr(job, "Training", spy)
    trained([replace(RUN, snapshots=At(at=(4, 10)))], store=store, path="eager")
    assert seen == ["compiled"]
