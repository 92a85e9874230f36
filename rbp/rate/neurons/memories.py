"""What a neuron remembers from step to step, and how to lend it other values and take them back.

SpikingJelly's neurons keep it in `_memories`. A user's plain nn.Module keeps it in attributes or buffers: any
of them may change in its forward, and those that do are its state.
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

_OF_MODULES = {*nn.Module().__dict__, "forward"}  # no state; forward: a pass puts another in its place


def at_rest(layer: Any) -> dict[str, Any]:
    """The layer's memories by name, before the first step; copies, where a step might write into them.

    Raises NoRuleError for a plain neuron that holds another, or a tensor whose gradient would be lost.
    """
    if isinstance(layer, base.MemoryModule):
        return dict(layer._memories)
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
    """Let the layer have these memories and parameters; afterwards it has its own again.

    Yields a dict that holds, after the block, the memories as the block left them.
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
    """The spikes of one step, x [B, ...], by the layer's own forward."""
    if isinstance(layer, base.MemoryModule):
        return layer.single_step_forward(x)
    s = type(layer).forward(layer, x)
    if not isinstance(s, Tensor) or s.shape != x.shape:
        raise NoRuleError("a neuron's forward must return its spikes alone, in the shape of its input")
    return s


def over_steps(forward: Callable[[Tensor], Tensor], x_seq: Tensor) -> Tensor:
    """A plain neuron's own forward, step by step, on x_seq [T, B, ...], with its graph; in float32 at
    least."""
    wide = x_seq.float() if x_seq.dtype in (torch.bfloat16, torch.float16) else x_seq
    return torch.stack([forward(x) for x in wide]).to(x_seq.dtype)


@contextmanager
def at_rest_afterwards(neurons: Iterable[nn.Module]) -> Iterator[None]:
    """Let whatever attributes and buffers these plain neurons change be as before afterwards."""
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
    """The layer's own attributes and buffers by name, without what every module has."""
    own = {name: value for name, value in layer.__dict__.items() if name not in _OF_MODULES}
    return own | layer._buffers


def put(layer: nn.Module, values: dict[str, Any]) -> None:
    """Give the layer these attributes and buffers."""
    for name, value in values.items():
        (layer._buffers if name in layer._buffers else layer.__dict__)[name] = value


def copied(value: Any) -> Any:
    """What may be written into: a tensor's clone, with its graph, a list's copy; other values as they are."""
    if isinstance(value, Tensor):
        return value.clone()
    return copy.copy(value) if isinstance(value, list | dict | set) else value
