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
from torch import Tensor

from rbp.rate.memory.currents import Currents
from rbp.rate.neurons.surrogates import fire


@dataclass(frozen=True)
class Neuron:
    """A layer's neurons: leak k = 1/tau (a tensor [] where a kernel reads it from memory), whether the input
    decays, threshold, what they are reset to (None: soft reset), whether the reset is out of the graph."""

    leak: float | Tensor
    decays_input: bool
    threshold: float
    reset_to: float | None
    detached: bool
    surrogate: Any

    @property
    def gain(self) -> float | Tensor:
        return self.leak if self.decays_input else 1.0

    @property
    def rest(self) -> float:
        return self.reset_to or 0.0


@dataclass
class State:
    """Membrane potential v after the reset, and its derivatives: by the input current (dv) and, for a
    learnable leak k = 1/tau, by k (dv_leak, else None). Numbers where they are the same everywhere."""

    v: Tensor | float
    dv: Tensor | float
    dv_leak: Tensor | float | None


@dataclass
class Sums:
    """Sums over the steps, [B, ...]: spikes, their derivative by the current, and (or None) by the leak.

    What they hold before the first step does not count."""

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
    neuron: Neuron,
    currents: Currents,
    states: list[State],
    start: State,
    sums: Sums,
    out: Tensor,
    whole: bool = False,
) -> None:
    """Run the neurons over the steps of currents; writes the spikes to out [t, B, ...] and adds to sums.

    states: one for each block, filled when empty from start; where the steps come one by one or chunk by
    chunk, they are handed in again. whole: whether these are all steps, after which no state is wanted.
    """
    n_steps = currents.shape[0]
    for number, (rows, at_step) in enumerate(currents.blocks()):
        if number == len(states):
            states.append(State(start.v, start.dv, start.dv_leak))
        part = sums.rows(rows)
        for t in range(n_steps):
            out_t = out[t] if rows is None else _rows(out[t], rows)
            step(neuron, at_step(t), states[number], part, out_t, last=whole and t == n_steps - 1)


def step(neuron: Neuron, x: Tensor, state: State, sums: Sums, out: Tensor, last: bool = False) -> None:
    """One time step of any shape: charge, fire, reset; updates state and sums, writes spikes, leaves x.

    last: whether no state is wanted after it, so that the reset can be spared.
    """
    first = not isinstance(state.v, Tensor)
    u = _charge(neuron, x, state.v)
    s, h, scale = fire(neuron.surrogate, u, neuron.threshold, out)
    _put(sums.spikes, s) if first else sums.spikes.add_(s)
    du = state.dv * (1.0 - neuron.leak) + neuron.gain
    _add_product(sums.by_current, h, du, scale, first)
    du_leak = None
    if state.dv_leak is not None:
        assert sums.by_leak is not None
        drive = (x if neuron.decays_input else 0.0) - (state.v - neuron.rest)
        du_leak = state.dv_leak * (1.0 - neuron.leak) + drive
        _add_product(sums.by_leak, h, du_leak, scale, first)
    if last:
        return
    state.dv = _reset_derivative(neuron, u, s, du, h, scale)
    if du_leak is not None:
        state.dv_leak = _reset_derivative(neuron, u, s, du_leak, h, scale)
    state.v = _reset(neuron, u, s)


def _charge(neuron: Neuron, x: Tensor, v: Tensor | float) -> Tensor:
    """u = v - leak*(v - rest) + gain*x."""
    driven = x * neuron.gain if neuron.decays_input else x
    kept, pull = 1.0 - neuron.leak, neuron.leak * neuron.rest
    if isinstance(v, Tensor):
        u = _plus(driven, v, kept)
        return u + pull if neuron.rest else u
    start = v * kept + pull
    return driven + start if v or neuron.rest else driven


def _reset(neuron: Neuron, u: Tensor, s: Tensor) -> Tensor:
    """u - v_th*s (soft reset) or u*(1 - s) + v_reset*s (hard)."""
    if neuron.reset_to is None:
        return torch.sub(u, s, alpha=neuron.threshold)
    v = torch.addcmul(u, u, s, value=-1.0)
    return v.add_(s, alpha=neuron.reset_to) if neuron.reset_to else v


def _reset_derivative(neuron: Neuron, u: Tensor, s: Tensor, du: Any, h: Tensor, scale: float) -> Any:
    """dv from du, ds = scale*h*du, v being as in _reset."""
    if neuron.reset_to is None:
        return du if neuron.detached else du - (h * du).mul_(neuron.threshold * scale)
    kept = (1.0 - s) * du
    return kept if neuron.detached else kept.addcmul_(neuron.reset_to - u, h * du, value=scale)


def _plus(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    return torch.addcmul(x, y, factor) if isinstance(factor, Tensor) else torch.add(x, y, alpha=factor)


def _add_product(total: Tensor, h: Tensor, du: Any, scale: float, first: bool) -> None:
    """total += scale*h*du; what is in total before the first step does not count."""
    if first:
        _put(total, h, scale * du)
    elif isinstance(du, Tensor):
        total.addcmul_(h, du, value=scale)
    else:
        total.add_(h, alpha=scale * du)


def _put(out: Tensor, x: Tensor, factor: Any = 1.0) -> None:
    """Write factor*x to out."""
    if torch.compiler.is_compiling():
        out.copy_(x * factor)
    else:
        torch.mul(x, factor, out=out)
