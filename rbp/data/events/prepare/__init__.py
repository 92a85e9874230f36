"""Prepared frames: made once, on all cores, resumable, and checked when they are read."""
