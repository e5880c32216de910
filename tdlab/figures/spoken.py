"""Labels and numbers of figures as plain text that can be read aloud: no TeX, few digits."""

import re

from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, PercentFormatter

_GREEK = {"alpha": "α", "beta": "β", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ"}
_SIGNS = _GREEK | {"rho": "ρ", "sigma": "σ", "tau": "τ", "leq": "≤", "geq": "≥", "times": "×"}
_SIGNS |= {"pm": "±", ",": ""}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def spoken(label: str) -> str:
    """One line of text, its formulas in signs that have a name in every screen reader."""
    return " ".join(re.sub(r"\$([^$]*)\$", lambda its: _formula(its[1]), label).split())


def number(value: float) -> str:
    """Three digits that count; whole numbers of up to six as they are."""
    text = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.removeprefix("-") if value == 0 else text.replace("-", "−")


def said(axis: Axis, value: float) -> str:
    """A number as its axis says it: what stands at its tick, or a percentage, or digits."""
    formatter = axis.get_major_formatter()
    within = 0.5 if categorical(axis) else 1e-6 * abs(value)
    for at, text in ticks(axis).items():
        if abs(at - value) <= within:
            return text
    if isinstance(formatter, PercentFormatter):
        return f"{number(100 * value / formatter.xmax)} %"
    return number(value)


def ticks(axis: Axis) -> dict[float, str]:
    """The texts that were put on an axis, by their places; none where it only counts."""
    formatter = axis.get_major_formatter()
    fixed = isinstance(axis.get_major_locator(), FixedLocator)
    written = fixed and isinstance(formatter, FixedFormatter | FuncFormatter)
    if not (written or categorical(axis)):
        return {}
    places = [float(place) for place in axis.get_majorticklocs()]
    texts = formatter.format_ticks(places)
    return {place: spoken(str(text)) for place, text in zip(places, texts, strict=True) if text}


def worded(axis: Axis) -> bool:
    """Whether what stands on an axis is words, not numbers."""
    texts = ticks(axis).values()
    return bool(texts) and not any(map(is_number, texts))


def categorical(axis: Axis) -> bool:
    """Whether it is an axis of categories, in which seaborn keeps even numbers."""
    return isinstance(axis.get_major_formatter(), StrCategoryFormatter)


def is_number(text: str) -> bool:
    """Whether a text at a tick is only a number."""
    return re.fullmatch(r"[-−+]?[\d.,]+(e[-−+]?\d+)?", text) is not None


def _formula(tex: str) -> str:
    text = re.sub(r"\\([a-zA-Z]+|.)", lambda its: _SIGNS.get(str(its[1]), str(its[1])), tex)
    text = re.sub(r"\^(?:\{([^}]*)\}|(.))", lambda its: _raised(its[1] or its[2]), text)
    text = re.sub(r"_(?:\{([^}]*)\}|(.))", lambda its: _lowered(its[1] or its[2]), text)
    return text.replace("'", "′").replace("-", "−")


def _raised(text: str) -> str:
    if re.fullmatch(r"-?\d+", text):
        return text.translate(_RAISED)
    return f"^({text})" if len(text) > 1 else f"^{text}"


def _lowered(text: str) -> str:
    if text.isdigit():
        return text.translate(_LOWERED)
    return f" {text}" if len(text) > 1 else f"_{text}"
