"""Read a neuron's memories, replace them for a step, and restore them.

Memories are what a neuron carries from step to step. SpikingJelly's neurons keep them in `_memories`. A
user-defined plain nn.Module keeps them in attributes or buffers; those that its forward changes are its
state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.draws import at_each_step
from rbp.rate.neurons.hidden_state import unguarded

_OF_MODULES = {*nn.Module().__dict__, "forward"}  # not state; a pass replaces forward


def at_rest(layer: Any) -> dict[str, Any]:
    """Return the layer's memories before the first step, by name.

    Those of a plain neuron are copied, as a step may write to them in place.

    Raises:
        NoRuleError: If a plain neuron contains one of SpikingJelly's modules with memories, or holds a tensor
            whose gradient would be lost.
    """
    if isinstance(layer, base.MemoryModule):
        return unguarded(layer._memories)
    if any(isinstance(inner, base.MemoryModule) for inner in layer.modules()):
        raise NoRuleError("it holds a neuron of SpikingJelly's, whose state is not its own")
    own = attributes(layer)
    for name, value in own.items():
        if isinstance(value, Tensor) and value.requires_grad:
            raise NoRuleError(
                f"its {name} is a tensor with a gradient and no parameter: make it an nn.Parameter, or, "
                "where it is a state left from another pass, set it back"
            )
    return {name: copied(value) for name, value in own.items()}


@contextmanager
def lent(layer: Any, memories: dict[str, Any], parameters: dict[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Replace the layer's memories and parameters within a with block.

    Args:
        layer: The neuron.
        memories: Memories by name.
        parameters: Parameters by name; others keep their value.

    Yields:
        A dict that holds, after the block, the memories as the block left them.
    """
    after: dict[str, Any] = {}
    own = dict(layer._parameters)
    with _memories_lent(layer, memories, after):
        try:
            layer._parameters.update(parameters)
            yield after
        finally:
            layer._parameters.update(own)


@contextmanager
def _memories_lent(layer: Any, memories: dict[str, Any], after: dict[str, Any]) -> Iterator[None]:
    if not isinstance(layer, base.MemoryModule):
        with _attributes_kept(layer):
            put(layer, {name: copied(value) for name, value in memories.items()})
            yield
            after.update(attributes(layer))
        return
    own = dict(layer._memories)
    try:
        layer._memories.update(memories)
        yield
        after.update(layer._memories)
    finally:
        layer._memories.clear()
        layer._memories.update(own)


def one_step(layer: Any, x: Tensor) -> Tensor:
    """Return the spikes [B, ...] for the input x [B, ...] of one step, by the layer's own forward.

    Raises:
        NoRuleError: If a plain neuron returns anything but spikes in the shape of x.
    """
    if isinstance(layer, base.MemoryModule):
        return layer.single_step_forward(x)
    s = type(layer).forward(layer, x)
    if not isinstance(s, Tensor) or s.shape != x.shape:
        raise NoRuleError("a neuron's forward must return its spikes alone, in the shape of its input")
    return s


def over_steps(forward: Callable[[Tensor], Tensor], x_seq: Tensor) -> Tensor:
    """Run a plain neuron's own forward step by step, with its graph.

    Args:
        forward: The neuron's forward, from [B, ...] to [B, ...].
        x_seq: Input [T, B, ...]. Half precision is computed in float32.

    Returns:
        The output [T, B, ...], in the dtype of x_seq.
    """
    wide = x_seq.float() if x_seq.dtype in (torch.bfloat16, torch.float16) else x_seq
    return torch.stack(at_each_step(forward, list(wide), x_seq.device)).to(x_seq.dtype)


@contextmanager
def at_rest_afterwards(neurons: Iterable[nn.Module]) -> Iterator[None]:
    """Restore the attributes and buffers of these plain neurons after a with block."""
    with ExitStack() as stack:
        for module in neurons:
            stack.enter_context(_attributes_kept(module))
            put(module, {name: copied(value) for name, value in attributes(module).items()})
        yield


@contextmanager
def _attributes_kept(layer: nn.Module) -> Iterator[None]:
    own = attributes(layer)
    try:
        yield
    finally:
        for name in attributes(layer).keys() - own.keys():
            del layer.__dict__[name]
        put(layer, own)


def attributes(layer: nn.Module) -> dict[str, Any]:
    """Return the layer's attributes and buffers by name, without those of every nn.Module."""
    own = {name: value for name, value in layer.__dict__.items() if name not in _OF_MODULES}
    return own | layer._buffers


def put(layer: nn.Module, values: dict[str, Any]) -> None:
    """Set attributes and buffers of the layer, by name."""
    for name, value in values.items():
        (layer._buffers if name in layer._buffers else layer.__dict__)[name] = value


def copied(value: Any) -> Any:
    """Return a copy that may be written to in place.

    A tensor is cloned with its graph; a list, dict or set is copied shallowly; other values are returned
    unchanged.
    """
    if isinstance(value, Tensor):
        return value.clone()
    return copy.copy(value) if isinstance(value, list | dict | set) else value
