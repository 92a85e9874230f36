"""How far a gradient mode's gradients are from those of BPTT at the same weights, batches and random masks.

Modules: `measure` (the gradients of several batches, compared with BPTT's, and BPTT's with those of the batch
before: the noise floor), `compare` (cosine and norm, by layer and in all), `untouched` (a network left as it
was), `vanishing` (parameters whose gradient is 0 in truth).
"""

from rbp.alignment import FEWEST
from rbp.gradients.alignment.measure import Alignment, measure

__all__ = ["FEWEST", "Alignment", "measure"]
