"""The command line: each subcommand reads its arguments, calls the library and returns a status."""

import argparse
import ast
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tdlab import executors
from tdlab.records import Unwritable

done, failed, bad_input, interrupted = 0, 1, 2, 130
_STUDIES = ("icl", "cot", "kernels", "multilayer")

# Heavy imports wait inside the subcommands, so that --help answers at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 done, 1 something failed, 2 bad input; one line says what."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as on Ctrl-C
    try:
        _put_into_environment(arguments)
        status = arguments.command(arguments)
        sys.stdout.flush()
        return int(status)
    except BrokenPipeError:  # who reads has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return done
    except KeyboardInterrupt:
        print("\ntdlab: interrupted; nothing half-written is left", file=sys.stderr)
        return interrupted
    except (ValueError, TypeError) as error:
        if not _is_refusal(error):
            raise
        print(f"tdlab: {error}", file=sys.stderr)
        return bad_input
    except (Unwritable, executors.Unreachable) as error:
        print(f"tdlab: {error}", file=sys.stderr)
        return failed


def _put_into_environment(arguments: argparse.Namespace) -> None:
    """Store and executor, where kernels and workers find them as well."""
    if getattr(arguments, "store", None) is not None:
        os.environ["TDLAB_STORE"] = str(arguments.store.absolute())
    if getattr(arguments, "executor", None) is not None:
        os.environ["TDLAB_EXECUTOR"] = executors.require_name(arguments.executor)


def report(arguments: argparse.Namespace) -> int:
    """Execute notebooks into pages and say where their index is."""
    from tdlab.report.pages import plan

    pages = plan(
        arguments.notebooks,
        _once(arguments.parameters, "-p"),
        grid=_once(arguments.grid, "--grid"),
        preset=arguments.preset,
        device=arguments.device,
    )
    _check_settings(pages)
    from tdlab.report.publish import run

    failures = run(pages, arguments.out, timeout=arguments.timeout, anew=arguments.anew)
    print(arguments.out / "index.html")
    return failed if failures else done


def _check_settings(pages: Iterable[Any]) -> None:
    """Refuses values that a notebook's study refuses, before anything runs."""
    from importlib import import_module

    for page in pages:
        if page.study is not None:
            fields = {name: v for name, v in page.parameters.items() if name != "device"}
            import_module(f"tdlab.studies.{page.study}").setting(**fields)


def list_notebooks(_: argparse.Namespace) -> int:
    """Name the notebooks, with what each is about and the parameters it has."""
    from tdlab.report import notebooks
    from tdlab.report.parameters import declared

    for name, path in notebooks.available().items():
        print(f"{name}  ({', '.join(declared(notebooks.read(path), name))})")
    return done


def copy_notebooks(arguments: argparse.Namespace) -> int:
    """Copy the notebooks into a directory of the user's."""
    from tdlab.report import notebooks

    for path in notebooks.copy(arguments.directory):
        print(path)
    return done


def verify(arguments: argparse.Namespace) -> int:
    """Print the scorecard of the claims."""
    from tdlab.scorecard import terminal

    changes = {name: _literal(text) for name, text in _once(arguments.parameters, "-p").items()}
    return terminal.main(
        arguments.claims,
        arguments.preset,
        arguments.device,
        changes,
        file=arguments.json,
        folder=arguments.parquet,
        readme=arguments.readme,
    )


def sweep(arguments: argparse.Namespace) -> int:
    """Train what the store lacks of a study's runs, and say what became of them."""
    from importlib import import_module

    from tdlab import grid, results, tables
    from tdlab.sweep import report, train
    from tdlab.train import available

    changes = {name: _literal(text) for name, text in _once(arguments.parameters, "-p").items()}
    available(arguments.device or "cpu")
    study = import_module(f"tdlab.studies.{arguments.study}")
    setting = study.setting(arguments.preset or "quick", **changes)
    runs = study.Measurements(setting, arguments.device or "cpu").wanted()
    for option, combined in (("zip", grid.zipped), ("grid", grid.grid)):
        given = _once(getattr(arguments, option), f"--{option}")
        axes = {name: _values(text) for name, text in given.items()}
        runs = combined(runs, axes) if axes else runs
    if arguments.seeds is not None:
        runs = grid.with_seeds(runs, arguments.seeds)
    outcome = train(
        runs,
        executor=os.environ.get("TDLAB_EXECUTOR") or "local",
        device=arguments.device or "cpu",
        save_every=arguments.save_every,
        fail_fast=arguments.fail_fast,
    )
    print(report(outcome))
    if arguments.table is not None:
        results.write(arguments.table, tables.losses(outcome.found + outcome.trained))
        print(arguments.table)
    return failed if outcome.failed else done


