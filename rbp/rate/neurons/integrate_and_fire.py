"""SpikingJelly's LIF, IF and ParametricLIF in rate mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import neuron as sj
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.memory.currents import Currents, empty_like
from rbp.rate.memory.packing import pack, pack_counts, unpack, with_counts
from rbp.rate.memory.traces import Trace
from rbp.rate.neurons import compiled
from rbp.rate.neurons.scan import Neuron, State, Sums, scan
from rbp.rate.rules.base import Rule


class NeuronRule(Rule):
    """The base of the rules for spiking neurons: a network in rate mode needs a layer with one of them."""

    fires = True

    def emits_bits(self, layer: Any, of_bits: bool) -> bool:
        return True


class NeuronRate(torch.autograd.Function):
    """value [B, ...], the output rate. dL/dc = dL/dr * eligibility; for each of the neuron's learnable
    parameters p, a scalar or one that broadcasts against [B, ...], dL/dp = sum(dL/dr * dr/dp) over the
    elements that share a number of it; dr/dp [B, ...] follow the parameters among the arguments."""

    @staticmethod
    def forward(ctx, rate, value, eligibility, *learnt_and_derivatives):
        ctx.count = len(learnt_and_derivatives) // 2
        ctx.shapes = [p.shape for p in learnt_and_derivatives[: ctx.count]]
        derivatives = (eligibility, *learnt_and_derivatives[ctx.count :])
        ctx.save_for_backward(*(part for d in derivatives for part in pack(d)))
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        saved = ctx.saved_tensors
        eligibility, *derivatives = (unpack(*saved[i : i + 2]) for i in range(0, len(saved), 2))
        learnt = [_summed(grad * d, shape) for d, shape in zip(derivatives, ctx.shapes, strict=True)]
        return grad * eligibility, None, None, *learnt, *(None,) * ctx.count


def _summed(x: Tensor, shape: torch.Size) -> Tensor:
    """x [B, ...] summed to a shape that broadcasts against it, or has one element."""
    return x.sum().reshape(shape) if shape.numel() == 1 else x.sum_to_size(shape)


class IntegrateAndFireRule(NeuronRule):
    """SpikingJelly's LIFNode, IFNode and ParametricLIFNode: u_t = v_{t-1} - k*(v_{t-1} - v_rest) + gain*c_t,
    k = 1/tau, gain = k where the input decays and 1 where it does not.

    A learnable k gets dL/dr * dr/dk, r being the neuron's own rate and its input currents as they were at
    every step. Against BPTT, sum_t dL/ds_t * ds_t/dk, that takes the loss to depend on the spikes of every
    step alike (dL/ds_t = dL/dr / T), the approximation that rate mode makes for every weight; it is exact
    where only linear layers follow, and at T=1.
    """

    takes_currents = True

    def spikes(self, layer: Any, x_seq: Currents, trace: Trace) -> Tensor:
        learns = isinstance(layer, sj.ParametricLIFNode) and leak_needs_grad(layer)
        fused = compiled.wanted(trace.kernels, x_seq.device)
        if trace.state is None:
            trace.state = _Memory([], _sums(x_seq, learns))
        memory, neuron = trace.state, _neuron(layer, fused)
        start = State(v=neuron.rest, dv=0.0, dv_leak=0.0 if learns else None)
        spikes = empty_like(x_seq)
        if fused and len(memory.states) < 2:
            state = memory.states[0] if memory.states else start
            if compiled.scan(neuron, x_seq, state, memory.sums, spikes):
                memory.states = [state]
                return spikes
        scan(neuron, x_seq, memory.states, start, memory.sums, spikes)
        compiled.ran["plain"] += 1
        return spikes

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        sums, share = trace.state.sums, 1.0 / trace.steps
        trace.state = None
        eligibility = sums.by_current.mul_(share).to(rate.dtype)
        by_leak = () if sums.by_leak is None else (_leak(layer), sums.by_leak.mul_(share))
        packed = self.emits_bits(layer, False) and rate.dtype == torch.float32
        counts = pack_counts(sums.spikes, trace.steps) if packed else None
        value = sums.spikes.mul_(share).to(rate.dtype)
        return with_counts(NeuronRate.apply(rate, value, eligibility, *by_leak), counts)

    def emits_bits(self, layer: Any, of_bits: bool) -> bool:
        return getattr(layer.surrogate_function, "spiking", True)  # a plain function emits spikes


@dataclass
class _Memory:
    """What a layer remembers from step to step: each block's state, and the sums so far."""

    states: list[State]
    sums: Sums


def _sums(currents: Currents, learns: bool) -> Sums:
    """Room for them, not filled."""
    dtype = torch.float64 if currents.dtype == torch.float64 else torch.float32
    spikes = empty_like(currents, dtype, steps=1)[0]
    return Sums(spikes, torch.empty_like(spikes), torch.empty_like(spikes) if learns else None)


def leak_needs_grad(layer: sj.ParametricLIFNode) -> bool:
    return layer.w.requires_grad


def _neuron(layer: Any, fused: bool) -> Neuron:
    """The layer's neurons; a learnable leak as a number where that can be had without waiting for a GPU, and
    no kernel would be compiled for it."""
    leak = _leak(layer)
    if isinstance(leak, Tensor) and leak.device.type == "cpu" and not fused:
        leak = leak.item()
    decays = getattr(layer, "decay_input", False)
    settings = (decays, layer.v_threshold, layer.v_reset, layer.detach_reset)
    return Neuron(leak, *settings, layer.surrogate_function)


def _leak(layer: Any) -> Tensor | float:
    """k = 1/tau; 0 for a neuron that does not leak; a tensor with a graph where it is learnt."""
    if isinstance(layer, sj.ParametricLIFNode):
        return layer.w.sigmoid()
    return 1.0 / layer.tau if isinstance(layer, sj.LIFNode) else 0.0
