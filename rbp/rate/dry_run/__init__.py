"""Dry runs of a network: what a forward pass would do, and whether its steps compute the same."""
