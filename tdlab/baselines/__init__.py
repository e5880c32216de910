"""What a prompt gives away without a transformer: classical learners, and the Bayes predictor.

Axes: b prompt, l context example, d feature, t task. Labels and predictions are +1 or -1.
"""

from tdlab.baselines.bayes import bayes_optimal, bayes_risk
from tdlab.baselines.learners import LEARNERS, classical

__all__ = ["LEARNERS", "bayes_optimal", "bayes_risk", "classical"]
