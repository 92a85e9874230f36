"""Spiking neurons in rate mode: the spikes, their rate and its eligibility, in one scan over time.

The eligibility e = d(mean_t s_t)/dc is the rate's derivative by an input current c shifted equally at every
step: forward-mode differentiation in one direction (Yu et al., NeurIPS 2024, section 4). With the surrogate
derivative h_t, du_t = decay*dv_{t-1} + gain, ds_t = h_t*du_t, and dv_t follows du_t through the reset; e is
the time mean of ds_t. So every reset, detached or not, is right by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import neuron as sj
from spikingjelly.activation_based import surrogate
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.rules import Trace, register


@dataclass
class State:
    """Membrane potential v [B, ...] after the reset, and its derivatives: by the input current (dv) and, for
    a learnable leak k = 1/tau, by k (dv_leak, else None)."""

    v: Tensor | float
    dv: Tensor | float
    dv_leak: Tensor | float | None


class _NeuronRate(torch.autograd.Function):
    """value [B, ...], the output rate; dL/dc = dL/dr * eligibility, dL/dk = sum(dL/dr * d rate/dk)."""

    @staticmethod
    def forward(ctx, rate, leak, value, eligibility, by_leak):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(eligibility, by_leak)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        eligibility, by_leak = ctx.saved_tensors
        d_leak = (grad * by_leak).sum() if ctx.needs_input_grad[1] else None
        return grad * eligibility, d_leak, None, None, None


class IntegrateAndFireRule:
    """SpikingJelly's LIFNode, IFNode and ParametricLIFNode: u_t = v_{t-1} - k*(v_{t-1} - v_rest) + gain*c_t,
    k = 1/tau, gain = k where the input decays and 1 where it does not.

    A learnable k gets the derivative of the neuron's own rate, exact for given input currents; what k does to
    the *timing* of spikes further on is left out, as everywhere in rate mode.
    """

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        leak = _leak(layer).item() if isinstance(_leak(layer), Tensor) else _leak(layer)
        if trace.state is None:
            rest = layer.v_reset or 0.0
            trace.state = State(v=rest, dv=0.0, dv_leak=0.0 if isinstance(_leak(layer), Tensor) else None)
        spikes = torch.empty_like(x_seq, memory_format=torch.contiguous_format)
        share = 1.0 / trace.steps
        for x, out in zip(x_seq, spikes, strict=True):
            s, ds, ds_leak = step(layer, leak, x.float() if x.dtype != torch.float64 else x, trace.state)
            out.copy_(s)
            trace.add("rate", s, share)
            trace.add("eligibility", ds, share)
            if ds_leak is not None:
                trace.add("by_leak", ds_leak, share)
        return spikes

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        leak = _leak(layer)
        by_leak = trace.take("by_leak") if isinstance(leak, Tensor) else None
        leak = leak if isinstance(leak, Tensor) else None
        return _NeuronRate.apply(rate, leak, trace.take("rate"), trace.take("eligibility"), by_leak)


def _leak(layer: Any) -> Tensor | float:
    """k = 1/tau; 0 for a neuron that does not leak; a tensor with a graph where it is learnt."""
    if isinstance(layer, sj.ParametricLIFNode):
        return layer.w.sigmoid()
    return 1.0 / layer.tau if isinstance(layer, sj.LIFNode) else 0.0


def step(layer: Any, leak: float, x: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor | None]:
    """One time step: charge, fire, reset; updates state. x is [B, ...].

    Returns the spikes and their derivatives by the input current and (or None) by the leak.
    """
    decays_input = getattr(layer, "decay_input", False)
    gain = leak if decays_input else 1.0
    rest = layer.v_reset or 0.0
    u = state.v * (1.0 - leak) + x * gain + leak * rest
    s, h = fire(layer.surrogate_function, u - layer.v_threshold)
    du = state.dv * (1.0 - leak) + gain
    ds = h * du
    ds_leak = None
    if state.dv_leak is not None:
        drive = (x if decays_input else 0.0) - (state.v - rest)
        du_leak = state.dv_leak * (1.0 - leak) + drive
        ds_leak = h * du_leak
        state.dv_leak = _reset_derivative(layer, u, s, du_leak, ds_leak)
    state.dv = _reset_derivative(layer, u, s, du, ds)
    state.v = u - layer.v_threshold * s if layer.v_reset is None else torch.where(s > 0, rest, u)
    return s, ds, ds_leak


def _reset_derivative(layer: Any, u: Tensor, s: Tensor, du: Any, ds: Tensor) -> Tensor:
    """dv from du and ds, v being u - v_th*s (soft reset) or u*(1 - s) + v_reset*s (hard)."""
    if layer.v_reset is None:
        return du + torch.zeros_like(s) if layer.detach_reset else du - layer.v_threshold * ds
    kept = (1.0 - s) * du
    return kept if layer.detach_reset else kept + (layer.v_reset - u) * ds


def fire(function: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and surrogate derivative at x = u - v_threshold, for any of SpikingJelly's surrogates."""
    if type(function) is surrogate.Sigmoid and function.spiking:
        sg = torch.sigmoid(x * function.alpha)
        return (x >= 0).to(x.dtype), function.alpha * sg * (1.0 - sg)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        s = function(x)
        (h,) = torch.autograd.grad(s.sum(), x)
    return s.detach(), h


register(IntegrateAndFireRule(), sj.LIFNode, sj.IFNode, sj.ParametricLIFNode)
