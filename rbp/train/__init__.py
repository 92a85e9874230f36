"""Training and evaluation of one run: from a frozen config to a run folder with its result.

Modules: `run` (the training loop), `epoch` (one epoch), `evaluate` (accuracy and firing rates), `over_time`
(accuracy after t steps), `state` (data, network and optimizer of a run), `optimizer` (optimizer and learning-
rate schedule), `early_stop` (ending before the last epoch), `device` (device, precision and machine
description), `ranks` (several processes that train one network), `meeting` (where they meet), `load` (the
trained network of a run folder).
Subfolders: `step` (one training step), `alignment` (how far rate mode's gradients are from BPTT's), `resume`
(checkpoints and stop requests), `operations` (synaptic operations and their energy), `telemetry` (costs,
progress, display and the files written while training).
"""

from rbp.train.evaluate import evaluate
from rbp.train.run import train

__all__ = ["evaluate", "train"]
