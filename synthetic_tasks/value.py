"""Values: frozen, keyword-only descriptions that know what fixes them and what is wrong in them."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache, wraps
from html import escape
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar, dataclass_transform, get_type_hints

import numpy as np

T = TypeVar("T")

# A scalar that may differ between the members of one ensemble: it reaches the program as a number
# in a tensor. Every other field fixes the program itself, its shapes above all.
Varying = Annotated[T, "varying"]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(cls: type[T]) -> type[T]:
    """A frozen keyword-only dataclass; what is numpy or a list becomes plain numbers and tuples.

    It prints as the shortest call that makes it, and shows itself in a notebook as a table.

    Returns:
        The dataclass, whose construction raises ``TypeError`` for an unknown field and names the
        nearest known one.
    """
    made: Any = dataclass(frozen=True, kw_only=True, repr=False)(cls)
    known = [field.name for field in fields(made)]
    plain_init = made.__init__

    @wraps(plain_init)
    def init(self: Any, **given: Any) -> None:
        for name in given:
            if name not in known:
                raise TypeError(f"{cls.__name__} has no field {name!r}{meant(name, known)}")
        plain_init(self, **{name: _plain(item) for name, item in given.items()})

    made.__init__ = init
    made.__repr__ = _call
    if not hasattr(cls, "_repr_html_"):
        made._repr_html_ = as_html
    return made


def as_html(item: Any) -> str:
    """A value as a notebook shows it: every field, and bold what is not its default."""
    about = escape((type(item).__doc__ or "").strip().split("\n")[0])
    rows = []
    for field in fields(item):
        text = escape(repr(getattr(item, field.name)))
        text = text if _has_default(field, item) else f"<strong>{text}</strong>"
        rows.append(f'<tr><th scope="row">{field.name}</th><td>{text}</td></tr>')
    name = f"<strong>{type(item).__name__}</strong>"
    return f"<p>{name}: {about}</p><table>{''.join(rows)}</table>"


def meant(name: str, known: list[str]) -> str:
    """The end of an error line about an unknown name: the nearest known one, and all of them."""
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{hint} (it has: {', '.join(known)})"


def canonical(item: Any) -> Any:
    """What fixes a value, as plain JSON: fields at their default are left out, ``1.0`` is ``1``.

    Returns:
        Numbers, strings, lists and objects. A value contributes its class name and its
        ``revision``, the integer that its author raises when the same fields come to mean
        something else.
    """
    if is_dataclass(item):
        fixed = {
            field.name: canonical(getattr(item, field.name))
            for field in fields(item)
            if not _is_default(field, getattr(item, field.name))
        }
        return {"type": type(item).__name__, "revision": getattr(item, "revision", 0), **fixed}
    if isinstance(item, Mapping):
        return {str(name): canonical(part) for name, part in item.items()}
    if isinstance(item, tuple | list):
        return [canonical(part) for part in item]
    item = _plain(item)
    return int(item) if isinstance(item, float) and item.is_integer() else item


def program(item: Any) -> Any:
    """A hashable key that two values share exactly when they may be members of one ensemble."""
    if is_dataclass(item):
        # A value whose numbers all reach the program in tensors says what else there is to it.
        if hasattr(item, "in_program"):
            return (type(item), item.in_program)
        loose = varying(item)
        parts = tuple(
            (field.name, program(getattr(item, field.name)))
            for field in fields(item)
            if field.name not in loose
        )
        return (type(item), parts)
    return tuple(map(program, item)) if isinstance(item, tuple) else item


def varying(item: Any) -> dict[str, float]:
    """The scalars of a value that may differ between ensemble members, by field name."""
    kind: Any = type(item)
    return {name: getattr(item, name) for name in _varying_fields(kind)}


def require_between(
    name: str,
    number: object,
    low: float,
    high: float,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Raises one line unless ``number`` lies between ``low`` and ``high``; NaN never does.

    The ends belong to the range, except infinity, ``low`` if ``above`` and ``high`` if ``below``.
    """
    place = require_number(name, number)
    below = below or high == float("inf")
    high_enough = low < place if above else low <= place
    low_enough = place < high if below else place <= high
    if not (high_enough and low_enough):
        start, end = "(" if above else "[", ")" if below else "]"
        raise ValueError(f"{name} is {number}, but must lie in {start}{low:g}, {high:g}{end}")


def require_number(name: str, number: object) -> Any:
    """``number``, if it is one; raises one line otherwise."""
    if isinstance(number, bool) or not isinstance(number, Real):
        raise TypeError(f"{name} is {number!r}, but must be a number")
    return number


def require_count(name: str, number: object, least: int) -> None:
    """Raises one line unless ``number`` is an integer of at least ``least``."""
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise TypeError(f"{name} is {number!r}, but must be an integer of at least {least}")
    if number < least:
        raise ValueError(f"{name} is {number}, but must be at least {least}")


def require_choice(name: str, choice: object, choices: tuple[str, ...]) -> None:
    """Raises one line unless ``choice`` is one of ``choices``."""
    if choice not in choices:
        raise ValueError(f"{name} is {choice!r}, but must be one of {', '.join(choices)}")


def _call(self: Any) -> str:
    given = [field.name for field in fields(self) if not _has_default(field, self)]
    parts = (f"{name}={getattr(self, name)!r}" for name in given)
    return f"{type(self).__name__}({', '.join(parts)})"


def _has_default(field: Any, item: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return default is not MISSING and bool(default == getattr(item, field.name))


@cache
def _varying_fields(kind: Any) -> tuple[str, ...]:
    hints = get_type_hints(kind, include_extras=True)
    marks = {field.name: getattr(hints[field.name], "__metadata__", ()) for field in fields(kind)}
    return tuple(name for name, marked in marks.items() if "varying" in marked)


def _plain(item: Any) -> Any:
    if isinstance(item, np.generic | np.ndarray):
        return _plain(item.tolist())
    return tuple(map(_plain, item)) if isinstance(item, list | tuple) else item


def _is_default(field: Any, item: Any) -> bool:
    if is_dataclass(item):  # never left out: its revision counts, also where it is the default
        return False
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return default is not MISSING and bool(canonical(default) == canonical(item))
