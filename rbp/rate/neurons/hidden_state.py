"""Guard the state of neurons that a pass computes in its own way.

All steps at once, and in rate mode, a neuron's membrane potential is never what it is after a step. A network
that reads it in its forward, or resets the neuron, would be another network, without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from rbp.rate.errors import NoRuleError

_NOTHING = torch.empty((), device="meta")


class Guard(Tensor):
    """Stands for a neuron's memory; raises NoRuleError when it is used.

    Attributes:
        own: the memory at rest.
    """

    own: Any

    @staticmethod
    def of(own: Any) -> Guard:
        guard = Tensor._make_subclass(Guard, _NOTHING)
        guard.own = own
        return guard

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        raise NoRuleError(_MESSAGE)


_MESSAGE = (
    "the network reads or changes a neuron's membrane potential, or changes its settings, in its forward: "
    "only a pass step by step has these at every step; use step_mode='s' with grad_mode='bptt'"
)


def unguarded(memories: dict[str, Any]) -> dict[str, Any]:
    """Return the memories at rest, in the place of their guards."""
    return {name: value.own if type(value) is Guard else value for name, value in memories.items()}


def _settings(neuron: nn.Module) -> dict[str, Any]:
    """Return a neuron's settings that are numbers: threshold, time constant, reset.

    Empty for a class of the user's own, whose forward may change them itself.
    """
    if not type(neuron).__module__.startswith("spikingjelly."):
        return {}
    return {name: value for name, value in vars(neuron).items() if isinstance(value, int | float | bool)}


@contextmanager
def states_guarded(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Guard the memories of SpikingJelly's neurons among the modules.

    Raises:
        NoRuleError: if the network has changed one of them, or a setting of a neuron.
    """
    neurons = [(m, dict(m._memories)) for m in modules if isinstance(m, base.MemoryModule)]
    settings = [_settings(neuron) for neuron, _ in neurons]
    guards = [{name: Guard.of(value) for name, value in own.items()} for _, own in neurons]
    try:
        for (neuron, _), own_guards in zip(neurons, guards, strict=True):
            neuron._memories.update(own_guards)
        yield
        for (neuron, _), own_guards in zip(neurons, guards, strict=True):
            if any(neuron._memories.get(name) is not guard for name, guard in own_guards.items()):
                raise NoRuleError(_MESSAGE)
        if [_settings(neuron) for neuron, _ in neurons] != settings:
            raise NoRuleError(_MESSAGE)
    finally:
        for neuron, own in neurons:
            neuron._memories.clear()
            neuron._memories.update(own)
