"""One training step's forward and backward, in every gradient mode.

Modules: `backward` (`rbp.backward`: BPTT and rate mode by `rbp.forward`, the online modes step by step),
`objective` (the loss that a step differentiates). Subfolders: `online` (SLTT and OTTT), `alignment` (how far
a mode's gradients are from BPTT's).
"""

from rbp.gradients.backward import backward
from rbp.gradients.objective import Step

__all__ = ["Step", "backward"]
