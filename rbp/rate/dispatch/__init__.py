"""What a torch function or a layer does to a pair of spikes and rate."""

from rbp.rate.dispatch import apply  # noqa: F401 (pairs go through it)
