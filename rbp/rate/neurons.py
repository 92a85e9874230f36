"""SpikingJelly's LIF, IF and ParametricLIF in rate mode: spikes, rate and eligibility in one scan over time.

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

from rbp.rate.rules import register
from rbp.rate.traces import Trace


class NeuronRule:
    """The base of the rules for spiking neurons: a network in rate mode needs a layer with one of them."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        raise NotImplementedError

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        raise NotImplementedError


class NeuronRate(torch.autograd.Function):
    """value [B, ...], the output rate. dL/dc = dL/dr * eligibility; for each of the neuron's learnable
    scalars p, dL/dp = sum(dL/dr * dr/dp), dr/dp [B, ...] following the scalars among the arguments."""

    @staticmethod
    def forward(ctx, rate, value, eligibility, *scalars_and_derivatives):
        ctx.count = len(scalars_and_derivatives) // 2
        ctx.shapes = [scalar.shape for scalar in scalars_and_derivatives[: ctx.count]]
        ctx.save_for_backward(eligibility, *scalars_and_derivatives[ctx.count :])
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        eligibility, *derivatives = ctx.saved_tensors
        by_scalar = [
            (grad * d).sum().reshape(shape) for d, shape in zip(derivatives, ctx.shapes, strict=True)
        ]
        return grad * eligibility, None, None, *by_scalar, *(None,) * ctx.count


@dataclass
class State:
    """Membrane potential v [B, ...] after the reset, and its derivatives: by the input current (dv) and, for
    a learnable leak k = 1/tau, by k (dv_leak, else None)."""

    v: Tensor | float
    dv: Tensor | float
    dv_leak: Tensor | float | None


class IntegrateAndFireRule(NeuronRule):
    """SpikingJelly's LIFNode, IFNode and ParametricLIFNode: u_t = v_{t-1} - k*(v_{t-1} - v_rest) + gain*c_t,
    k = 1/tau, gain = k where the input decays and 1 where it does not.

    A learnable k gets dL/dr * dr/dk, r being the neuron's own rate and its input currents as they were at
    every step. Against BPTT, sum_t dL/ds_t * ds_t/dk, that takes the loss to depend on the spikes of every
    step alike (dL/ds_t = dL/dr / T), the approximation that rate mode makes for every weight; it is exact
    where only linear layers follow, and at T=1.
    """

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        leak = _leak(layer)
        if trace.state is None:
            learns = isinstance(leak, Tensor) and leak_needs_grad(layer)
            trace.state = State(v=layer.v_reset or 0.0, dv=0.0, dv_leak=0.0 if learns else None)
        k = leak.item() if isinstance(leak, Tensor) else leak
        spikes = torch.empty_like(x_seq, memory_format=torch.contiguous_format)
        share = 1.0 / trace.steps
        for x, out in zip(x_seq, spikes, strict=True):
            s, ds, ds_leak = step(layer, k, x.float() if x.dtype != torch.float64 else x, trace.state)
            out.copy_(s)
            trace.add("rate", s, share)
            trace.add("eligibility", ds, share)
            if ds_leak is not None:
                trace.add("by_leak", ds_leak, share)
        return spikes

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        value, eligibility = trace.take("rate").to(rate.dtype), trace.take("eligibility")
        by_leak = (_leak(layer), trace.take("by_leak")) if "by_leak" in trace.means else ()
        return NeuronRate.apply(rate, value, eligibility.to(rate.dtype), *by_leak)


def leak_needs_grad(layer: sj.ParametricLIFNode) -> bool:
    return layer.w.requires_grad


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
    state.v = u - layer.v_threshold * s if layer.v_reset is None else u + (rest - u) * s
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


FAST = (sj.LIFNode, sj.IFNode, sj.ParametricLIFNode)
register(IntegrateAndFireRule(), *FAST)
