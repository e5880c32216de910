"""The scorecard: every claim with its prediction, measurement, 95 % interval and verdict."""

from tdlab.scorecard.card import Card, Scorecard, chosen, measure

__all__ = ["Card", "Scorecard", "chosen", "measure"]
