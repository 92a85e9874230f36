"""Any other neuron that works on each element by itself: its eligibility by differentiating its own forward.

An input current shifted equally at every step moves the spikes and the membrane state of the same element
only, so one step's derivatives are single numbers an element: autograd gives them, d(output)/d(input, state),
from one step's own forward and backward, and the chain rule carries them from step to step. Nothing grows
with T.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.traces import TimeMean, Trace
from rbp.rate.neurons import compiled
from rbp.rate.neurons.eligibility import NeuronRate, NeuronRule
from rbp.rate.neurons.memories import at_rest, lent, one_step


@dataclass
class State:
    """The neuron's memories by name, and their derivatives [B, ...] in each direction: the first is the shift
    of the input current, then one for each learnable parameter."""

    memories: dict[str, Any]
    derivatives: list[dict[str, Tensor]] = field(default_factory=list)


class ElementwiseTrace(Trace):
    """The neuron's state, and the time means of the spikes' derivatives [B, ...], one per direction."""

    state: State | None = None

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.derivatives: list[TimeMean] = []


class ElementwiseNeuron(NeuronRule[ElementwiseTrace]):
    """A neuron that treats each element alone and emits 0 or 1: one of SpikingJelly's, a user's subclass, or
    a user's plain nn.Module, whose state is the attributes and buffers that its forward changes.

    Its own forward of a single step computes the spikes. A learnable parameter is a scalar or broadcasts
    against the input [B, ...], as [C, 1, 1] does for one a channel of [B, C, H, W]; its gradient is
    dL/dr * dr/dp, see IntegrateAndFireRule for what that approximates.

    Raises NoRuleError for a parameter of another shape, or of a layer inside, and for a state in a list.
    """

    trace_type = ElementwiseTrace

    def spikes(self, layer: Any, x_seq: Tensor, trace: ElementwiseTrace) -> Tensor:
        learnt = learnable(layer)
        if trace.state is None:
            for name, parameter in learnt.items():
                _check_shape(name, parameter.shape, x_seq.shape[1:])
            directions = range(1 + len(learnt))
            trace.state = State(at_rest(layer), [{} for _ in directions])
            trace.derivatives = [TimeMean(trace.T) for _ in directions]
        spikes = torch.empty_like(x_seq, memory_format=torch.contiguous_format)
        for x, out in zip(x_seq, spikes, strict=True):
            s, derivatives = step(layer, x.float() if x.dtype != torch.float64 else x, learnt, trace.state)
            out.copy_(s)
            trace.value.add_mean(s, 1)
            for mean, ds in zip(trace.derivatives, derivatives, strict=True):
                mean.add_mean(ds, 1)
        compiled.ran["plain"] += 1
        return spikes

    def rate(self, layer: Any, rate: Tensor, trace: ElementwiseTrace) -> Tensor:
        learnt = learnable(layer)
        value = trace.value.take().to(rate.dtype)
        eligibility, *by_learnt = (mean.take().to(rate.dtype) for mean in trace.derivatives)
        return NeuronRate.apply(rate, value, eligibility, *learnt.values(), *by_learnt)


def learnable(layer: nn.Module) -> dict[str, Tensor]:
    """The layer's own parameters that want a gradient."""
    learnt: dict[str, Tensor] = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    for name in learnt:
        if "." in name:
            raise NoRuleError(f"its parameter {name} is not its own, but that of a layer inside it")
    return learnt


def _check_shape(name: str, shape: torch.Size, x: torch.Size) -> None:
    """Raise NoRuleError where a parameter does not broadcast against the input x [B, ...]."""
    pairs = zip(reversed(shape), reversed(x), strict=False)
    if shape.numel() == 1 or (len(shape) <= len(x) and all(n in (1, size) for n, size in pairs)):
        return
    channels = (*x[1:2], *(1,) * (len(x) - 2))
    per_element = f", or {tuple(x[1:])}, a number an element" if len(x) > 2 else ""
    raise NoRuleError(
        f"its parameter {name} of shape {tuple(shape)} does not broadcast against its input {tuple(x)}: "
        f"it may be a scalar, or of shape {channels}, a number a channel{per_element}"
    )


