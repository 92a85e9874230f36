"""For all tests: no tracker beside each of the hundreds of runs; those of trackers switch theirs on."""

import os

os.environ.setdefault("WANDB_MODE", "disabled")
