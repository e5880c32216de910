"""Does the Gaussian kernel train faster, and to a higher accuracy?"""

import pandas as pd

from tdlab.claims.claim import INCONCLUSIVE, Claim, Finding, above
from tdlab.claims.rows import by_seed, over_seeds, paired, select
from tdlab.claims.song2024.constants import CHANCE, KERNELS, SOURCE


def _classification(classification: pd.DataFrame) -> list[Finding]:
    found = []
    for task, rows in select(classification, source="measured").groupby("task", sort=True):
        last = rows[rows.step == rows.step.max()]
        accuracy = [by_seed(last, quantity="accuracy", kernel=kernel) for kernel in KERNELS]
        trained = rows[rows.step > 0]
        loss = [by_seed(trained, quantity="loss", kernel=kernel) for kernel in KERNELS]
        parts = [
            above(
                f"{task}: accuracy, Gaussian less softmax",
                paired(accuracy[1], accuracy[0]),
                0.0,
                "> 0: higher",
            ),
            above(
                f"{task}: loss over training, softmax less Gaussian",
                paired(loss[0], loss[1]),
                0.0,
                "> 0: the Gaussian kernel is faster",
            ),
        ]
        best = max(over_seeds(last, quantity="accuracy", kernel=kernel).low for kernel in KERNELS)
        found += parts if best > CHANCE else [_at_chance(part) for part in parts]
    return found


def _at_chance(finding: Finding) -> Finding:
    """What guessing says about two kernels is nothing, whichever of them is ahead."""
    part = f"{finding.part} (neither surely above chance)"
    return finding._replace(part=part, verdict=INCONCLUSIVE)


classification = Claim(
    id="kernels.classification",
    statement="On sequences the Gaussian kernel trains faster, and to a higher accuracy.",
    equation=r"L_{Gauss}(t) < L_{softmax}(t), \qquad A_{Gauss} > A_{softmax}",
    source=SOURCE,
    rule="two layers, Adam with one step size for both kernels, not tuned; by task, 95 % intervals "
    "over seeds of paired differences of the held-out accuracy at the end, and of the held-out "
    "loss averaged over training: in favour of Gaussian; inconclusive where neither accuracy is "
    f"surely above {CHANCE:g} (ours)",
    regime="The paper trains on real text and on Pathfinder for longer; here {s.digit_steps} steps "
    "on digits, {s.text_steps} on generated text and {s.path_steps} on 16 x 16 Pathfinder, batch "
    "{s.batch}, {s.class_seeds} seeds.",
    page="kernels_classification",
    needs=("classification",),
    judge=_classification,
)
