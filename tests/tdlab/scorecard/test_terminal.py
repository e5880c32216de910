import contextlib
import io
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from tdlab import results, scorecard
from tdlab.claims import li2024, li2025, song2024
from tdlab.claims import multilayer as several
from tdlab.claims.claim import AGREES, VERDICTS, Claim, Finding, nearer, overall
from tdlab.optimisers import SGD
from tdlab.records import configuration
from tdlab.results import provenance
from tdlab.run import Run
from tdlab.scorecard import terminal
from tdlab.statistics import Interval
from tdlab.store import Memory
from tdlab.studies import cot, icl, kernels, multilayer
from tdlab.sweep import job, sweep
from tdlab.train import Training
from tests.tdlab import smallest

# Small enough for a test; xi makes some neurons large before any of them is trained.
TINY = icl.setting(
    "quick",
    seeds=2,
    first_seed=3,
    steps=30,
    snapshots=3,
    prompts=48,
    classical_prompts=24,
    lengths=(4,),
    lr_factors=(0.4, 1.0, 1.7),
    length=6,
    irrelevant=6,
    neurons=8,
    batch=10,
    xi=0.2,
    **smallest.LAWS,
)
TINY_COT = smallest.cot(
    steps=40, snapshots=9, width=12, wide=12, xi=0.01, prompts=24, lengths=(4, 9), rate_steps=30
)
TINY_KERNELS = smallest.kernels(
    text_steps=1, text_length=24, path_steps=1, path_images=4, path_test=2
)
TINY_LAYERS = smallest.multilayer()
CLAIMS = (*li2024.CLAIMS, *li2025.CLAIMS, *song2024.CLAIMS, *several.CLAIMS)
IDS = [each.id for each in CLAIMS]
NONE = (math.nan, -math.inf, math.inf)  # what a file has null for
FOUND = Finding("part", "> 0", Interval(1.5, 1.0, 2.0), AGREES)


def claim(name, judge):
    return Claim(
        id=name,
        statement=f"{name}.",
        equation="x",
        source="Us",
        rule="x",
        regime="here {s.steps} steps",
        page="icl_dynamics",
        needs=("setting",),
        judge=judge,
    )


def unmeasurable(_):
    raise ArithmeticError("nothing is large")


def finite(text):
    """Strict JSON: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(icl.PRESETS, "quick", TINY)
    monkeypatch.setitem(cot.PRESETS, "quick", TINY_COT)
    monkeypatch.setitem(kernels.PRESETS, "quick", TINY_KERNELS)
    monkeypatch.setitem(multilayer.PRESETS, "quick", TINY_LAYERS)


@pytest.fixture
def judges(monkeypatch):
    """Puts claims of the test in place of the papers', all of them about the first study."""

    def put(*claims):
        monkeypatch.setattr(li2024, "CLAIMS", claims)
        monkeypatch.setattr(li2025, "CLAIMS", ())
        monkeypatch.setattr(song2024, "CLAIMS", ())
        monkeypatch.setattr(several, "CLAIMS", ())

    return put


def counting(patch):
    """Every run that is trained from here on, in order."""
    runs = []

    class Counting(Training):
        def __init__(self, given, **rest):
            runs.extend(given)
            super().__init__(given, **rest)

    patch.setattr(job, "Training", Counting)
    patch.setattr(sweep, "Disk", Memory)  # nothing is there yet
    return runs


@pytest.fixture
def trainings(monkeypatch):
    return counting(monkeypatch)


