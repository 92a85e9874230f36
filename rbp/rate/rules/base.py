"""How a layer carries a pair: one rule per layer type.

A rule has two halves. `spikes` runs the layer on time steps, without a graph, and leaves in a `Trace` the
time means that the backward pass will want. `rate` builds the graph: its value is the time mean of the
layer's output, its backward is the method's. In step mode m the halves follow each other at once; in mode s
`spikes` is called T times with one step each, and `rate` when all are done.

A rule of one's own, for a layer that commutes with the time mean, is one line:

    rbp.rate.register(rbp.rate.CommutingRule(), MySmoothing)

and for one that does not, two halves (here with the exact rate, and the layer's own gradient at the rate):

    class AttendRule(rbp.rate.Rule):
        def spikes(self, layer, x_seq, trace):  # x_seq [t, B, ...]
            y_seq = attend(x_seq)
            trace.average("value", y_seq)
            return y_seq

        def rate(self, layer, rate, trace):  # rate [B, ...]
            return Exact.apply(attend(rate), trace.take("value"))

    rbp.rate.register(AttendRule(), Attend)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rbp.rate.errors import InputError
from rbp.rate.memory.currents import Currents
from rbp.rate.memory.traces import Trace


class Rule:
    """A layer type's way of carrying a pair (see the module's text); what follows has a default.

    Attributes:
        fires: it is a spiking neuron: its output differs from step to step, for a constant input too.
        takes_currents: `spikes` takes a formula as it is (rbp.rate.memory.currents), not written out.
        over_time: `spikes` wants all T steps at once, also where they come chunk by chunk.
        recomputes: `again` may be called as often as is wanted, and leaves nothing in the trace.
        passes_bits: zeros and ones go through it as such.
    """

    fires = takes_currents = over_time = recomputes = passes_bits = False

    def spikes(self, layer: Any, x_seq: Any, trace: Trace) -> Tensor | Currents:
        """The layer's output [t, B, ...] on t of the T steps, x_seq [t, B, ...]; called under no_grad.

        The output may be a formula, see rbp.rate.memory.currents. x_seq is a tensor; it may be a formula too
        for a rule with `takes_currents`.
        """
        raise NotImplementedError

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        """The rate of the layer's output, [B, ...], with a graph back to the rate [B, ...] of its input."""
        raise NotImplementedError

    def again(self, layer: Any, x: Tensor) -> Tensor:
        """The layer's output [B, ...] on one step x [B, ...], for a rule that `recomputes`."""
        raise NotImplementedError

    def emits_bits(self, layer: Any, of_bits: bool) -> bool:
        """Whether its output is zeros and ones; of_bits: whether its input is."""
        return self.passes_bits and of_bits


_RULES: dict[type[nn.Module], Rule] = {}
_found: dict[type, Rule | None] = {}  # by a layer's own type, since the last registration

# A subclass that redefines any of these computes something else than the class its rule was written for.
_COMPUTING = (
    *("forward", "_conv_forward", "create_mask", "single_step_forward", "multi_step_forward"),
    *("single_step_functional_forward", "multi_step_functional_forward"),
    *("neuronal_charge", "neuronal_fire", "neuronal_reset"),
)


def register(rule: Rule, *layer_types: type[nn.Module]) -> None:
    """Use rule for layers of these types, and for their subclasses that compute the same.

    Raises InputError where rule is no instance of rbp.rate.Rule, or a type is no module's.
    """
    if not isinstance(rule, Rule):
        raise InputError(f"register({rule!r}, ...): an instance of a subclass of rbp.rate.Rule is needed")
    for layer_type in layer_types:
        if not (isinstance(layer_type, type) and issubclass(layer_type, nn.Module)):
            raise InputError(f"register(rule, {layer_type!r}): a subclass of torch.nn.Module is needed")
    for layer_type in layer_types:
        _RULES[layer_type] = rule
    _found.clear()


def find_rule(layer: nn.Module) -> Rule | None:
    """The rule for a layer; None where there is none, or where the layer computes something of its own."""
    if "forward" in layer.__dict__:
        return None
    kind = type(layer)
    if kind not in _found:
        _found[kind] = _rule_of(kind)
    return _found[kind]


def _rule_of(kind: type) -> Rule | None:
    for layer_type in kind.__mro__:
        if layer_type in _RULES:
            same = all(getattr(kind, f, None) is getattr(layer_type, f, None) for f in _COMPUTING)
            return _RULES[layer_type] if same else None
    return None


class Exact(torch.autograd.Function):
    """value, the exact time mean, with the graph of y, a function of the rates that only comes near it."""

    @staticmethod
    def forward(ctx, y, value):
        return value.to(y.dtype).view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad, None
