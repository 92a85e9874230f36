"""How a layer carries a pair: one rule per layer type.

A rule has two halves. `spikes` runs the layer on time steps, without a graph in rate mode, and leaves in a
`Trace` the time means that the backward pass will want. `rate` builds the graph: its value is the time mean
of the layer's output, its backward is the method's. In step mode m the halves follow each other at once; in
mode s `spikes` is called T times with one step each, and `rate` when all are done.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rbp.rate.pair import is_constant


class Trace:
    """What one call of one layer keeps over the T steps: time means by name, and state between steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.means: dict[str, Tensor] = {}
        self.state: Any = None

    def average(self, name: str, x_seq: Tensor) -> None:
        """Let the steps of x_seq [t, ...], some or all of the T, count in the time mean called name."""
        low_precision = x_seq.dtype in (torch.bfloat16, torch.float16)
        x_seq = x_seq[:1].float() if is_constant(x_seq) and low_precision else x_seq
        share = x_seq.shape[0] / self.steps
        if is_constant(x_seq):
            part = x_seq[0]
        else:
            part = x_seq.mean(0, dtype=torch.float32 if low_precision else None)
        self.add(name, part, share)

    def add(self, name: str, part: Tensor, share: float = 1.0) -> None:
        """Add a mean over a share of the steps."""
        part = part if share == 1.0 else part * share
        self.means[name] = part if name not in self.means else self.means[name].add_(part)

    def take(self, name: str) -> Tensor:
        """The time mean called name; it is forgotten here, so that only the graph keeps it."""
        return self.means.pop(name)


class Rule(Protocol):
    """A layer type's way of carrying a pair (see the module's text). x_seq is [t, B, ...], rate [B, ...]."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor: ...

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor: ...


_RULES: dict[type[nn.Module], Rule] = {}


def register(rule: Rule, *layer_types: type[nn.Module]) -> None:
    """Use rule for layers of these types, and of their subclasses that keep the type's own forward."""
    for layer_type in layer_types:
        _RULES[layer_type] = rule


def find_rule(layer: nn.Module) -> Rule | None:
    """The rule for a layer; None where there is none, or where a subclass has a forward of its own."""
    for layer_type in type(layer).__mro__:
        if layer_type in _RULES:
            keeps_forward = type(layer).forward is layer_type.forward
            return _RULES[layer_type] if keeps_forward else None
    return None


def fold_time(f: Any, x_seq: Tensor) -> Tensor:
    """f, written for batches, on x_seq [T, B, ...] as one batch of T*B; once where nothing changes with time."""
    if is_constant(x_seq):
        y = f(x_seq[0])
        return y.expand(x_seq.shape[0], *y.shape)
    return f(x_seq.flatten(0, 1)).unflatten(0, x_seq.shape[:2])
