"""Any other neuron that works on each element by itself: its eligibility by differentiating its own forward.

An input current shifted equally at every step moves the spikes and the membrane state of the same element
only, so one step's derivatives are single numbers an element: autograd gives them, d(output)/d(input, state),
from one step's own forward and backward, and the chain rule carries them from step to step. Nothing grows
with T.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rbp.rate.errors import NoRuleError
from rbp.rate.memory import compiled
from rbp.rate.memory.traces import Trace
from rbp.rate.neurons.integrate_and_fire import NeuronRate, NeuronRule


@dataclass
class State:
    """The neuron's memories by name, and their derivatives [B, ...] in each direction: the first is the shift
    of the input current, then one for each learnable scalar."""

    memories: dict[str, Any]
    derivatives: list[dict[str, Tensor]] = field(default_factory=list)


class ElementwiseNeuron(NeuronRule):
    """A SpikingJelly neuron (its own subclass, or a user's) that treats each element alone and emits 0 or 1.

    Its own single-step forward computes the spikes. A learnable parameter must be a scalar; its gradient is
    dL/dr * dr/dp, see IntegrateAndFireRule for what that approximates.
    """

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        scalars = learnable_scalars(layer)
        if trace.state is None:
            trace.state = State(dict(layer._memories), [{} for _ in range(1 + len(scalars))])
        spikes = torch.empty_like(x_seq, memory_format=torch.contiguous_format)
        for x, out in zip(x_seq, spikes, strict=True):
            s, derivatives = step(layer, x.float() if x.dtype != torch.float64 else x, scalars, trace.state)
            out.copy_(s)
            trace.add("rate", s, 1.0 / trace.steps)
            for i, ds in enumerate(derivatives):
                trace.add(f"by_{i}", ds, 1.0 / trace.steps)
        compiled.ran["plain"] += 1
        return spikes

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        scalars = learnable_scalars(layer)
        value = trace.take("rate").to(rate.dtype)
        eligibility, *by_scalar = (trace.take(f"by_{i}").to(rate.dtype) for i in range(1 + len(scalars)))
        return NeuronRate.apply(rate, value, eligibility, *scalars.values(), *by_scalar)


def learnable_scalars(layer: nn.Module) -> dict[str, Tensor]:
    scalars: dict[str, Tensor] = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    for name, parameter in scalars.items():
        if parameter.numel() != 1 or "." in name:
            shape = tuple(parameter.shape)
            raise NoRuleError(f"its parameter {name} of shape {shape} is no scalar of its own")
    return scalars


def step(layer: Any, x: Tensor, scalars: dict[str, Tensor], state: State) -> tuple[Tensor, list[Tensor]]:
    """One step of the neuron's own forward, x [B, ...]; updates state.

    Returns the spikes and their derivatives, one for each direction.
    """
    with torch.enable_grad(), _lent(layer) as lent:
        x = x.detach().requires_grad_()
        memories = {n: v.detach().requires_grad_() for n, v in state.memories.items() if _is_state(v)}
        elements = {n: p.detach().expand_as(x).clone().requires_grad_() for n, p in scalars.items()}
        lent.update(state.memories | memories)
        layer._parameters.update(elements)
        s = layer.single_step_forward(x)
        after = dict(lent)
        inputs = (x, *elements.values(), *memories.values())
        directions = _directions(x, list(elements), list(memories), state)
        ds = _along(s, inputs, directions)
        moved = {n: _along(v, inputs, directions) for n, v in after.items() if _is_state(v)}
    state.memories = {n: v.detach() if isinstance(v, Tensor) else v for n, v in after.items()}
    state.derivatives = [{n: moved[n][i] for n in moved} for i in range(len(directions))]
    return s.detach(), ds


def _is_state(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _directions(
    x: Tensor, scalars: list[str], memories: list[str], state: State
) -> list[list[Tensor | None]]:
    """How much (x, scalars, memories) move in each direction; None where they do not."""
    directions = []
    for i in range(1 + len(scalars)):
        moves: list[Tensor | None] = [None] * (1 + len(scalars))
        moves[i] = torch.ones_like(x)
        directions.append(moves + [state.derivatives[i].get(name) for name in memories])
    return directions


def _along(output: Tensor, inputs: tuple[Tensor, ...], directions: list[list[Tensor | None]]) -> list[Tensor]:
    """The output's derivative in each direction, by its derivatives element by element."""
    if not output.requires_grad:
        return [torch.zeros_like(output) for _ in directions]
    ones = torch.ones_like(output)
    slopes = torch.autograd.grad(output, inputs, ones, retain_graph=True, allow_unused=True)
    derivatives = []
    for moves in directions:
        terms = [a * b for a, b in zip(slopes, moves, strict=True) if a is not None and b is not None]
        derivatives.append(sum(terms, torch.zeros_like(output)))
    return derivatives


@contextmanager
def _lent(layer: Any) -> Iterator[dict[str, Any]]:
    """The neuron's memories, to be written to; they and its parameters are as before afterwards."""
    memories, parameters = dict(layer._memories), dict(layer._parameters)
    try:
        yield layer._memories
    finally:
        layer._memories.clear()
        layer._memories.update(memories)
        layer._parameters.update(parameters)


class SequenceNeuron(NeuronRule):
    """A neuron that takes all T steps at once (step mode m only), treats each element alone, emits 0 or 1.

    Its own forward is differentiated as it is, by a shift d added to every step's input. Its graph over T
    steps is kept for the backward pass, so any learnable parameter gets its gradient, and this layer's memory
    grows with T.
    """

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        if x_seq.shape[0] != trace.steps:
            raise NoRuleError("this neuron takes all time steps at once: use step_mode='m', without chunk")
        if getattr(layer, "T", trace.steps) != trace.steps:
            raise NoRuleError(f"this neuron was made for T={layer.T}, not for T={trace.steps}")
        with torch.enable_grad(), _lent(layer):
            shift = torch.zeros_like(x_seq[0]).requires_grad_()
            spikes = layer.multi_step_forward(x_seq + shift)
            trace.state = shift, spikes.mean(0)
        compiled.ran["plain"] += 1
        return spikes.detach()

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        parameters = [p for p in layer.parameters() if p.requires_grad]
        return _ByOwnGraph.apply(rate, trace.state, *parameters)


class _ByOwnGraph(torch.autograd.Function):
    """The rate y computed by a graph of its own, from a zero shift of the input and the parameters."""

    @staticmethod
    def forward(ctx, rate, own, *parameters):
        shift, y = own
        ctx.own = shift, y, parameters
        return y.detach().to(rate.dtype, copy=True)

    @staticmethod
    def backward(ctx, grad):
        shift, y, parameters = ctx.own
        inputs = (shift, *parameters)
        kept = {"retain_graph": True, "allow_unused": True}
        d_rate, *d_parameters = torch.autograd.grad(y, inputs, grad.to(y.dtype), **kept)
        return None if d_rate is None else d_rate.to(grad.dtype), None, *d_parameters
