"""Small figures: of each claim the prediction, drawn on what was measured, in one panel."""

from matplotlib.figure import Figure

from tdlab.figures.small import cot, icl, kernels, multilayer
from tdlab.figures.small.panel import Tables, drawn

_FIGURES = {**icl.FIGURES, **cot.FIGURES, **multilayer.FIGURES, **kernels.FIGURES}

__all__ = ["Tables", "small"]


def small(claim: str, tables: Tables) -> Figure:
    """The small figure of the claim with this id, drawn from the tables that it is judged by.

    Returns:
        A figure of one panel; its label is a sentence that says what is to be seen.

    Raises:
        ValueError: for a claim that has none.
    """
    if claim not in _FIGURES:
        known = ", ".join(sorted(_FIGURES))
        raise ValueError(f"there is no small figure of the claim {claim!r}, only of {known}")
    return drawn(_FIGURES[claim], tables)