class Card(NamedTuple):
    """One scorecard of all claims."""

    status: int
    printed: str
    path: Path
    trainings: list[Run]


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    path = tmp_path_factory.mktemp("card") / "card.json"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setitem(icl.PRESETS, "quick", TINY)
        patch.setitem(cot.PRESETS, "quick", TINY_COT)
        patch.setitem(kernels.PRESETS, "quick", TINY_KERNELS)
        patch.setitem(multilayer.PRESETS, "quick", TINY_LAYERS)
        # The two kernels of the paper, and one of them in stage one: no claim is without.
        for name in ("convergence", "basins"):
            patch.setattr(f"tdlab.studies.kernels.{name}.KERNELS", song2024.constants.KERNELS)
        patch.setattr("tdlab.studies.kernels.measurements.STAGE_ONE", ("softmax",))
        # So little training reaches no risk.
        rates = sys.modules["tdlab.studies.icl.rates"]
        patch.setattr(rates, "first_below", lambda _, values, __: np.full(len(values), 1.0))
        runs = counting(patch)
        status = terminal.main([], None, None, file=path)
    return Card(status, out.getvalue(), path, runs)


def test_a_scorecard_prints_prediction_measurement_and_verdict_of_every_claim(card):
    assert card.status == 0
    lines = card.printed.splitlines()
    assert lines[0] == "icl, preset quick: 2 seeds, 30 steps"
    assert "cot, preset quick: 2 seeds, 40 steps" in lines
    assert "kernels, preset quick: 2 seeds, 10 steps" in lines
    for each in json.loads(card.path.read_text())["claims"]:
        there = f"; nearer the theorem: {each['nearer']}" if each["nearer"] else ""
        assert f"{each['id']}: {each['verdict']}{there}" in lines
        assert f"  {each['statement']}" in lines
        for finding in each["findings"]:
            ends = zip((finding["measured"], *finding["interval"]), NONE, strict=True)
            interval = Interval(*(none if end is None else end for end, none in ends))
            parts = (str(interval), f"  {finding['prediction']}")
            mark = {"agrees": "+", "disagrees": "-", "inconclusive": "?"}[finding["verdict"]]
            start = f"  {mark} {finding['part']} "
            found = [line for line in lines if line.startswith(start)]
            assert any(all(part in line for part in parts) for line in found)
            assert not finding["note"] or any(line.endswith(finding["note"]) for line in lines)


def test_the_last_line_counts_the_verdicts(card):
    counts = Counter(each["verdict"] for each in json.loads(card.path.read_text())["claims"])
    total = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    assert card.printed.splitlines()[-1].startswith(f"{total}; ")
    assert sum(counts.values()) == len(IDS)


def test_the_file_is_whole_and_alone_and_says_where_it_came_from(card):
    assert [each.name for each in card.path.parent.iterdir()] == [card.path.name]
    record = finite(card.path.read_text())
    assert (record["preset"], record["changes"]) == ("quick", {})
    complete = {"seeds": 2, "failed": {}, "diverged": []}
    assert record["studies"] == dict.fromkeys(("icl", "cot", "kernels", "multilayer"), complete)
    assert record["provenance"] == provenance()
    assert [each["id"] for each in record["claims"]] == IDS
    for each, known in zip(record["claims"], CLAIMS, strict=True):
        assert each["study"] in each["id"].split(".")  # icl.multilayer is of the study multilayer
        assert (each["statement"], each["source"]) == (known.statement, known.source)
        assert each["rule"] == known.rule
        found = [
            Finding("", "", Interval(0, 0, 0), part["verdict"], regime=part["regime"])
            for part in each["findings"]
        ]
        assert (each["verdict"], each["nearer"]) == (overall(found), nearer(found))
        assert each["regime"].startswith(known.regime[:20])
        assert "{" not in each["regime"]


def test_every_verdict_leads_to_runs_and_every_run_to_what_makes_it_again(card):
    record = finite(card.path.read_text())
    trained = {run.id: run for run in card.trainings}
    assert {run for each in record["claims"] for run in each["runs"]} == {*record["runs"]}
    for each, known in zip(record["claims"], CLAIMS, strict=True):
        assert each["tables"] == [f"{each['study']}.{name}" for name in known.tables]
        assert each["runs"]
    for run, its in record["runs"].items():
        again = configuration.decoded(its)
        assert again.id == run
        assert trained[run].id == run


