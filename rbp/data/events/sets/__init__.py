"""The event data sets."""
