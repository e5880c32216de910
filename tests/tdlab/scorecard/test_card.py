"""What a scorecard knows: verdicts, the rows behind them, and the runs behind these."""

import json
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tdlab.claims.claim import AGREES, Finding
from tdlab.records import configuration
from tdlab.scorecard.card import Card, Scorecard, Told, measure
from tdlab.statistics import Interval
from tests.tdlab.runs import RUN
from tests.tdlab.scorecard.cards import FOUND, claim, table


def test_the_files_are_the_verdicts_the_rows_and_the_runs():
    files = FOUND.files()
    assert list(files) == ["verdicts", "icl.first", "icl.second", "cot.first", "runs"]
    assert files["verdicts"].claim.tolist() == ["icl.one", "icl.one", "cot.two"]
    assert files["icl.first"] is FOUND.cards["icl"].measurements.first
    assert files["cot.first"] is FOUND.cards["cot"].measurements.first


def test_every_run_of_a_row_is_named_once_with_what_makes_it_again():
    runs = FOUND.runs
    assert runs.run.is_unique
    behind = {run for name in FOUND.tables for run in FOUND.tables[name].run.dropna()}
    assert {*runs.run} == behind
    for row in runs.itertuples():
        again = configuration.decoded(json.loads(row.configuration))
        assert (again.id, again.seed, again.steps) == (row.run, row.seed, row.step)
        assert row.value == again.steps
    shared = runs.set_index("run").tables[RUN.id]
    assert shared == "icl.first, icl.second, cot.first"


def test_what_could_not_be_measured_is_named_with_why():
    assert FOUND.failed == {"icl.three": "nothing is large"}
    assert [each.id for each, _ in FOUND.judged] == ["icl.one", "cot.two"]


def test_it_prints_the_verdict_on_each_claim():
    judged = "icl.one agrees, icl.two inconclusive"
    assert repr(FOUND) == f"<scorecard at preset quick: <icl: {judged}>>"


def test_a_scorecard_of_nothing_has_no_rows():
    empty = Scorecard("quick", {}, {"icl": Card("icl", FOUND.cards["icl"].measurements)})
    assert (len(empty.verdicts), len(empty.runs), empty.tables) == (0, 0, {})


def test_all_of_it_is_kept_beside_a_page(tmp_path, monkeypatch):
    monkeypatch.setenv("TDLAB_KEEP", str(tmp_path))
    FOUND.keep()
    assert {path.stem for path in tmp_path.glob("*.parquet")} == {*FOUND.files()}
    kept = pd.read_parquet(tmp_path / "icl.first.parquet")
    assert kept.value.tolist() == table(0.5).value.tolist()


def test_whoever_is_told_hears_of_each_claim_as_it_is_judged(monkeypatch):
    heard: list[tuple[Any, ...]] = []
    finding = Finding("part", "> 0", Interval(1.5, 1.0, 2.0), AGREES)
    judges = [
        claim("icl.one", lambda _: [finding]),
        claim("icl.two", fails),
        claim("icl.three", lacks),
    ]
    study = SimpleNamespace(
        setting=lambda preset, **_: SimpleNamespace(preset=preset, steps=3),
        Measurements=lambda setting, device: SimpleNamespace(setting=setting, device=device),
        Setting=FOUND.cards["icl"].setting.__class__,
    )
    monkeypatch.setattr(
        "tdlab.scorecard.card.STUDIES", {"icl": (study, SimpleNamespace(CLAIMS=judges))}
    )
    told = Told(
        lambda card: heard.append(("start", card.study)),
        lambda each, found: heard.append((each.id, found)),
        lambda each, why: heard.append((each.id, why)),
        lambda card: heard.append(("end", card.setting.preset)),
    )
    found = measure(preset="paper", told=told)
    assert heard == [
        ("start", "icl"),
        ("icl.one", [finding]),
        ("icl.two", "too few"),
        ("icl.three", "pip install 'tdlab[digits]'"),
        ("end", "paper"),
    ]
    assert found.failed == {"icl.two": "too few", "icl.three": "pip install 'tdlab[digits]'"}


def fails(_):
    raise ArithmeticError("too few")


def lacks(_):
    raise ModuleNotFoundError("pip install 'tdlab[digits]'")


@pytest.mark.parametrize("name", ["icl.nothing", "cot"])
def test_an_unknown_claim_is_refused(name):
    with pytest.raises(ValueError, match=f"^there is no claim '{name}'"):
        measure([name])
