"""The two regimes in which an asymptotic prediction is measured, as tables name them."""

OURS, NEARER = REGIMES = ("ours", "nearer the theorem")
