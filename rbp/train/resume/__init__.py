"""Stopping a run at any time and resuming it bit for bit.

Modules: `checkpoint` (writing and reading checkpoint files), `fingerprint` (whether the images are those of
before), `history` (what a run has done so far), `interrupt` (stop requests), `step_boundary` (checkpoints and
stops between two steps).
"""
