"""The configuration of a run as JSON, as Python, and as columns of a table."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

_WIDTH = 88  # of a line of Python


def encoded(item: Any) -> Any:
    """A value with all its fields, the class of each value beside them.

    Returns:
        Plain JSON.

    Raises:
        TypeError: for a field that is no number, text, tuple or value.
    """
    if is_dataclass(item):
        kind = type(item)
        its = {field.name: encoded(getattr(item, field.name)) for field in fields(item)}
        return {"type": f"{kind.__module__}:{kind.__qualname__}", **its}
    if isinstance(item, tuple):
        return [encoded(part) for part in item]
    if item is None or isinstance(item, bool | int | float | str):
        return item
    raise TypeError(f"{item!r} cannot be stored: it is no number, text, tuple or value")


def decoded(item: Any) -> Any:
    """What was encoded, made anew.

    Returns:
        The value.

    Raises:
        ValueError: for a class that is not there any more, or is none of values.
    """
    if isinstance(item, list):
        return tuple(map(decoded, item))
    if not isinstance(item, dict):
        return item
    module, _, name = item["type"].partition(":")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no {item['type']} here: {error}") from error
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise ValueError(f"{item['type']} is no class of values")
    return kind(**{name: decoded(part) for name, part in item.items() if name != "type"})


def as_python(item: dict[str, Any]) -> str:
    """The lines of Python that make an encoded run again."""
    imports = "\n".join(
        f"from {module} import {', '.join(sorted(names))}"
        for module, names in sorted(_classes(item).items())
    )
    return f"{imports}\n\nrun = {_expression(item, '')}"


def columns(item: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The fields of an encoded value by their dotted paths.

    Returns:
        Numbers and text: for a value the name of its class, for a list what Python prints.
    """
    found: dict[str, Any] = {}
    for name, part in item.items():
        if name == "type":
            continue
        if isinstance(part, dict):
            found[path + name] = part["type"].partition(":")[2]
            found |= columns(part, f"{path}{name}.")
        else:
            found[path + name] = str(tuple(part)) if isinstance(part, list) else part
    return found


def _classes(item: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in _values(item):
        module, _, name = each["type"].partition(":")
        found.setdefault(module, set()).add(name.partition(".")[0])
    return found


def _values(item: Any) -> Iterator[dict[str, Any]]:
    if isinstance(item, dict):
        yield item
    for part in item.values() if isinstance(item, dict) else item:
        if isinstance(part, dict | list):
            yield from _values(part)


def _expression(item: Any, indent: str) -> str:
    if isinstance(item, list):
        parts = [_expression(part, indent) for part in item]
        return f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    if isinstance(item, float) and item in {float("inf"), float("-inf")}:
        return f'float("{item}")'
    if not isinstance(item, dict):
        return json.dumps(item) if isinstance(item, str) else repr(item)
    name = item["type"].partition(":")[2]
    further = indent + "    "
    parts = [f"{k}={_expression(part, further)}" for k, part in item.items() if k != "type"]
    line = f"{name}({', '.join(parts)})"
    if len(indent) + len(line) <= _WIDTH and "\n" not in line:
        return line
    lines = "".join(f"{further}{part},\n" for part in parts)
    return f"{name}(\n{lines}{indent})"
