"""Models, one file for each that a theorem is about."""

from tdlab.models.model import Model, Params, over_members, over_prompts, stacked
from tdlab.models.one_head import FactoredOneHead, Head, OneHead
from tdlab.models.one_layer import OneLayer

__all__ = [
    "FactoredOneHead",
    "Head",
    "Model",
    "OneHead",
    "OneLayer",
    "Params",
    "over_members",
    "over_prompts",
    "stacked",
]
