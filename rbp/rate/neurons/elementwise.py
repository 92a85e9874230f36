"""Any other elementwise neuron: its eligibility by differentiating its own forward, step by step.

If an element's input current is shifted equally at every step, only the spikes and the state of that element
change. The derivatives of one step, d(output)/d(input, state), are therefore one number per element. Autograd
computes them from the forward and backward pass of a single step, and the chain rule carries them from step
to step, so memory does not grow with T.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.draws import random_state, set_random_state
from rbp.rate.memory.traces import TimeMean, Trace
from rbp.rate.neurons import compiled
from rbp.rate.neurons.elementwise_check import check_elementwise
from rbp.rate.neurons.eligibility import NeuronRate, NeuronRule
from rbp.rate.neurons.memories import at_rest, attributes, lent, one_step
from rbp.rate.neurons.segmented import SegmentedSteps
from rbp.rate.neurons.segments import segmented_rate


@dataclass
class NeuronState:
    """State of a layer's neurons after a step.

    Attributes:
        memories: The neurons' memories by name.
        derivatives: The memories' derivatives [B, ...] by name, one dict per direction: first the shift of
            the input current, then each learnable parameter.
    """

    memories: dict[str, Any]
    derivatives: list[dict[str, Tensor]] = field(default_factory=list)


class ElementwiseTrace(Trace):
    """Trace of a neuron.

    Attributes:
        state: The neurons' state; None before the first step.
        derivatives: Time means of the spikes' derivatives [B, ...], one per direction (see `NeuronState`).
    """

    state: NeuronState | None = None
    by_segments: SegmentedSteps | None = None

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.derivatives: list[TimeMean] = []


class ElementwiseNeuron(NeuronRule[ElementwiseTrace]):
    """Rule for a neuron that treats each element independently and emits 0 or 1.

    It may be one of SpikingJelly's, a user-defined subclass of one, or a user-defined plain nn.Module, whose
    state is the attributes and buffers that its forward changes:

        rbp.rate.register(rbp.rate.ElementwiseNeuron(), MyNeuron)

    The spikes are computed by the neuron's own forward, one step at a time. A learnable parameter must be a
    scalar or broadcast against the input [B, ...], as [C, 1, 1] does for one value per channel of
    [B, C, H, W]. Its gradient is dL/dr * dr/dp; see IntegrateAndFireRule for the approximation in this.

    Raises:
        NoRuleError: From `spikes`, for a parameter of another shape or of a submodule, and for state kept in
            a list or dict.
    """

    trace_type = ElementwiseTrace

    def spikes(self, layer: Any, x_seq: Tensor, trace: ElementwiseTrace) -> Tensor:
        learnt = learnable(layer)
        if trace.state is None:
            for name, parameter in learnt.items():
                _check_shape(name, parameter.shape, x_seq.shape[1:])
            directions = range(1 + len(learnt))
            trace.state = NeuronState(at_rest(layer), [{} for _ in directions])
            trace.derivatives = [TimeMean(trace.segments) for _ in directions]
        spikes = torch.empty_like(x_seq, memory_format=torch.contiguous_format)
        by_segments = self._segments(trace, len(learnt))
        before = random_state(x_seq.device)
        for t, (x, out) in enumerate(zip(x_seq, spikes, strict=True)):
            if t:
                set_random_state(before)  # what it draws is the same at every step
            state = trace.state
            if by_segments is not None:
                state.derivatives = by_segments.before_step(state.memories, state.derivatives)
            s, derivatives = step(layer, x.float() if x.dtype != torch.float64 else x, learnt, state)
            out.copy_(s)
            if by_segments is not None:
                by_segments.after_step(s, derivatives, state.derivatives)
                continue
            trace.value.add_mean(s, 1)
            for mean, ds in zip(trace.derivatives, derivatives, strict=True):
                mean.add_mean(ds, 1)
        compiled.ran["plain"] += 1
        return spikes

    def _segments(self, trace: ElementwiseTrace, learnt: int) -> SegmentedSteps | None:
        if trace.segments.k > 1 and trace.by_segments is None:
            trace.by_segments = SegmentedSteps(trace.segments, learnt)
        return trace.by_segments

    def rate(self, layer: Any, rate: Tensor, trace: ElementwiseTrace) -> Tensor:
        learnt = learnable(layer)
        if trace.by_segments is not None:
            value = torch.cat(trace.by_segments.rates).to(rate.dtype)
            return segmented_rate(rate, value, trace.by_segments.derivatives, list(learnt.values()))
        value = trace.value.take().to(rate.dtype)
        eligibility, *by_learnt = (mean.take().to(rate.dtype) for mean in trace.derivatives)
        return NeuronRate.apply(rate, value, eligibility, *learnt.values(), *by_learnt)


def learnable(layer: nn.Module) -> dict[str, Tensor]:
    """Return the layer's learnable parameters by name.

    Raises:
        NoRuleError: If one belongs to a submodule.
    """
    learnt: dict[str, Tensor] = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    for name in learnt:
        if "." in name:
            raise NoRuleError(f"its parameter {name} is not its own, but that of a layer inside it")
    return learnt


def _check_shape(name: str, shape: torch.Size, x: torch.Size) -> None:
    """Raise NoRuleError unless a parameter is a scalar or broadcasts against the input x [B, ...]."""
    pairs = zip(reversed(shape), reversed(x), strict=False)
    if shape.numel() == 1 or (len(shape) <= len(x) and all(n in (1, size) for n, size in pairs)):
        return
    channels = (*x[1:2], *(1,) * (len(x) - 2))
    per_element = f", or {tuple(x[1:])}, one number per element" if len(x) > 2 else ""
    raise NoRuleError(
        f"its parameter {name} of shape {tuple(shape)} does not broadcast against its input {tuple(x)}: "
        f"it may be a scalar, or of shape {channels}, one number per channel{per_element}"
    )


def step(layer: Any, x: Tensor, learnt: dict[str, Tensor], state: NeuronState) -> tuple[Tensor, list[Tensor]]:
    """Run one step of the neuron's own forward, and differentiate it.

    Args:
        layer: The neuron.
        x: Input current of the step, [B, ...].
        learnt: The learnable parameters by name.
        state: State before the step, updated.

    Returns:
        The spikes [B, ...], and their derivatives [B, ...] in each direction (see `NeuronState`).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        memories = {n: v.detach().requires_grad_() for n, v in state.memories.items() if _is_state(v)}
        elements = {n: _expanded(p, x).requires_grad_() for n, p in learnt.items()}
        check_elementwise(layer, x, state.memories, learnt, elements)
        with lent(layer, state.memories | memories, elements) as after:
            s = one_step(layer, x)
        _refuse_hidden(layer, after)
        inputs = (x, *elements.values(), *memories.values())
        directions = _directions(x, list(elements), list(memories), state)
        ds = _along(s, inputs, directions)
        moved = {n: _along(v, inputs, directions) for n, v in after.items() if _is_state(v)}
    state.memories = {n: v.detach() if isinstance(v, Tensor) else v for n, v in after.items()}
    state.derivatives = [{n: moved[n][i] for n in moved} for i in range(len(directions))]
    return s.detach(), ds


