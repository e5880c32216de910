"""Models, one file for each that a theorem is about."""

from tdlab.models.activations import (
    GELU,
    Activation,
    PolyNorm,
    PolyReLU,
    ReLU,
    SiLU,
    SquaredReLU,
)
from tdlab.models.clamp import clamped
from tdlab.models.kernel_layer import KernelLayer
from tdlab.models.kernels import KERNELS
from tdlab.models.model import LinearInTokens, Model, Params, over_members, over_prompts, stacked
from tdlab.models.one_head import FactoredOneHead, Head, OneHead
from tdlab.models.one_layer import OneLayer
from tdlab.models.one_query import OneQuery
from tdlab.models.sequence_classifier import SequenceClassifier
from tdlab.models.transformer import Transformer

__all__ = [
    "GELU",
    "KERNELS",
    "Activation",
    "FactoredOneHead",
    "Head",
    "KernelLayer",
    "LinearInTokens",
    "Model",
    "OneHead",
    "OneLayer",
    "OneQuery",
    "Params",
    "PolyNorm",
    "PolyReLU",
    "ReLU",
    "SequenceClassifier",
    "SiLU",
    "SquaredReLU",
    "Transformer",
    "clamped",
    "over_members",
    "over_prompts",
    "stacked",
]