def list_runs(_: argparse.Namespace) -> int:
    """Name the runs of the store."""
    from tdlab import records, runs

    return failed if runs.listed(records.root()) else done


def show_run(arguments: argparse.Namespace) -> int:
    """Print a run, and the Python that makes it again."""
    from tdlab import records, runs

    return runs.shown(records.root(), arguments.run)


def check_runs(arguments: argparse.Namespace) -> int:
    """Read every byte of the store, and say what is not as it was written."""
    from tdlab import records, runs

    return failed if runs.checked(records.root(), arguments.runs) else done


def remove_runs(arguments: argparse.Namespace) -> int:
    """Remove runs from the store."""
    from tdlab import records, runs

    return runs.removed(records.root(), arguments.runs)


def merge_stores(arguments: argparse.Namespace) -> int:
    """Bring the runs of other stores into this one."""
    from tdlab import records, runs

    missing = [str(path) for path in arguments.stores if not (path / "runs").is_dir()]
    if missing:
        raise ValueError(f"{', '.join(missing)} is no store; one has a folder 'runs'")
    return failed if runs.merged(records.root(), arguments.stores) else done


def bench(arguments: argparse.Namespace) -> int:
    """Print how fast this machine trains, next to others."""
    from tdlab.bench import main as compare_all

    compare_all(
        arguments.members,
        cases=arguments.cases,
        steps=arguments.steps,
        repeats=arguments.repeats,
        device=arguments.device or "cpu",
    )
    return done


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(bad_input, f"{self.prog}: {message} ({self.prog} --help says more)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tdlab", description="Training dynamics: prediction and measurement.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_report(commands)
    _add_verify(commands)
    _add_sweep(commands)
    _add_runs(commands)
    notebooks = commands.add_parser("notebooks", help="the notebooks that come with tdlab")
    actions = notebooks.add_subparsers(required=True, metavar="ACTION", title="actions")
    listing = actions.add_parser("list", help="their names and parameters")
    listing.set_defaults(command=list_notebooks)
    copying = actions.add_parser("copy", help="copy them into a directory of yours")
    copying.add_argument("directory", nargs="?", type=Path, default=Path("notebooks"))
    copying.set_defaults(command=copy_notebooks)
    _add_bench(commands)
    return parser


def _add_report(commands: "argparse._SubParsersAction[_Parser]") -> None:
    report_ = commands.add_parser("report", help="execute notebooks into HTML pages")
    option = report_.add_argument
    option("notebooks", nargs="*", metavar="NOTEBOOK", help="name or path; all if none is named")
    _add_settings(report_)
    add_pairs = partial(report_.add_argument, nargs=2, action="append", default=[])
    add_pairs("-p", dest="parameters", metavar=("NAME", "VALUE"), help="a parameter")
    add_pairs("--grid", metavar=("NAME", "V1,V2"), help="one page for each of these values")
    option("--out", type=Path, default=Path("reports"), metavar="DIR", help="default: reports")
    option("--timeout", type=float, default=3600.0, metavar="S", help="for one cell; default: 3600")
    option("--anew", action="store_true", help="execute pages that are unchanged as well")
    report_.set_defaults(command=report)


def _add_verify(commands: "argparse._SubParsersAction[_Parser]") -> None:
    verify_ = commands.add_parser("verify", help="the scorecard of predictions and measurements")
    verify_.add_argument("claims", nargs="*", metavar="CLAIM", help="all if none is named")
    _add_settings(verify_)
    verify_.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a field of the study's setting",
    )
    option = partial(verify_.add_argument, type=Path)
    option("--json", metavar="PATH", help="write it there as well")
    option("--parquet", metavar="DIR", help="with the rows and the runs behind it, as tables")
    option("--readme", metavar="PATH", help="as Markdown, with figures beside it")
    verify_.set_defaults(command=verify)