def test_the_file_holds_what_was_found(judges, tiny, tmp_path):
    judges(claim("one", lambda _: [FOUND]))
    assert terminal.main([], "quick", "cpu", file=tmp_path / "card.json") == 0
    (one,) = json.loads((tmp_path / "card.json").read_text())["claims"]
    assert one["findings"] == [
        {
            "part": "part",
            "regime": "ours",
            "prediction": "> 0",
            "agreeing": [None, None],
            "measured": 1.5,
            "interval": [1.0, 2.0],
            "verdict": AGREES,
            "note": "",
        }
    ]


def test_the_file_is_json_even_where_an_interval_is_infinite(judges, tiny, tmp_path):
    endless = FOUND._replace(measured=Interval(1.5, -math.inf, math.inf))
    judges(claim("one", lambda _: [endless]))
    terminal.main([], None, None, file=tmp_path / "card.json")
    (one,) = finite((tmp_path / "card.json").read_text())["claims"]
    assert one["findings"][0]["interval"] == [None, None]


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_else(
    judges, tiny, tmp_path, monkeypatch
):
    path = tmp_path / "card.json"
    path.write_text("old")
    judges(claim("one", lambda _: [FOUND]))
    monkeypatch.setattr(results, "provenance", lambda: {"not": "JSON", "x": object()})
    with pytest.raises(TypeError):
        terminal.main([], None, None, file=path)
    assert [each.name for each in tmp_path.iterdir()] == ["card.json"]
    assert path.read_text() == "old"


def test_a_claim_that_cannot_be_measured_is_status_one_and_the_others_are_judged(
    judges, tiny, tmp_path, capsys
):
    judges(
        claim("first", lambda _: [FOUND]),
        claim("second", unmeasurable),
        claim("third", lambda _: [FOUND._replace(part="other")]),
    )
    path = tmp_path / "card.json"
    assert terminal.main([], None, None, file=path) == 1
    out, err = capsys.readouterr()
    assert err.split("\n") == ["second  could not be measured: nothing is large", "", ""]
    assert "first: agrees" in out
    assert "third: agrees" in out
    assert "second" not in out
    record = json.loads(path.read_text())
    assert [each["id"] for each in record["claims"]] == ["first", "third"]
    assert record["studies"]["icl"]["failed"] == {"second": "nothing is large"}
    assert out.splitlines()[-1].startswith("2 agrees, 0 disagrees, 0 inconclusive, 1 not measured;")


def test_changes_reach_the_setting_the_first_line_and_the_file(judges, tiny, tmp_path, capsys):
    seen = []

    def judge(given):
        seen.append(given)
        return [FOUND]

    judges(claim("one", judge))
    path, changes = tmp_path / "card.json", {"seeds": 3, "beta": 2.25, "lengths": (3, 5)}
    assert terminal.main([], "quick", None, changes, file=path) == 0
    assert seen == [replace(TINY, seeds=3, beta=2.25, lengths=(3, 5))]
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == (
        "icl, preset quick, seeds = 3, beta = 2.25, lengths = (3, 5): 3 seeds, 30 steps"
    )
    record = finite(path.read_text())
    assert record["preset"] == "quick"
    assert record["changes"] == {"seeds": 3, "beta": 2.25, "lengths": [3, 5]}
    assert record["studies"]["icl"]["seeds"] == 3


@pytest.mark.parametrize(
    ("changes", "kind", "line"),
    [
        ({"sedds": 3}, TypeError, r"^Setting has no field 'sedds'; did you mean 'seeds'\?"),
        ({"seeds": 1}, ValueError, r"^seeds is 1, but must be at least 2$"),
        ({"beta": "two"}, TypeError, r"^beta is 'two', but must be a number$"),
    ],
)
def test_a_change_that_the_setting_refuses_is_refused_before_any_training(
    tiny, trainings, tmp_path, changes, kind, line
):
    with pytest.raises(kind, match=line):
        terminal.main(["icl.shift"], None, None, changes, file=tmp_path / "card.json")
    assert not trainings
    assert not list(tmp_path.iterdir())


