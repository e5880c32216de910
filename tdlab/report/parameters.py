"""The parameters a notebook declares in its tagged cell, and the values it may be given."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from nbformat import NotebookNode

_types = {"str": str, "int": int, "float": float, "bool": bool, "list": list}
_examples = {str: "text", int: 3, float: 0.5, bool: True, list: [1, 2]}
_words = {"none": None, "true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One line ``name: type = literal  # meaning`` of a parameters cell."""

    name: str
    type: type
    optional: bool = False
    default: object = None
    meaning: str = ""

    def accept(self, given: object) -> object:
        """Return ``given`` as this parameter's type: text is read, scalars and tuples converted.

        Raises:
            TypeError: the value is of another type; the message says what would be right.
        """
        value = _plain(given)
        if isinstance(value, str) and (self.type is not str or value.lower() == "none"):
            value = _read(value, self)
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is self.type or (value is None and self.optional):
            return value
        raise TypeError(f"parameter {self.name!r} takes {self.expected}; got {given!r}")

    def points(self, given: str | Sequence[object]) -> list[object]:
        """Return the values of a grid over this parameter, given one by one or as text with commas.

        Raises:
            TypeError: one of the values is of another type.
        """
        if isinstance(given, str):
            given = _split(given) if self.type is list else given.split(",")
        return [self.accept(value.strip() if isinstance(value, str) else value) for value in given]

    @property
    def expected(self) -> str:
        """The right kind of value in words, with an example."""
        example = _examples[self.type] if self.default is None else self.default
        return f"{self.type.__name__}{' or none' * self.optional}, such as {example!r}"


def declared(notebook: NotebookNode, name: str) -> dict[str, Parameter]:
    """Return the parameters that the cell tagged ``parameters`` declares; none without such a cell.

    Raises:
        ValueError: a line of that cell is not ``name: type = literal``.
    """
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    if not tagged:
        return {}
    source = tagged[0].source
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"{name}: parameters cell, line {error.lineno}: {error.msg}") from error
    lines = [line for line in statements if not isinstance(line, (ast.Import, ast.ImportFrom))]
    parameters = [_declaration(line, source, name) for line in lines]
    return {parameter.name: parameter for parameter in parameters}


def check(
    given: Mapping[str, object], known: Mapping[str, Parameter], name: str
) -> dict[str, object]:
    """Return the given values, each converted to the type that notebook ``name`` declares for it.

    Raises:
        ValueError: the notebook has no parameter of that name.
        TypeError: a value is of the wrong type.
    """
    for key in given:
        if key not in known:
            raise ValueError(_unknown(key, known, name))
    return {key: known[key].accept(value) for key, value in given.items()}


def _unknown(key: str, known: Mapping[str, Parameter], name: str) -> str:
    close = get_close_matches(key, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown parameter {key!r} for {name}{guess} (it has: {', '.join(known) or 'none'})"


def _plain(value: object) -> object:
    """Numpy scalars and arrays as Python values, tuples as lists; all else as it is."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _split(text: str) -> list[object]:
    """The lists in ``text``; their own commas do not separate them."""
    try:
        return ast.literal_eval(f"[{text}]")
    except (ValueError, SyntaxError):
        return [text]


def _read(text: str, parameter: Parameter) -> object:
    """The literal that ``text`` spells, or the text itself where it spells none."""
    if text.lower() in _words:
        word = _words[text.lower()]
        return text if word is None and not parameter.optional else word
    try:
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text


def _declaration(line: ast.stmt, source: str, name: str) -> Parameter:
    text = ast.get_source_segment(source, line) or ""
    where = f"{name}: parameters cell, line {line.lineno}:"
    match line:
        case ast.AnnAssign(
            target=ast.Name(id=key), annotation=annotation, value=ast.expr() as value
        ):
            kind, optional = _annotation(annotation)
        case _:
            kind = None
    if kind is None:
        raise ValueError(
            f"{where} {text!r} is not 'name: type = literal' "
            f"with type one of {', '.join(_types)} or Optional[...] of these"
        )
    parameter = Parameter(name=key, type=kind, optional=optional, meaning=_comment(source, line))
    try:
        return replace(parameter, default=_default(value, parameter))
    except (ValueError, TypeError) as error:
        right = parameter.expected
        raise ValueError(f"{where} the default in {text!r} is not a literal {right}") from error


def _default(value: ast.expr, parameter: Parameter) -> object:
    """The literal itself: text is not read here, because run by hand the notebook would not."""
    literal = ast.literal_eval(value)
    if isinstance(literal, str) and parameter.type is not str:
        raise TypeError(f"{literal!r} is text")
    return parameter.accept(literal)


def _annotation(node: ast.expr) -> tuple[type | None, bool]:
    """The type that an annotation names and whether it is optional; no type where unknown."""
    match node:
        case ast.Name(id=word):
            return _types.get(word), False
        case ast.Subscript(value=ast.Name(id="Optional"), slice=ast.Name(id=word)):
            return _types.get(word), True
    return None, False


def _comment(source: str, line: ast.stmt) -> str:
    """What stands behind the ``#`` at the end of this line."""
    last = source.splitlines()[(line.end_lineno or line.lineno) - 1]
    rest = last.encode()[line.end_col_offset or 0 :].decode()
    return rest.partition("#")[2].strip()
