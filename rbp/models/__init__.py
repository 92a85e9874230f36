"""Networks: plain torch modules with SpikingJelly neurons, for one time step, [B, C, H, W] -> [B, K].

Those of SpikingJelly's model zoo may take all time steps at once, [T, B, C, H, W].

An architecture or a neuron is a function in this package and a YAML file in conf/ whose `_target_` names it.
Modules: `build` (network of a config), `neurons` (LIF, IF, PLIF), `digits` and `dvs` (small networks),
`resnet`, `resnet34` and `vgg` (the networks of the paper), `standardised` (scaled weight standardisation),
`zoo` (SpikingJelly's models).
"""

from rbp.models.build import build

__all__ = ["build"]
