"""Networks: plain torch modules with SpikingJelly neurons, for one time step, [B, C, H, W] -> [B, K].

An architecture or a neuron is a function in this package and a YAML file in conf/ whose `_target_` names it.
Modules: `build` (network of a config), `neurons` (LIF, IF, PLIF), `digits` and `dvs` (small networks),
`resnet` and `vgg` (the networks of the paper), `standardised` (scaled weight standardisation).
"""

from rbp.models.build import build

__all__ = ["build"]