def _refuse_hidden(layer: Any, after: dict[str, Any]) -> None:
    """Raise NoRuleError for tensors with a graph in a list, a dict, an object or a layer inside the neuron.

    Their derivatives would be lost.
    """
    kept = {name: value for name, value in after.items() if not isinstance(value, Tensor)}
    for path, child in layer.named_modules():
        if path:
            kept |= {f"{path}.{name}": value for name, value in attributes(child).items()}
    for name, value in kept.items():
        if any(_has_graph(leaf) for leaf in tree_leaves(value)):
            raise NoRuleError(
                f"its {name} holds tensors in a {type(value).__name__}: a state must be an attribute of its "
                "own (self.v = ...), and what is only noted must be detached"
            )


def _has_graph(leaf: Any) -> bool:
    if isinstance(leaf, Tensor):
        return leaf.grad_fn is not None
    return any(
        isinstance(x, Tensor) and x.grad_fn is not None for x in getattr(leaf, "__dict__", {}).values()
    )


def _expanded(parameter: Tensor, x: Tensor) -> Tensor:
    """Expand a parameter to one value per element of x, so that its gradient is per element too."""
    p = parameter.detach()
    return (p.reshape(()) if p.numel() == 1 else p).expand_as(x).clone()


def _is_state(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _directions(
    x: Tensor, learnt: list[str], memories: list[str], state: NeuronState
) -> list[list[Tensor | None]]:
    """Return the derivatives of (x, learnt, memories) in each direction; None stands for zero."""
    directions = []
    for i in range(len(state.derivatives)):
        moves: list[Tensor | None] = [None] * (1 + len(learnt))
        if i <= len(learnt):
            moves[i] = torch.ones_like(x)
        directions.append(moves + [state.derivatives[i].get(name) for name in memories])
    return directions


def _along(output: Tensor, inputs: tuple[Tensor, ...], directions: list[list[Tensor | None]]) -> list[Tensor]:
    """Return the derivative of an elementwise output in each direction, by the chain rule."""
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
    """Trace of a neuron that takes all steps at once.

    Attributes:
        shift: Shift of the input at every step, [B, ...], zero.
        rate: Rate of the neuron, [B, ...], with its graph back to shift and the parameters.
    """

    shift: Tensor
    rate: Tensor


class SequenceNeuron(NeuronRule[SequenceTrace]):
    """Rule for an elementwise neuron that takes all T steps at once (step mode m only) and emits 0 or 1.

    Its own forward is differentiated with respect to a shift added to the input of every step. The graph over
    T steps is kept for the backward pass, so every learnable parameter gets its gradient, but the memory of
    this layer grows with T.

    Raises:
        NoRuleError: From `spikes`, if it is not given all T steps, or if the neuron was made for another T.
    """

    trace_type = SequenceTrace

    def spikes(self, layer: Any, x_seq: Tensor, trace: SequenceTrace) -> Tensor:
        if x_seq.shape[0] != trace.T:
            raise NoRuleError("this neuron takes all time steps at once: use step_mode='m', without chunk")
        if not trace.segments.coupled and trace.segments.k > 1:
            raise NoRuleError("this neuron's segments of time cannot be uncoupled: use coupled=True")
        if getattr(layer, "T", trace.T) != trace.T:
            raise NoRuleError(f"this neuron was made for T={layer.T}, not for T={trace.T}")
        with torch.enable_grad(), lent(layer, at_rest(layer), {}):
            k = trace.segments.k
            trace.shift = x_seq.new_zeros((k, *x_seq.shape[1:])).requires_grad_()
            of_step = [trace.segments.of_step(t) for t in range(trace.T)]
            spikes = layer.multi_step_forward(x_seq + (trace.shift if k == 1 else trace.shift[of_step]))
            trace.rate = trace.segments.means(spikes).flatten(0, 1)
        compiled.ran["plain"] += 1
        return spikes.detach()

    def rate(self, layer: Any, rate: Tensor, trace: SequenceTrace) -> Tensor:
        parameters = [p for p in layer.parameters() if p.requires_grad]
        return _ByOwnGraph.apply(rate, (trace.shift, trace.rate), *parameters)


class _ByOwnGraph(torch.autograd.Function):
    """Return the rate y, with the gradient from its own graph, back to the shift and the parameters."""

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
        return None if d_rate is None else d_rate.flatten(0, 1).to(grad.dtype), None, *d_parameters
