"""Models, one file for each that a theorem is about."""

from tdlab.models.model import Model, Params, over_members, over_prompts, stacked
from tdlab.models.one_head import FactoredOneHead, OneHead
from tdlab.models.one_layer import OneLayer

__all__ = [
    "FactoredOneHead",
    "Model",
    "OneHead",
    "OneLayer",
    "Params",
    "over_members",
    "over_prompts",
    "stacked",
]
