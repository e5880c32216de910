"""What a figure shows, read back off its artists."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]


def is_theory(line: Any) -> bool:
    return line.get_linestyle() == "--"


def near(points: Any) -> Any:
    return pytest.approx(np.array(points, dtype=float))


def bands(ax: Axes) -> list[dict[float, Any]]:
    """Lower and upper end of each band at each x."""
    found = []
    for band in ax.collections:
        x, y = np.asarray(band.get_paths()[0].vertices).T
        found.append({float(a): near((y[x == a].min(), y[x == a].max())) for a in np.unique(x)})
    return found


def legend(figure: Figure) -> dict[str, Any]:
    (one,) = figure.legends
    return dict(zip(words(one.get_texts()), one.legend_handles, strict=True))


def words(texts: Any) -> list[str]:
    return [text.get_text() for text in texts]
