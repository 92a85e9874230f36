"""Integrate-and-fire neurons over time: spikes, rate and eligibility in one scan.

The eligibility e = d(mean_t s_t)/dc is the rate's derivative by an input current c shifted equally at every
step: forward-mode differentiation in one direction (Yu et al., NeurIPS 2024, section 4). With the surrogate
derivative h_t, du_t = decay*dv_{t-1} + gain, ds_t = h_t*du_t, and dv_t follows du_t through the reset; e is
the time mean of ds_t. So every reset, detached or not, is right by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor

from rbp.rate.currents import Currents


@dataclass
class State:
    """Membrane potential v after the reset, and its derivatives: by the input current (dv) and, for a
    learnable leak k = 1/tau, by k (dv_leak, else None). Numbers where they are the same everywhere."""

    v: Tensor | float
    dv: Tensor | float
    dv_leak: Tensor | float | None


@dataclass
class Sums:
    """Sums over the steps, [B, ...]: spikes, their derivative by the current, and (or None) by the leak."""

    spikes: Tensor
    by_current: Tensor
    by_leak: Tensor | None

    def rows(self, rows: slice | None) -> Sums:
        """The part of a block."""
        if rows is None:
            return self
        by_leak = None if self.by_leak is None else _rows(self.by_leak, rows)
        return Sums(_rows(self.spikes, rows), _rows(self.by_current, rows), by_leak)


def _rows(x: Tensor, rows: slice) -> Tensor:
    return x.view(x.shape[:2].numel(), -1)[rows]


def scan(
    layer: Any, leak: float, currents: Currents, states: list[State], start: State, sums: Sums, out: Tensor
) -> None:
    """Run the neurons over the steps of currents; writes the spikes to out [t, B, ...] and adds to sums.

    states: one for each block, filled when empty from start; where the steps come one by one, they are
    handed in again.
    """
    for number, (rows, at_step) in enumerate(currents.blocks()):
        if number == len(states):
            states.append(State(start.v, start.dv, start.dv_leak))
        part = sums.rows(rows)
        for t in range(currents.shape[0]):
            s, ds, ds_leak = step(layer, leak, at_step(t), states[number])
            (out[t] if rows is None else _rows(out[t], rows)).copy_(s)
            part.spikes.add_(s)
            part.by_current.add_(ds)
            if part.by_leak is not None:
                part.by_leak.add_(ds_leak)  # type: ignore[arg-type]


def step(layer: Any, leak: float, x: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor | None]:
    """One time step of any shape: charge, fire, reset; updates state, leaves x.

    Returns the spikes and their derivatives by the input current and (or None) by the leak.
    """
    decays_input = getattr(layer, "decay_input", False)
    gain = leak if decays_input else 1.0
    rest = layer.v_reset or 0.0
    u = _charge(x, state.v, leak, gain, rest)
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
    state.v = _reset(layer, u, s)
    return s, ds, ds_leak


def _charge(x: Tensor, v: Tensor | float, leak: float, gain: float, rest: float) -> Tensor:
    """u = v - leak*(v - rest) + gain*x."""
    driven = x if gain == 1.0 else x * gain
    if isinstance(v, Tensor):
        u = torch.add(driven, v, alpha=1.0 - leak)
        return u.add_(leak * rest) if rest else u
    start = v * (1.0 - leak) + leak * rest
    return driven + start if start else driven


def _reset(layer: Any, u: Tensor, s: Tensor) -> Tensor:
    """u - v_th*s (soft reset) or u*(1 - s) + v_reset*s (hard)."""
    if layer.v_reset is None:
        return torch.sub(u, s, alpha=layer.v_threshold)
    v = u * (1.0 - s)
    return v.add_(s, alpha=layer.v_reset) if layer.v_reset else v


def _reset_derivative(layer: Any, u: Tensor, s: Tensor, du: Any, ds: Tensor) -> Tensor | float:
    """dv from du and ds, v being as in _reset."""
    if layer.v_reset is None:
        return du if layer.detach_reset else du - layer.v_threshold * ds
    kept = (1.0 - s) * du
    return kept if layer.detach_reset else kept + (layer.v_reset - u) * ds


def fire(function: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and surrogate derivative at x = u - v_threshold, for any of SpikingJelly's surrogates.

    Uses up x.
    """
    if type(function) is surrogate.Sigmoid and function.spiking:
        s = torch.ge(x, 0.0, out=torch.empty_like(x))
        sg = x.mul_(function.alpha).sigmoid_()
        return s, torch.ops.aten.sigmoid_backward(x.new_tensor(function.alpha), sg)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        s = function(x)
        (h,) = torch.autograd.grad(s.sum(), x)
    return s.detach(), h
