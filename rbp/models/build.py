"""Building the network of a config from its groups `arch` and `neuron`, with seeded initial weights."""

import torch
from omegaconf import DictConfig
from torch import nn

from rbp.config.schema import Arch, Neuron, labels
from rbp.errors import ConfigError
from rbp.seeds import stream
from rbp.targets import function_of


def build(cfg: DictConfig) -> nn.Module:
    """Build the network of a config on the CPU; its initial weights depend only on `seed` and the network.

    The architecture's function is called as `f(neuron, in_channels, classes, **own keys of the group)`, where
    `neuron()` makes one layer of neurons.

    Raises:
        ConfigError: A group's `_target_` cannot be imported or called like this, or does not return a module.
    """
    neuron = function_of(cfg.neuron, "neuron", labels(Neuron))
    # norm comes with some files, so a function without it works by arch._target_ alone.
    unneeded = {"norm": "batch"}
    arch = function_of(cfg.arch, "arch", labels(Arch), "neuron", "in_channels", "classes", unneeded=unneeded)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(cfg.seed, "weights").initial_seed())
        try:
            net = arch(neuron, cfg.dataset.channels, cfg.dataset.classes)
        except TypeError as error:
            raise ConfigError(
                f"arch={cfg.arch.name} with neuron={cfg.neuron.name}: {cfg.arch._target_} cannot be called "
                f"with (neuron, in_channels, classes): {error}"
            ) from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"arch._target_={cfg.arch._target_}: must return a torch module, not {net!r:.60}")
    return net
