"""Rules: how a layer type carries spikes and their rate.

A rule has two methods. `spikes` runs the layer on time steps without a graph, and stores in a trace the time
means that the backward pass needs. `rate` builds the graph: its value is the time mean of the layer's output,
its backward pass that of rate-based backpropagation. In step mode m the two are called one right after the
other; in step mode s `spikes` is called T times with one step each, and `rate` after the last.

For a layer that commutes with the time mean, a rule takes one line:

    rbp.rate.register(rbp.rate.CommutingRule(), MySmoothing)

For one that does not, implement both methods (here with the exact rate, and the layer's own gradient at the
rate of its input):

    class AttendRule(rbp.rate.Rule):
        def spikes(self, layer, x_seq, trace):  # x_seq [t, B, ...]
            y_seq = attend(x_seq)
            trace.value.add(y_seq)
            return y_seq

        def rate(self, layer, rate, trace):  # rate [B, ...]
            return rbp.rate.Exact.apply(attend(rate), trace.value.take())

    rbp.rate.register(AttendRule(), Attend)

A rule that stores more than the time mean of its output defines its own trace:

    class MyTrace(rbp.rate.Trace):
        def __init__(self, *settings):
            super().__init__(*settings)
            self.gain = rbp.rate.TimeMean(self.segments)

    class MyRule(rbp.rate.Rule[MyTrace]):
        trace_type = MyTrace
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.memory.currents import Currents
from rbp.rate.memory.traces import Trace

TraceT = TypeVar("TraceT", bound=Trace)


class Rule(Generic[TraceT]):
    """Base class of the rules. Subclasses implement `spikes` and `rate`; everything else has a default.

    Attributes:
        trace_type: Class of the trace in which `spikes` stores what `rate` needs.
        fires: Whether the layer is a spiking neuron, so that its output varies even for a constant input.
        takes_currents: Whether `spikes` takes a `Currents` formula (rbp.rate.memory.currents) instead of a
            tensor.
        over_time: Whether `spikes` needs all T steps at once, even if the pass runs in chunks.
        recomputes: Whether `again` may be called any number of times; it leaves the trace unchanged.
        passes_bits: Whether the output is zeros and ones if the input is.
    """

    trace_type: ClassVar[type[Trace]] = Trace
    fires = takes_currents = over_time = recomputes = passes_bits = False

    def for_layer(self, layer: Any) -> Rule:
        """Return the rule for a particular layer; override it if the rule depends on the layer's settings."""
        return self

    def spikes(self, layer: Any, x_seq: Any, trace: TraceT) -> Tensor | Currents:
        """Run the layer on some of the T time steps, without a graph.

        Args:
            layer: The module.
            x_seq: Input [t, B, ...] with t <= T; a `Currents` if the rule `takes_currents`.
            trace: Trace of this call of the layer, the same for all steps of a pass.

        Returns:
            The layer's output [t, B, ...], as a tensor or a `Currents` formula (rbp.rate.memory.currents).

        Raises:
            NoRuleError: If the rule does not support the layer's settings.
        """
        raise NotImplementedError

    def rate(self, layer: Any, rate: Tensor, trace: TraceT) -> Tensor:
        """Build the graph of the rates.

        Args:
            layer: The module.
            rate: Time mean of the layer's input, [B, ...], with its graph.
            trace: The trace that `spikes` filled.

        Returns:
            The time mean of the layer's output, [B, ...], with a graph back to `rate` and the parameters.
        """
        raise NotImplementedError

    def again(self, layer: Any, x: Tensor) -> Tensor:
        """Return the layer's output [B, ...] for one step x [B, ...]. Only for a rule that `recomputes`."""
        raise NotImplementedError

    def emits_bits(self, layer: Any, of_bits: bool) -> bool:
        """Whether the layer's output consists of zeros and ones.

        Args:
            layer: The module.
            of_bits: Whether its input does.
        """
        return self.passes_bits and of_bits


class Exact(torch.autograd.Function):
    """`Exact.apply(y, value)`: the exact time mean as the value, with the gradient of an approximation.

    For a layer whose function of the rates only approximates the time mean of its output. Here y [B, ...] is
    the approximate time mean with its graph, and value [B, ...] the exact one. The result is value, in the
    dtype and with the graph of y.
    """

    @staticmethod
    def forward(ctx, y, value):
        return value.to(y.dtype).view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad, None
