"""Notebooks executed with parameters into pages that open anywhere, and the index of them."""
