"""Networks: plain torch modules with SpikingJelly neurons, for one time step, [B, C, H, W] -> [B, K].

An architecture or a neuron is one function here, and one YAML file in conf/ whose `_target_` names it.
"""

from rbp.models.build import build

__all__ = ["build"]
