"""A laboratory for the training dynamics of small transformers: predictions beside measurements."""

from typing import TYPE_CHECKING, Any

from tdlab.machine import prepare

if TYPE_CHECKING:
    from tdlab.exploration import explore

__all__ = ["explore"]

prepare()


def __getattr__(name: str) -> Any:
    """``explore``, which is heavy and loaded when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tdlab.exploration import explore

    return explore