def _add_sweep(commands: "argparse._SubParsersAction[_Parser]") -> None:
    sweep_ = commands.add_parser("sweep", help="train what the store lacks of a study's runs")
    option = sweep_.add_argument
    option("study", choices=_STUDIES, metavar="STUDY", help=f"one of {', '.join(_STUDIES)}")
    _add_settings(sweep_, "local")
    add_pairs = partial(sweep_.add_argument, nargs=2, action="append", default=[])
    about = "a field of the study's setting"
    add_pairs("-p", dest="parameters", metavar=("NAME", "VALUE"), help=about)
    named = ("FIELD", "V1,V2")
    add_pairs("--grid", metavar=named, help="every run with each of these values of a field")
    add_pairs("--zip", metavar=named, help="the same, the values of several fields side by side")
    option("--seeds", type=_range, metavar="A:B", help="every run with the seeds A to B - 1")
    option("--save-every", type=float, default=60.0, metavar="S", help="seconds; default: 60")
    option("--fail-fast", action="store_true", help="stop at the first failure")
    about = "write all losses there as parquet, with the fields of their runs in columns"
    option("--table", type=Path, metavar="PATH", help=about)
    sweep_.set_defaults(command=sweep)


def _add_runs(commands: "argparse._SubParsersAction[_Parser]") -> None:
    runs = commands.add_parser("runs", help="what is in the store")
    actions = runs.add_subparsers(required=True, metavar="ACTION", title="actions")

    def add(name: str, command: object, help_: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=help_)
        _add_store(action)
        action.set_defaults(command=command)
        return action

    add("list", list_runs, "a line for each run")
    showing = add("show", show_run, "where a run stands, and the Python that makes it again")
    showing.add_argument("run", metavar="RUN", help="its id, or how that starts")
    checking = add("check", check_runs, "read every byte, and say what is wrong")
    checking.add_argument("runs", nargs="*", metavar="RUN", help="all if none is named")
    merging = add("merge", merge_stores, "bring the runs of other stores into this one")
    merging.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="their folders")
    removing = add("remove", remove_runs, "remove runs")
    removing.add_argument("runs", nargs="+", metavar="RUN", help="ids, or how they start")


def _add_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--store", type=Path, metavar="DIR", help="default: $TDLAB_STORE, or the user's"
    )


def _range(text: str) -> range:
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds such as 0:8")
    return range(int(first), int(last))


def _values(text: str) -> list[object]:
    """The values between the commas; those of a tuple do not separate them."""
    try:
        read = ast.literal_eval(f"[{text}]")
    except (ValueError, SyntaxError):
        return [_literal(each.strip()) for each in text.split(",")]
    return list(read)


def _add_bench(commands: "argparse._SubParsersAction[_Parser]") -> None:
    bench_ = commands.add_parser("bench", help="this machine against plain loops, as ratios")
    option = bench_.add_argument
    every = ["icl", "cot", "kernels"]
    option("--cases", nargs="+", choices=every, default=every, help=f"default: {' '.join(every)}")
    option("--members", nargs="+", type=_count, default=[1, 8, 64], help="default: 1 8 64")
    option("--steps", type=_count, default=400, help="of each training; default: 400")
    option("--repeats", type=_count, default=5, help="interleaved; default: 5")
    option("--device", choices=["cpu", "cuda"], help="where to compute")
    bench_.set_defaults(command=bench)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _add_settings(command: argparse.ArgumentParser, executor: str = "threads") -> None:
    command.add_argument("--preset", choices=["quick", "paper"], help="minutes, or as published")
    command.add_argument("--device", choices=["cpu", "cuda"], help="where to compute")
    where = f"{executors.NAMES}; default: $TDLAB_EXECUTOR, or {executor}"
    command.add_argument("--executor", metavar="WHERE", help=where)
    _add_store(command)


def _literal(text: str) -> object:
    """A number or tuple as Python writes it; else the text, which the setting will refuse."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _once(pairs: Iterable[Sequence[str]], option: str) -> dict[str, str]:
    """The pairs as a dictionary; giving a name twice is a mistake, not a way to override."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{option} {name} is given twice: {values[name]} and {value}")
        values[name] = value
    return values


def _is_refusal(error: BaseException) -> bool:
    """Return whether one of our own ``raise`` statements refused this input.

    Anything else, such as a shape error inside numpy, is a bug of ours and keeps its traceback.
    """
    last = traceback.extract_tb(error.__traceback__)[-1]
    here = Path(__file__).parent
    ours = (here, here.parent / "synthetic_tasks")
    where = Path(last.filename)
    return any(where.is_relative_to(folder) for folder in ours) and "raise " in (last.line or "")
