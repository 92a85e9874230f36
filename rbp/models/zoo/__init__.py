"""SpikingJelly's model zoo with the config's neuron, classes and images.

Modules: `network` (the function that conf/arch/spikingjelly.yaml and conf/arch/sj_*.yaml name), `catalogue`
(the models by name), `settings` (what theirs may be), `wrapped` (models made of SpikingJelly's layer
wrappers), `sequences` (models that take [T, B, C, H, W]).
"""

from rbp.models.zoo.network import spikingjelly

__all__ = ["spikingjelly"]
