"""Masks are boolean: numbers in their place would be multiplied with, or taken as places."""

import torch
from torch import Tensor


def require_boolean(name: str, mask: object) -> None:
    """Raises ``TypeError`` unless the mask is a tensor of booleans."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name} is {mask!r}, but must be a boolean tensor")
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} has dtype {mask.dtype}, but must be boolean")
