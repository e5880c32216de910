"""One progress line: a bar in a terminal, a line now and then in a log."""

import sys
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm


@runtime_checkable
class Progress(Protocol):
    """A line that shows how far work has come."""

    def update(self, n: float | None = 1) -> object:
        """Moves the line on by ``n`` units."""


def bar(total: int, label: str, *, unit: str, out: Any = None) -> "tqdm[None]":
    """A bar over ``total`` units on a text stream, stderr; in a log a line every 20 seconds."""
    out = out or sys.stderr
    terminal = out.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        file=out,
        ascii=None if terminal else True,
        mininterval=0.2 if terminal else 20,
        maxinterval=1 if terminal else 60,
        delay=0 if terminal else 20,
        leave=False,
        dynamic_ncols=terminal,
    )
