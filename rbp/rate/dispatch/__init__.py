"""The pair of spikes and rate, and how torch functions and layers act on it."""

from rbp.rate.dispatch import apply  # noqa: F401 (pairs go through it)
