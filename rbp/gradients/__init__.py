"""One training step's forward and backward, in every gradient mode.

Modules: `backward` (`rbp.backward`: BPTT and rate mode by `rbp.forward`, the online modes step by step),
`objective` (the loss that a step differentiates). Subfolder: `online` (SLTT and OTTT).
"""

from rbp.gradients.backward import backward
from rbp.gradients.objective import Step

__all__ = ["Step", "backward"]
