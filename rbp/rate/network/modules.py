"""A network, and what a pass wants to know of its modules: found in one walk."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

from spikingjelly.activation_based import base, layer
from torch import nn
from torch.nn.utils import parametrize

from rbp.rate.registry import Kind, kind_of

# They hand their children single steps, or T*B of them as one batch: the children keep a step mode of their
# own.
CONTAINERS = (
    *(layer.StepModeContainer, layer.MultiStepContainer, layer.SeqToANNContainer),
    *(layer.TLastMultiStepContainer, layer.TLastSeqToANNContainer),
    *(layer.ElementWiseRecurrentContainer, layer.LinearRecurrentContainer),
)


class Layer(NamedTuple):
    """A module of a network, its path, and what it is to the engine."""

    path: str
    module: nn.Module
    kind: Kind


class Network:
    """A network's modules, in the order of `net.named_modules()`, each looked up once.

    Attributes:
        net: the network itself.
        layers: every module.
        stateful: the modules that SpikingJelly resets.
        with_step_modes: the modules that know step modes, but for what a container holds.
        computing_weights: the modules whose weights are parametrized or made by hooks.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.layers = [Layer(path, module, kind_of(module)) for path, module in net.named_modules()]
        self.stateful: list[Any] = []
        step_modules: list[Layer] = []
        self.computing_weights: list[nn.Module] = []
        held: set[nn.Module] = set()
        for found in self.layers:
            module = found.module
            if isinstance(module, base.StepModule):
                step_modules.append(found)
                if hasattr(module, "reset"):
                    self.stateful.append(module)
            if isinstance(module, CONTAINERS):
                held.update(set(module.modules()) - {module})
            if module._forward_pre_hooks or parametrize.is_parametrized(module):
                self.computing_weights.append(module)
        self.with_step_modes = [found for found in step_modules if found.module not in held]

    @cached_property
    def neurons(self) -> list[Layer]:
        return [found for found in self.layers if found.kind.is_neuron]

    @cached_property
    def time_visible(self) -> bool:
        """Whether it has SpikingJelly's layer wrappers: in step mode m these take [T, B, ...]."""
        return any(
            isinstance(found.module, base.StepModule) and not isinstance(found.module, base.MemoryModule)
            for found in self.layers
        )

    @property
    def neuron_modes(self) -> set[str]:
        """The step modes that its neurons are in, but for those that know one only, or stand in a container
        that calls them as it wants."""
        modules: list[Any] = [found.module for found in self.with_step_modes]
        neurons = [module for module in modules if isinstance(module, base.MemoryModule)]
        return {module.step_mode for module in neurons if len(module.supported_step_mode()) > 1}
