"""``tdlab runs`` and ``tdlab sweep``, as they are typed."""

import subprocess
import sys
from dataclasses import replace

import pytest

from tdlab import cli, records
from tdlab.store import Disk
from tdlab.studies import cot, icl, kernels
from tdlab.sweep import trained
from tests.tdlab import smallest
from tests.tdlab.runs import RUN

TINY = icl.setting("quick", seeds=2, steps=4, prompts=10, classical_prompts=2, **smallest.LAWS)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TDLAB_STORE", str(tmp_path / "store"))
    return Disk()


def test_list_names_each_run_and_sums_them_up(store, capsys):
    assert cli.main(["runs", "list"]) == cli.done
    assert capsys.readouterr().out.endswith(f"0 runs (none), 0.0 MB in {store.folder}\n")
    trained([RUN, replace(RUN, seed=1, after=RUN)], store=store)
    assert cli.main(["runs", "list"]) == cli.done
    *_, last = lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    (line,) = [line for line in lines if line.startswith(RUN.id)]
    assert all(word in line for word in (" 10  finished", "InContextClassification, OneLayer"))
    assert last.startswith("2 runs (2 finished), ")


def test_listing_loads_no_torch(store):
    program = "import sys; from tdlab.cli import main; main(['runs', 'list']); print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "pandas"} & set(answer.stdout.splitlines()[-1].split())


def test_show_prints_python_that_makes_the_run_and_loads_its_parameters(store, capsys):
    trained([RUN], store=store)
    assert cli.main(["runs", "show", RUN.id[:6]]) == cli.done
    scope: dict[str, object] = {}
    exec(capsys.readouterr().out, scope)
    assert scope["run"] == RUN
    final = scope["final"]
    assert isinstance(final, dict)
    assert final.keys() == store.load(RUN).final.keys()
    assert all(leaf.equal(final[name]) for name, leaf in store.load(RUN).final.items())


def test_check_says_what_is_wrong_and_remove_mends_it(store, capsys):
    trained([RUN, replace(RUN, seed=1)], store=store)
    assert cli.main(["runs", "check"]) == cli.done
    assert capsys.readouterr().out == "2 runs checked, nothing wrong\n"
    path = records.folder(store.folder, RUN.id) / "run.json"
    path.write_text("{}")
    assert cli.main(["runs", "check"]) == cli.failed
    assert capsys.readouterr().out == f"{path} was altered or truncated\n2 runs checked, 1 wrong\n"
    assert cli.main(["runs", "list"]) == cli.failed
    assert capsys.readouterr().err == f"tdlab: {path} was altered or truncated\n"
    assert cli.main(["runs", "remove", RUN.id]) == cli.done
    assert cli.main(["runs", "check"]) == cli.done
    assert cli.main(["runs", "show", RUN.id]) == cli.bad_input
    assert "no run does" in capsys.readouterr().err


def test_merge_brings_the_runs_of_other_stores(store, tmp_path, capsys):
    trained([RUN], store=Disk(tmp_path / "other"))
    assert cli.main(["runs", "merge", str(tmp_path / "other")]) == cli.done
    assert capsys.readouterr().out == f"{tmp_path / 'other'}: 1 copied\n"
    assert store.standing(RUN) is not None
    assert cli.main(["runs", "merge", str(tmp_path)]) == cli.bad_input
    assert capsys.readouterr().err == f"tdlab: {tmp_path} is no store; one has a folder 'runs'\n"


def test_a_sweep_trains_what_is_missing_and_says_so(store, monkeypatch, capsys):
    monkeypatch.setitem(icl.PRESETS, "quick", TINY)
    command = ["sweep", "icl", "--seeds", "0:2", "--grid", "task.alpha", "0.5,0.75"]
    command += ["--zip", "steps", "2,3", "--zip", "optimiser.lr", "0.1,0.3"]
    assert cli.main([*command, "--fail-fast"]) == cli.done
    runs = len(records.ids(store.folder))
    said = f"0 were there, {runs} were trained, 0 diverged, 0 failed\n"
    assert capsys.readouterr().out == said
    points = {
        (its.run["task"]["alpha"], its.run["optimiser"]["lr"], its.run["steps"], its.run["seed"])
        for run in records.ids(store.folder)
        if (its := records.read(store.folder, run)) is not None
    }
    assert points == {
        (a, *both, s) for a in (0.5, 0.75) for both in ((0.1, 2), (0.3, 3)) for s in (0, 1)
    }
    assert cli.main(command) == cli.done
    assert capsys.readouterr().out == f"{runs} were there, 0 were trained, 0 diverged, 0 failed\n"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("icl --grid task.alhpa 0.5", "no field 'task.alhpa'"),
        ("icl -p alhpa 0.5", "Setting has no field 'alhpa'"),
        ("icl --grid seed 1 --grid seed 2", "--grid seed is given twice"),
    ],
)
def test_a_sweep_over_what_there_is_not_is_bad_input(store, capsys, command, line):
    assert cli.main(["sweep", *command.split()]) == cli.bad_input
    assert line in capsys.readouterr().err
    assert not store.folder.exists()


@pytest.mark.parametrize("seeds", ["3", "3:3", "a:b", "-1:2"])
def test_a_range_of_seeds_is_two_numbers(seeds, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["sweep", "icl", f"--seeds={seeds}"])
    assert caught.value.code == cli.bad_input
    assert "is no range of seeds such as 0:8" in capsys.readouterr().err


TABLES = {
    "icl": (icl, ("dynamics", "neurons", "coverage", "step_sizes", "shift", "pruning")),
    "cot": (cot, ("dynamics", "ablations", "attention", "rates", "shift")),
    "kernels": (kernels, ("phase", "rates", "scalar", "query_only", "curvature")),
}
SETTINGS = {
    "icl": TINY,
    "cot": cot.setting("quick", **{**smallest.COT, "lr": 0.1}),  # nothing diverges
    "kernels": kernels.setting("quick", **smallest.KERNELS),
}


@pytest.mark.parametrize(
    "study",
    [
        "icl",
        pytest.param("cot", marks=pytest.mark.slow),
        pytest.param("kernels", marks=pytest.mark.slow),
    ],
)
def test_after_a_sweep_of_all_that_a_study_wants_its_tables_train_nothing(
    study, store, monkeypatch
):
    module, tables = TABLES[study]
    trained(module.Measurements(SETTINGS[study]).wanted(), store=store)
    monkeypatch.setattr("tdlab.sweep.job.Training", None)
    measured = module.Measurements(SETTINGS[study])
    for table in tables:
        assert len(getattr(measured, table))
