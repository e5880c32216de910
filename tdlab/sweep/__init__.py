"""Many runs: what a store lacks of them is trained, and what is there is handed back."""

from tdlab.sweep.sweep import Outcome, report, train, trained

__all__ = ["Outcome", "report", "train", "trained"]
