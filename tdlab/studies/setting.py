"""Presets of a study, and how a few of their numbers are changed."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from synthetic_tasks.value import as_html, meant, require_choice
from tdlab.statistics import POINTS

S = TypeVar("S")


def changed(presets: Mapping[str, S], preset: str, changes: Mapping[str, Any]) -> S:
    """The preset with those fields changed that are not ``None``.

    Returns:
        The setting, checked.

    Raises:
        ValueError: for an unknown preset, and numbers out of range.
        TypeError: for an unknown field.
    """
    require_choice("preset", preset, tuple(presets))
    start: Any = presets[preset]
    known = [field.name for field in fields(start)]
    for name in changes:
        if name not in known:
            raise TypeError(f"Setting has no field {name!r}{meant(name, known)}")
    return replace(start, **{k: v for k, v in changes.items() if v is not None})


def require_points(name: str, values: Sequence[float]) -> None:
    """Raises ``ValueError`` unless these are different values, as many as a law needs."""
    if len(set(values)) < max(POINTS, len(values)):
        raise ValueError(f"{name} is {values}, but must be different values, at least {POINTS}")


def shown(setting: Any) -> str:
    """What a notebook shows of a setting: folded, every number that the measurements rest on."""
    count = len(fields(setting))
    return f"<details><summary>the setting, {count} numbers</summary>{as_html(setting)}</details>"
