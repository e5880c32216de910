"""Greek letters and signs, which a terminal spells out and a page need not."""

import re

MARKS = {"agrees": "✓", "disagrees": "✗", "inconclusive": "?"}  # of verdicts

# From patterns of what is written to what is shown.
SYMBOLS = {
    r"\beps\b": "ε",
    r"\beta\b": "η",
    r"\balpha\b": "α",
    r"\bbeta\b": "β",
    r"\bkappa\b": "κ",
    r"\bdelta\b": "δ",
    r"\bOmega\b": "Ω",
    r"\bTheta\b": "Θ",
    r"\btau\b": "τ",
    r"\btau_o\b": "τₒ",
    r"\brho\b": "ρ",
    r"\brho_o\b": "ρₒ",
    r"\bS_1\b": "S₁",
    r"\bM1\b": "M₁",
    r"\^-1/2": "⁻¹ᐟ²",
    r"\^-2/3": "⁻²ᐟ³",
    r"\^-2": "⁻²",
    r"\^-1\b": "⁻¹",
    r"\^2\b": "²",
    r"\^3\b": "³",
    r"\bsqrt\b": "√",
    "<=": "≤",
    ">=": "≥",
}


def in_symbols(text: str) -> str:
    """The same with Greek letters and signs in place of their names, formulas of TeX left alone."""
    formula = re.compile(r"(\$[^$]+\$)")
    return "".join(
        part if formula.fullmatch(part) else _replaced(part) for part in formula.split(text)
    )


def _replaced(text: str) -> str:
    for name, symbol in SYMBOLS.items():
        text = re.sub(name, symbol, text)
    return text
