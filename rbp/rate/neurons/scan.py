"""Integrate-and-fire neurons over time: spikes, rate and eligibility in one scan.

The eligibility e = d(mean_t s_t)/dc is the derivative of the rate with respect to an input current c that is
shifted equally at every step: forward-mode differentiation in one direction (Yu et al., NeurIPS 2024, section
4). With the surrogate derivative h_t, du_t = decay*dv_{t-1} + gain and ds_t = h_t*du_t, where decay = 1 - k;
dv_t follows from du_t through the reset, and e is the time mean of ds_t. Soft and hard resets, detached or
not, are thus correct by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.currents import Currents
from rbp.rate.neurons.surrogates import fire


@dataclass(frozen=True)
class ScanSettings:
    """Settings of a layer's neurons.

    Attributes:
        leak: k = 1/tau; a number, or a tensor [] that kernels read from memory.
        decays_input: Whether the input is multiplied by k.
        threshold: Membrane potential at which a neuron fires.
        reset_to: Membrane potential after a hard reset; None for a soft reset.
        detached: Whether the reset is left out of the graph.
        surrogate: Surrogate function, one of SpikingJelly's.
    """

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
class ScanState:
    """State of the neurons after a step. Values that are equal everywhere may be numbers.

    Attributes:
        v: Membrane potential after the reset.
        dv: Derivative of v with respect to the input current.
        dv_leak: Derivative of v with respect to a learnable leak k = 1/tau; None if it is not learnable.
        dv_start: Derivative of v with respect to v at the start of the segment of time; None if not wanted.
    """

    v: Tensor | float
    dv: Tensor | float
    dv_leak: Tensor | float | None
    dv_start: Tensor | float | None = None


@dataclass
class EligibilitySums:
    """Sums over the steps, [B, ...]. The first step overwrites what they held before.

    Attributes:
        spikes: The spikes.
        by_current: Derivative of the spikes with respect to the input current.
        by_leak: Derivative of the spikes with respect to a learnable leak; None if it is not learnable.
        by_start: Derivative of the spikes with respect to v at the start of the segment; None if not wanted.
        fresh: Whether no step has been added yet.
    """

    spikes: Tensor
    by_current: Tensor
    by_leak: Tensor | None
    by_start: Tensor | None = None
    fresh: bool = True

    def rows(self, rows: slice | None) -> EligibilitySums:
        """Return the part of one block, views of [rows, ...]; None is the whole."""
        if rows is None:
            return self
        by_leak, by_start = (None if x is None else _rows(x, rows) for x in (self.by_leak, self.by_start))
        return EligibilitySums(
            _rows(self.spikes, rows), _rows(self.by_current, rows), by_leak, by_start, self.fresh
        )


def _rows(x: Tensor, rows: slice) -> Tensor:
    return x.view(x.shape[:2].numel(), -1)[rows]


def scan(
    neuron: ScanSettings,
    currents: Currents,
    states: list[ScanState],
    start: ScanState,
    sums: EligibilitySums,
    out: Tensor,
    whole: bool = False,
) -> None:
    """Run the neurons over the steps of currents.

    Args:
        neuron: Settings of the neurons.
        currents: Input currents, [t, B, ...].
        states: State of each block of neurons, updated. Empty at the first call; pass it again if the steps
            come one by one or in chunks.
        start: State at rest.
        sums: Sums over the steps, [B, ...], updated.
        out: Where the spikes are written, [t, B, ...].
        whole: Whether these are all steps, after which no state is needed.
    """
    n_steps = currents.shape[0]
    for number, (rows, at_step) in enumerate(currents.blocks()):
        if number == len(states):
            states.append(ScanState(start.v, start.dv, start.dv_leak))
        part = sums.rows(rows)
        for t in range(n_steps):
            out_t = out[t] if rows is None else _rows(out[t], rows)
            step(neuron, at_step(t), states[number], part, out_t, last=whole and t == n_steps - 1)
    sums.fresh = False


def step(
    neuron: ScanSettings, x: Tensor, state: ScanState, sums: EligibilitySums, out: Tensor, last: bool = False
) -> None:
    """Run one time step: charge, fire, reset.

    Args:
        neuron: Settings of the neurons.
        x: Input current, of any shape; not written to.
        state: State of the neurons, updated.
        sums: Sums over the steps, in the shape of x, updated.
        out: Where the spikes are written, in the shape of x.
        last: Whether no state is needed after this step, so that the reset can be skipped.
    """
    first, sums.fresh = sums.fresh, False
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
    du_start = None
    if state.dv_start is not None:
        assert sums.by_start is not None
        du_start = state.dv_start * (1.0 - neuron.leak)
        _add_product(sums.by_start, h, du_start, scale, first)
    if last:
        return
    state.dv = _reset_derivative(neuron, u, s, du, h, scale)
    if du_leak is not None:
        state.dv_leak = _reset_derivative(neuron, u, s, du_leak, h, scale)
    if du_start is not None:
        state.dv_start = _reset_derivative(neuron, u, s, du_start, h, scale)
    state.v = _reset(neuron, u, s)


def _charge(neuron: ScanSettings, x: Tensor, v: Tensor | float) -> Tensor:
    """Return u = v - leak*(v - rest) + gain*x."""
    driven = x * neuron.gain if neuron.decays_input else x
    kept, pull = 1.0 - neuron.leak, neuron.leak * neuron.rest
    if isinstance(v, Tensor):
        u = _plus(driven, v, kept)
        return u + pull if neuron.rest else u
    start = v * kept + pull
    return driven + start if v or neuron.rest else driven


def _reset(neuron: ScanSettings, u: Tensor, s: Tensor) -> Tensor:
    """Return v = u - v_th*s (soft reset) or u*(1 - s) + v_reset*s (hard reset)."""
    if neuron.reset_to is None:
        return torch.sub(u, s, alpha=neuron.threshold)
    v = torch.addcmul(u, u, s, value=-1.0)
    return v.add_(s, alpha=neuron.reset_to) if neuron.reset_to else v


def _reset_derivative(neuron: ScanSettings, u: Tensor, s: Tensor, du: Any, h: Tensor, scale: float) -> Any:
    """Return dv for v as in _reset, given du and ds = scale*h*du."""
    if neuron.reset_to is None:
        return du if neuron.detached else du - (h * du).mul_(neuron.threshold * scale)
    kept = (1.0 - s) * du
    return kept if neuron.detached else kept.addcmul_(neuron.reset_to - u, h * du, value=scale)


def _plus(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    return torch.addcmul(x, y, factor) if isinstance(factor, Tensor) else torch.add(x, y, alpha=factor)


def _add_product(total: Tensor, h: Tensor, du: Any, scale: float, first: bool) -> None:
    """Add scale*h*du to total; the first step overwrites it."""
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
