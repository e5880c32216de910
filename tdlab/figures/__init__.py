"""Figures: a module for each study, in it a function from table to ``Figure``, in one style."""
