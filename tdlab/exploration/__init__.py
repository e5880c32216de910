"""Walking through runs in Jupyter: what is seen at a step, and controls to choose it."""

from tdlab.exploration.exploration import Exploration, explore

__all__ = ["Exploration", "explore"]