def test_a_change_that_one_of_the_studies_does_not_have_is_refused(tiny, trainings):
    line = r"^beta is no setting of the study cot; name the claims that it is for$"
    with pytest.raises(ValueError, match=line):
        terminal.main(["icl.shift", "cot.shift"], None, None, {"beta": 2.0})
    with pytest.raises(TypeError, match=r"^Setting has no field 'zeta'"):
        terminal.main(["icl.shift", "cot.shift"], None, None, {"zeta": 2.0})
    assert not trainings


def test_a_claim_whose_runs_all_diverged_could_not_be_measured(
    judges, trainings, monkeypatch, capsys
):
    monkeypatch.setitem(icl.PRESETS, "quick", replace(TINY, lr=1e6))
    judges(li2024.generalization, claim("other", lambda _: [FOUND]))
    with pytest.warns(RuntimeWarning, match=r"diverged at step"):
        status = terminal.main([], None, None)
    assert status == 1
    out, err = capsys.readouterr()
    assert "icl.generalization  could not be measured: all 2 runs diverged" in err
    assert "other: agrees" in out


def test_a_run_that_diverged_is_named_in_print_and_in_the_file(
    tiny, judges, trainings, tmp_path, capsys
):
    good, bad = TINY.runs()
    wild = replace(bad, optimiser=SGD(lr=1e6))

    def judge(measurements):
        assert [each.run for each in measurements.results([good, wild])] == [good]
        return [FOUND]

    class Own(Claim):
        def findings(self, measurements):
            return judge(measurements)

    own = Own(**vars(claim("one", judge)))
    judges(own)
    with pytest.warns(RuntimeWarning, match=f"run {wild.id} .*diverged at step"):
        assert terminal.main([], None, None, file=tmp_path / "card.json") == 0
    assert f"left out, because it diverged: run {wild.id} (seed 4)" in capsys.readouterr().out
    record = finite((tmp_path / "card.json").read_text())
    assert record["studies"]["icl"] == {"seeds": 2, "diverged": [wild.id], "failed": {}}


def test_names_choose_claims_in_their_order():
    everything = {"icl": [*li2024.CLAIMS], "cot": [*li2025.CLAIMS], "kernels": [*song2024.CLAIMS]}
    everything["multilayer"] = [*several.CLAIMS]
    assert scorecard.chosen([]) == everything
    named = scorecard.chosen(["cot.shift", "icl.shift", "icl.coverage"])
    assert named == {"cot": [li2025.shift], "icl": [li2024.shift, li2024.coverage]}


@pytest.mark.parametrize(
    ("name", "hint"), [("icl.shfit", "; did you mean 'icl.shift'?"), ("zzz", "")]
)
def test_an_unknown_claim_gets_one_line_with_the_nearest_name_and_all(name, hint):
    ids = ", ".join(IDS)
    with pytest.raises(ValueError, match=r"^there is no claim ") as caught:
        scorecard.chosen(["icl.shift", name])
    assert str(caught.value) == f"there is no claim {name!r}{hint} (it has: {ids})"


@pytest.mark.parametrize(
    ("path", "line"),
    [("missing/card.json", r"--json is .*, but .*missing is no directory"), (".", r"--json is .*")],
)
def test_a_path_that_cannot_be_written_is_refused_before_any_training(
    tiny, trainings, tmp_path, monkeypatch, path, line
):
    monkeypatch.setattr(icl, "Measurements", lambda *_: pytest.fail("it began to measure"))
    with pytest.raises(ValueError, match=f"^{line}$"):
        terminal.main([], None, None, file=tmp_path / path)
    assert not trainings
    assert not list(tmp_path.iterdir())


