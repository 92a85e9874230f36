"""An index of a network's modules: what a pass needs to know about them, collected in one traversal."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from spikingjelly.activation_based import base, layer
from torch import nn
from torch.nn.utils import parametrize

from rbp.rate.errors import InputError
from rbp.rate.registry import Kind, kind_of

# Containers that pass single steps to their children, or all T*B samples as one batch. The children keep
# their own step mode.
CONTAINERS = (
    *(layer.StepModeContainer, layer.MultiStepContainer, layer.SeqToANNContainer),
    *(layer.TLastMultiStepContainer, layer.TLastSeqToANNContainer),
    *(layer.ElementWiseRecurrentContainer, layer.LinearRecurrentContainer),
)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is not made of other modules."""
    return next(module.children(), None) is None


def check_not_compiled(network: Network) -> None:
    """Refuse modules that torch.compile has compiled, in a pass whose tensors stand for all steps.

    Raises:
        InputError: if there is one.
    """
    for found in network.layers:
        if "_orig_mod" in found.module._modules or found.module._compiled_call_impl is not None:
            raise InputError(
                f"{found.path or 'the network'} is compiled by torch.compile, which hides its layers: pass "
                "it uncompiled, or use grad_mode='bptt' with step_mode='s'"
            )


class Layer(NamedTuple):
    """A module of a network, with its path in `named_modules()` and its kind."""

    path: str
    module: nn.Module
    kind: Kind


class Network:
    """The modules of a network, classified, in the order of `net.named_modules()`.

    Attributes:
        net: the network itself.
        layers: all modules.
        stateful: the modules that SpikingJelly resets.
        with_step_modes: the modules that have a step mode, except those inside a container.
        computing_weights: the modules with parametrized weights or with forward pre-hooks, which may compute
            weights.
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
        """Whether the network has SpikingJelly's layer wrappers, which take [T, B, ...] in step mode m."""
        return any(
            isinstance(found.module, base.StepModule) and not isinstance(found.module, base.MemoryModule)
            for found in self.layers
        )

    @cached_property
    def generators(self) -> list[torch.Generator]:
        """The random number generators that the modules hold in their attributes."""
        values = [value for found in self.layers for value in vars(found.module).values()]
        return [value for value in values if isinstance(value, torch.Generator)]

    @property
    def neuron_modes(self) -> set[str]:
        """The step modes of the neurons, except those that support only one or are inside a container."""
        modules: list[Any] = [found.module for found in self.with_step_modes]
        neurons = [module for module in modules if isinstance(module, base.MemoryModule)]
        return {module.step_mode for module in neurons if len(module.supported_step_mode()) > 1}
