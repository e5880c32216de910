"""A LaTeX formula as MathML, which browsers typeset without a script."""

import re
from html import escape, unescape
from xml.etree import ElementTree

from latex2mathml import exceptions
from latex2mathml.converter import convert

_namespace = ' xmlns="http://www.w3.org/1998/Math/MathML"'
_refusals = tuple(
    kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
)
# What latex2mathml does not know, and what it knows that means the same.
_otherwise = (
    (r"\\label\{[^}]*\}|\\nonumber\b", ""),  # for cross-references, which a notebook does not have
    (r"\\(begin|end)\{(?:aligned|alignedat|alignat\*?|eqnarray\*?)\}", r"\\\1{align*}"),
    (r"(\\begin\{align\*\})(?:\[[tbc]\]|\{\d\})", r"\1"),
    (r"\\([lr])brace\b", lambda side: r"\{" if side[1] == "l" else r"\}"),
)
# A formula wider than the screen is scrolled, by the keyboard as well.
_reached = 'tabindex="0" role="group" aria-label="formula"'
_arity = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "mroot": 2}
_arity |= {"msubsup": 3, "munderover": 3}


def mathml(tex: str, *, block: bool = False) -> str:
    """Return the formula as a ``<math>`` element; where it is faulty, its source, marked so.

    A report takes minutes to compute, so that a slip in a formula is shown and not raised.
    """
    try:
        html = typeset(tex, block=block)
    except ValueError as error:
        html = f'<code class="bad-maths" title="{escape(str(error))}">{escape(tex)}</code>'
    return f'<div class="maths" {_reached}>{html}</div>' if block else html


def typeset(tex: str, *, block: bool = False) -> str:
    r"""Return the formula as a ``<math>`` element.

    Raises:
        ValueError: the formula is faulty, or uses a command that latex2mathml does not know
            (it would come out as text with its backslash).
    """
    try:
        html = convert(_as_understood(tex), display="block" if block else "inline")
        html = html.replace(_namespace, "")
        fault = _fault(ElementTree.fromstring(html))
    except _refusals as error:
        raise ValueError(f"not a formula: {tex!r} ({type(error).__name__})") from error
    except ElementTree.ParseError as error:
        raise ValueError(f"not a formula: {tex!r} (an ampersand outside a table)") from error
    if fault:
        raise ValueError(f"not a formula: {tex!r} ({fault})")
    return html


def _as_understood(tex: str) -> str:
    r"""The formula in words that latex2mathml knows.

    A formula that stood inside HTML may hold entities, and ``\text`` any sign.

    Returns:
        Another formula, which means the same.
    """
    tex = re.sub(r"&#?\w+;", lambda entity: unescape(entity[0]), tex)
    for other, known in _otherwise:
        tex = re.sub(other, known, tex)
    return re.sub(r"(?<=\\text\{)[^{}$]*(?=\})", _verbatim, tex)


def _verbatim(words: re.Match[str]) -> str:
    return escape(re.sub(r"\\([&%#_$])", r"\1", words[0]), quote=False)


def _fault(formula: ElementTree.Element) -> str:
    """What latex2mathml passed through or left out without a word; empty where all is well."""
    for element in formula.iter():
        text = element.text or ""
        if "\\" in text:
            return f"unknown: {text}"
        if element.tag == "mi" and text in ("{", "}"):
            return f"an unmatched {text}"
        if len(element) != _arity.get(element.tag, len(element)):
            return f"an incomplete {element.tag}"
    return ""