def test_an_unknown_preset_or_device_is_refused_before_any_training(tiny, trainings):
    with pytest.raises(ValueError, match=r"^preset is 'large', but must be one of "):
        terminal.main([], "large", None)
    with pytest.raises(ValueError, match=r"^device is 'tpu', but must be one of cpu, cuda$"):
        terminal.main([], None, "tpu")
    assert not trainings


# What is trained for it.


def test_runs_that_claims_share_are_trained_once(card):
    trained = Counter((run.id, run.steps) for run in card.trainings)
    assert set(trained.values()) == {1}
    # Each of 2 seeds. In context the setting's own run, 2 task sets, 2 step sizes more; in each
    # regime 3 values of 4 numbers, of which one of eta, beta and M1 is the regime's own, and 3
    # batches; 3 values of alpha with longer prompts. Test lengths take what is there.
    laws = 2 * (4 * 3 - 2 + 3) + 3
    # For chains of thought the setting's own, as the wide task is the same here; 3 values each of
    # alpha, K and M, of which K = 2 and M = 4 are the task whose losses are compared.
    chains = 1 + 3 * 3 - 1
    # For each of two kernels 3 subsets at 2 numbers of heads, 2 subsets at a fixed step size, 2
    # scalar problems, W_Q alone at 4 points, 3 tasks, and a stage two; these after one stage one.
    kernel_runs = 2 * (3 * 2 + 2 + 2 + 4 + 3 + 1) + 1
    # Of several layers 3 task sets and the chain of thought.
    assert len(trained) == 2 * (1 + 2 + 2 + laws + chains + kernel_runs + 4)


def test_nothing_is_trained_before_it_is_asked_for_and_a_table_is_made_once(trainings):
    measurements = icl.Measurements(TINY)
    assert not trainings
    first = measurements.dynamics
    assert measurements.dynamics is first
    assert trainings == TINY.runs()


def test_known_runs_are_never_trained_and_make_the_same_table(trainings):
    fresh = icl.Measurements(TINY).dynamics
    known = sweep.trained(TINY.runs())
    trainings.clear()
    measurements = icl.Measurements(TINY, known=known)
    pd.testing.assert_frame_equal(measurements.dynamics, fresh)
    assert len(measurements.neurons)
    assert not trainings
    assert [result.run for result in measurements.results(TINY.runs())] == TINY.runs()
    # Some known, some not: only those that are missing.
    more = replace(TINY, seeds=3).runs()
    assert [result.run for result in measurements.results(more[::-1])] == more[::-1]
    assert trainings == more[2:]


def test_a_run_with_more_steps_than_the_known_one_is_another(trainings):
    measurements = icl.Measurements(TINY, known=sweep.trained(TINY.runs()))
    trainings.clear()
    longer = replace(TINY, steps=31).runs()
    assert [result.ending.step for result in measurements.results(longer)] == [31, 31]
    assert trainings == longer


def test_step_sizes_are_compared_at_one_training_time():
    time = TINY.lr * TINY.steps
    runs = icl.step_size_runs(TINY)
    assert list(runs) == pytest.approx([0.04, 0.1, 0.17])
    for lr, each in runs.items():
        assert [(run.optimiser, run.seed) for run in each] == [(SGD(lr=lr), 3), (SGD(lr=lr), 4)]
        # A whole number of steps is at most half a step from it.
        assert all(abs(run.steps * lr - time) <= lr / 2 * (1 + 1e-9) for run in each)
        assert len({run.steps for run in each}) == 1
    assert [run.id for run in runs[TINY.lr]] == [run.id for run in TINY.runs()]
    assert len({each[0].steps for each in runs.values()}) == 3


def test_a_claim_is_judged_by_the_tables_of_its_measurements():
    measurements = icl.Measurements(TINY)
    direct = icl.dynamics(TINY, sweep.trained(TINY.runs()))
    expected = li2024.generalization.judge(TINY, direct)
    assert li2024.generalization.findings(measurements) == expected
