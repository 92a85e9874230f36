"""How a layer carries spikes and their rate: one rule per layer type.

A rule has two halves. `spikes` runs the layer on time steps, without a graph, and leaves in a trace the time
means that the backward pass will want. `rate` builds the graph: its value is the time mean of the layer's
output, its backward is the method's. In step mode m the halves follow each other at once; in step mode s
`spikes` is called T times with one step each, and `rate` when all are done.

A rule of your own for a layer that commutes with the time mean is one line:

    rbp.rate.register(rbp.rate.CommutingRule(), MySmoothing)

For a layer that does not, write the two halves (here the exact rate, with the layer's own gradient at the
rate of its input):

    class AttendRule(rbp.rate.Rule):
        def spikes(self, layer, x_seq, trace):  # x_seq [t, B, ...]
            y_seq = attend(x_seq)
            trace.value.add(y_seq)
            return y_seq

        def rate(self, layer, rate, trace):  # rate [B, ...]
            return rbp.rate.Exact.apply(attend(rate), trace.value.take())

    rbp.rate.register(AttendRule(), Attend)

A rule that keeps more than the time mean of its output says so by a class of its own:

    class MyTrace(rbp.rate.Trace):
        def __init__(self, *settings):
            super().__init__(*settings)
            self.gain = rbp.rate.TimeMean(self.T)

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
    """How one type of layer carries spikes and rate. Write `spikes` and `rate`; the rest has a default.

    Attributes:
        trace_type: the class of what `spikes` leaves for `rate`.
        fires: the layer is a spiking neuron: its output varies even for constant input.
        takes_currents: `spikes` takes currents as they are (rbp.rate.memory.currents), not written out.
        over_time: `spikes` wants all T steps at once, also in a pass by chunks.
        recomputes: `again` may be called as often as is wanted, and leaves nothing in the trace.
        passes_bits: zeros and ones stay zeros and ones.
    """

    trace_type: ClassVar[type[Trace]] = Trace
    fires = takes_currents = over_time = recomputes = passes_bits = False

    def for_layer(self, layer: Any) -> Rule:
        """The rule for this layer in particular: another one where its settings ask for it."""
        return self

    def spikes(self, layer: Any, x_seq: Any, trace: TraceT) -> Tensor | Currents:
        """Run the layer on some of the T time steps, without a graph.

        Args:
            layer: the module.
            x_seq: [t, B, ...]; a `Currents` for a rule that `takes_currents`.
            trace: of this call of the layer, the same for all steps of a pass.

        Returns:
            The layer's output [t, B, ...], a tensor or a formula for one (rbp.rate.memory.currents).

        Raises:
            NoRuleError: for settings of the layer that the rule cannot carry a rate through.
        """
        raise NotImplementedError

    def rate(self, layer: Any, rate: Tensor, trace: TraceT) -> Tensor:
        """Build the graph.

        Args:
            layer: the module.
            rate: [B, ...], the time mean of the layer's input, with its graph.
            trace: what `spikes` has left.

        Returns:
            The time mean of the layer's output, [B, ...], with a graph back to `rate` and the parameters.
        """
        raise NotImplementedError

    def again(self, layer: Any, x: Tensor) -> Tensor:
        """The layer's output [B, ...] on one step x [B, ...], for a rule that `recomputes`."""
        raise NotImplementedError

    def emits_bits(self, layer: Any, of_bits: bool) -> bool:
        """Whether the output is zeros and ones; of_bits: whether the input is."""
        return self.passes_bits and of_bits


class Exact(torch.autograd.Function):
    """`Exact.apply(y, value)`: value, the exact time mean [B, ...], with the graph of y [B, ...].

    For a layer whose function of the rates only comes near the time mean of its output.
    """

    @staticmethod
    def forward(ctx, y, value):
        return value.to(y.dtype).view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad, None
