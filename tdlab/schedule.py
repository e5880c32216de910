"""At which steps something happens, as data."""

from typing import Protocol, runtime_checkable

import numpy as np

from synthetic_tasks.value import require_count, value


@runtime_checkable
class Schedule(Protocol):
    """Steps, given how many there are; step s is the state after s updates."""

    def steps(self, total: int) -> tuple[int, ...]:
        """Increasing steps in 0..total."""


@value
class LogSpaced:
    """The start, the end, and about ``count`` steps between them, evenly spaced on a log axis."""

    count: int = 20

    def __post_init__(self) -> None:
        require_count("count", self.count, 1)

    def steps(self, total: int) -> tuple[int, ...]:
        """0, the distinct rounded powers, ``total``."""
        if total == 0:
            return (0,)
        return (0, *sorted({round(step) for step in np.geomspace(1, total, self.count)} | {total}))


@value
class Every:
    """Every ``stride`` steps from the start, and the end."""

    stride: int

    def __post_init__(self) -> None:
        require_count("stride", self.stride, 1)

    def steps(self, total: int) -> tuple[int, ...]:
        """0, stride, 2 stride, ..., ``total``."""
        return tuple(sorted({*range(0, total, self.stride), total}))


@value
class At:
    """Exactly these steps, as far as the training goes."""

    at: tuple[int, ...]

    def __post_init__(self) -> None:
        for step in self.at:
            require_count("a step of a schedule", step, 0)

    def steps(self, total: int) -> tuple[int, ...]:
        """Those of the steps that do not lie beyond ``total``."""
        return tuple(sorted({step for step in self.at if step <= total}))