def step(layer: Any, x: Tensor, learnt: dict[str, Tensor], state: State) -> tuple[Tensor, list[Tensor]]:
    """One step of the neuron's own forward, x [B, ...]; updates state.

    Returns the spikes and their derivatives, one for each direction.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        memories = {n: v.detach().requires_grad_() for n, v in state.memories.items() if _is_state(v)}
        elements = {n: _expanded(p, x).requires_grad_() for n, p in learnt.items()}
        with lent(layer, state.memories | memories, elements) as after:
            s = one_step(layer, x)
        _refuse_hidden(after)
        inputs = (x, *elements.values(), *memories.values())
        directions = _directions(x, list(elements), list(memories), state)
        ds = _along(s, inputs, directions)
        moved = {n: _along(v, inputs, directions) for n, v in after.items() if _is_state(v)}
    state.memories = {n: v.detach() if isinstance(v, Tensor) else v for n, v in after.items()}
    state.derivatives = [{n: moved[n][i] for n in moved} for i in range(len(directions))]
    return s.detach(), ds


def _refuse_hidden(after: dict[str, Any]) -> None:
    """Raise NoRuleError for tensors with a graph inside a list or a dict, whose derivatives would be lost."""
    for name, value in after.items():
        inner = [] if isinstance(value, Tensor) else tree_leaves(value)
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in inner):
            raise NoRuleError(
                f"its {name} holds tensors in a {type(value).__name__}: a state must be an attribute of its "
                "own (self.v = ...), and what is only noted must be detached"
            )


def _expanded(parameter: Tensor, x: Tensor) -> Tensor:
    """A number of its own for every element of x."""
    p = parameter.detach()
    return (p.reshape(()) if p.numel() == 1 else p).expand_as(x).clone()


def _is_state(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _directions(x: Tensor, learnt: list[str], memories: list[str], state: State) -> list[list[Tensor | None]]:
    """How much (x, learnt, memories) move in each direction; None where they do not."""
    directions = []
    for i in range(1 + len(learnt)):
        moves: list[Tensor | None] = [None] * (1 + len(learnt))
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


class SequenceTrace(Trace):
    """A shift of the input [B, ...], zero, and the rate [B, ...] with its graph back to it."""

    shift: Tensor
    rate: Tensor


class SequenceNeuron(NeuronRule[SequenceTrace]):
    """A neuron that takes all T steps at once (step mode m only), treats each element alone, emits 0 or 1.

    Its own forward is differentiated as it is, by a shift d added to every step's input. Its graph over T
    steps is kept for the backward pass, so any learnable parameter gets its gradient, and this layer's memory
    grows with T.
    """

    trace_type = SequenceTrace

    def spikes(self, layer: Any, x_seq: Tensor, trace: SequenceTrace) -> Tensor:
        if x_seq.shape[0] != trace.T:
            raise NoRuleError("this neuron takes all time steps at once: use step_mode='m', without chunk")
        if getattr(layer, "T", trace.T) != trace.T:
            raise NoRuleError(f"this neuron was made for T={layer.T}, not for T={trace.T}")
        with torch.enable_grad(), lent(layer, {}, {}):
            trace.shift = torch.zeros_like(x_seq[0]).requires_grad_()
            spikes = layer.multi_step_forward(x_seq + trace.shift)
            trace.rate = spikes.mean(0)
        compiled.ran["plain"] += 1
        return spikes.detach()

    def rate(self, layer: Any, rate: Tensor, trace: SequenceTrace) -> Tensor:
        parameters = [p for p in layer.parameters() if p.requires_grad]
        return _ByOwnGraph.apply(rate, (trace.shift, trace.rate), *parameters)


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
