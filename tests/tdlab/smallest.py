"""The smallest settings in which the tables of a study can be made; a test says what it changes."""

from typing import Any

import tdlab.studies.cot
import tdlab.studies.kernels
import tdlab.studies.multilayer

COT: dict[str, Any] = {
    "seeds": 2,
    "steps": 20,
    "snapshots": 7,
    "width": 9,
    "wide": 9,
    "patterns": 4,
    "chain": 2,
    "length": 6,
    "alpha": 0.7,
    "test_patterns": 3,
    "tau": 0.6,
    "rho": 0.5,
    "tau_o": 0.6,
    "rho_o": 0.5,
    "failing": 0.6,
    "taus": (0.6, 0.65),
    "rhos": (0.4, 0.5),
    "rate_steps": 20,
    "rate_seeds": 2,
    "rate_alphas": (0.5, 0.7, 0.9),
    "rate_chains": (1, 2, 3),
    "rate_patterns": (3, 4, 6),
    "rate_losses": (0.3, 0.25, 0.2),
    "rate_loss": 0.3,
}
KERNELS: dict[str, Any] = {
    "seeds": 2,
    "steps": 10,
    "samples": 2,
    "tokens": 2,
    "width": 4,
    "heads": (1, 2),
    "head_width": 2,
    "value_width": 2,
    "rate_steps": 30,
    "problems": 2,
    "scales": (0.5, 2),
    "query_steps": 1,
    "starts": (0.5, 1.5),
    "scalar_steps": 1,
    "batch": 2,
    "class_seeds": 2,
    "class_snapshots": 1,
    "digit_steps": 1,
    "test_prompts": 2,
    "land_seeds": 2,
    "land_width": 4,
    "land_hidden": 3,
    "land_steps": 1,
    "land_snapshots": 1,
    "land_samples": 2,
    "land_points": 3,
    "land_eigenvalues": 1,
    "land_pieces": 1,
}
# The scaling laws of the in-context study.
LAWS: dict[str, Any] = {
    "law_seeds": 2,
    "law_prompts": 16,
    "law_lrs": (0.05, 0.1, 0.3),
    "law_alphas": (0.5, 0.7, 0.9),
    "law_betas": (2.0, 2.5, 3.0),
    "law_patterns": (4, 6, 7),
    "law_batches": (4, 7, 12),
    "law_test_alphas": (0.4, 0.7, 1.0),
    "law_lengths": (2, 3, 5),
    "law_steps": 6,
    "near_steps": 4,
    "near_law_steps": 6,
    "near_relevant": 6,
}
MULTILAYER: dict[str, Any] = {
    "seeds": 2,
    "steps": 2,
    "batch": 5,
    "layers": 2,
    "width": 4,
    "hidden": 3,
    "snapshots": 1,
    "prompts": 4,
}


def cot(**changes: Any) -> tdlab.studies.cot.Setting:
    return tdlab.studies.cot.setting("quick", **{**COT, **changes})


def kernels(**changes: Any) -> tdlab.studies.kernels.Setting:
    return tdlab.studies.kernels.setting("quick", **{**KERNELS, **changes})


def multilayer(**changes: Any) -> tdlab.studies.multilayer.Setting:
    return tdlab.studies.multilayer.setting("quick", **{**MULTILAYER, **changes})
