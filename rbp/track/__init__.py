"""Dashboards (wandb, TensorBoard), fed from the run folder by a separate process.

Training does not depend on them: only the run folder connects the two.

Modules: `start` (starts that process for a run), `follow` (the process itself), `wandb_run` and
`tensorboard_run` (the trackers it feeds), `values` (what they show), `segments` (wandb's files of a run),
`sync` (`rbp sync`, uploads offline runs), `dashboard` (`rbp dashboard`, a wandb workspace that compares
runs).
"""

from rbp.track.start import TrackerProcess as TrackerProcess
