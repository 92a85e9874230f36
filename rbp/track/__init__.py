"""Dashboards (wandb, TensorBoard), fed from the run folder by a separate process.

Training does not depend on them: only the run folder connects the two.

Modules: `start` (starts that process for a run), `follow` (the process itself), `online` (the process around
it that keeps an online run offline if wandb's service fails), `reader` (what metrics.jsonl has for it),
`values` (what trackers show), `segments` (wandb's files of a run), `identity` (its id in wandb),
`service_log` (what wandb's service complained of), `upload` (sends one run), `sync` (`rbp sync`, sends what
the service does not have), `dashboard` (`rbp dashboard`, a wandb workspace that compares runs). Subfolder:
`trackers` (those that the process feeds).
"""

from rbp.track.start import TrackerProcess as TrackerProcess
