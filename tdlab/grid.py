"""Lists of runs: grids, rows of values side by side, and ranges of seeds, over any field.

A field of a value inside a run has a dotted name, as ``task.alpha`` or ``optimiser.lr``. Lists go
in and come out, so that they can be combined::

    runs = zipped([run], {"batch": (50, 100), "steps": (800, 400)})
    runs = with_seeds(grid(runs, {"task.alpha": (0.4, 0.8)}), range(32))
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import Any

from synthetic_tasks.value import meant
from tdlab.listed import Runs
from tdlab.run import Run


def grid(runs: Iterable[Run], axes: Mapping[str, Sequence[Any]]) -> Runs:
    """Each run with every combination of the values of these fields, the last one fastest.

    Returns:
        The runs, those of one run together.

    Raises:
        ValueError: for a field that there is not, or a value that it refuses.
    """
    points = [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]
    return Runs(_with(run, point) for run in runs for point in points)


def zipped(runs: Iterable[Run], axes: Mapping[str, Sequence[Any]]) -> Runs:
    """Each run with the first values of all of these fields, with the second ones, and so on.

    Returns:
        The runs, those of one run together.

    Raises:
        ValueError: for a field that there is not, a value that it refuses, or different lengths.
    """
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"fields that go together need as many values each, but have {lengths}")
    points = [dict(zip(axes, point, strict=True)) for point in zip(*axes.values(), strict=True)]
    return Runs(_with(run, point) for run in runs for point in points)


def with_seeds(runs: Iterable[Run], seeds: Iterable[int]) -> Runs:
    """Each run with every one of these seeds, as the runs before it; each result once."""
    kinds = dict.fromkeys(_seeded(run, 0) for run in runs)
    return Runs(dict.fromkeys(_seeded(run, seed) for seed in seeds for run in kinds))


def _seeded(run: Run, seed: int) -> Run:
    return replace(run, seed=seed, after=run.after and _seeded(run.after, seed))


def _with(run: Run, point: Mapping[str, Any]) -> Run:
    changed: Any = run
    for name, value in point.items():
        changed = _changed(changed, name.split("."), value, name)
    return changed


def _changed(item: Any, path: Sequence[str], value: Any, name: str) -> Any:
    """``item`` with another value in the field at the end of the path."""
    first, *rest = path
    known = [field.name for field in fields(item)] if is_dataclass(item) else []
    if first not in known:
        hint = meant(first, known) if known else ""
        raise ValueError(f"no field {name!r}: {type(item).__name__} has no {first!r}{hint}")
    inner = _changed(getattr(item, first), rest, value, name) if rest else value
    return replace(item, **{first: inner})
