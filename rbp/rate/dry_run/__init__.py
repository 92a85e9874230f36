"""Dry runs of a network on the meta device: what a forward pass would do, without doing it."""
