"""Building the network of a config from its groups `arch` and `neuron`, with seeded initial weights."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from torch import nn

from rbp.config.schema import Arch, Neuron, labels
from rbp.errors import ConfigError
from rbp.seeds import stream


def build(cfg: DictConfig) -> nn.Module:
    """Build the network of a config on the CPU; its initial weights depend only on `seed` and the network.

    The architecture's function is called as `f(neuron, in_channels, classes, **own keys of the group)`, where
    `neuron()` makes one layer of neurons.

    Raises:
        ConfigError: A group's `_target_` cannot be imported or called like this, or does not return a module.
    """
    neuron = _target(cfg.neuron, "neuron", labels(Neuron))
    arch = _target(cfg.arch, "arch", labels(Arch), neuron, cfg.dataset.channels, cfg.dataset.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(cfg.seed, "weights").initial_seed())
        try:
            net = arch()
        except TypeError as error:
            raise ConfigError(
                f"arch={cfg.arch.name} with neuron={cfg.neuron.name}: {cfg.arch._target_} cannot be called "
                f"with (neuron, in_channels, classes): {error}"
            ) from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"arch._target_={cfg.arch._target_}: must return a torch module, not {net!r:.60}")
    return net


def _target(group: DictConfig, key: str, own: tuple[str, ...], *args: Any) -> Callable[[], nn.Module]:
    """Return the group's function with its arguments bound, checked but not called.

    Args:
        group: Config group with a `_target_`.
        key: Name of the group, for error messages.
        own: Keys of the group that are labels, not arguments.
        args: Positional arguments.
    """
    try:
        function = get_method(group._target_)
    except Exception as error:  # Hydra wraps whatever the import raised
        raise ConfigError(f"{key}._target_={group._target_}: cannot be imported: {error}") from error
    values = OmegaConf.to_container(group, resolve=True)
    assert isinstance(values, dict)
    arguments = {str(name): value for name, value in values.items() if name not in own}
    try:
        inspect.signature(function).bind(*args, **arguments)
    except (TypeError, ValueError) as error:  # ValueError: a C function without a signature
        raise ConfigError(f"{key}={group.name}: {group._target_} takes other keys: {error}") from error
    return functools.partial(function, *args, **arguments)
