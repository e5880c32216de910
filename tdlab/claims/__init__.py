"""What papers claim: the prediction, the measurement, and a verdict by a rule fixed beforehand."""
