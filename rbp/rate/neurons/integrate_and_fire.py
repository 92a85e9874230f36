"""Rule for SpikingJelly's LIFNode, IFNode and ParametricLIFNode, by the scan of rbp.rate.neurons.scan."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import neuron as sj
from torch import Tensor

from rbp.rate.memory.currents import Currents, empty_like
from rbp.rate.memory.packing import pack_counts, pack_segment_counts, with_counts
from rbp.rate.memory.traces import Trace
from rbp.rate.neurons import compiled
from rbp.rate.neurons.elementwise import ElementwiseNeuron
from rbp.rate.neurons.eligibility import NeuronRate, NeuronRule
from rbp.rate.neurons.scan import EligibilitySums, ScanSettings, ScanState, scan
from rbp.rate.neurons.segmented import SegmentedScan
from rbp.rate.neurons.segments import segmented_rate
from rbp.rate.neurons.supported import settings_are_numbers
from rbp.rate.rules.base import Rule


class ScanTrace(Trace):
    """What the neurons carry from step to step.

    Attributes:
        states: State of each block of neurons; empty before the first step.
        sums: Sums over the steps so far.
    """

    sums: EligibilitySums

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.states: list[ScanState] = []
        self.by_segments: SegmentedScan | None = None


class IntegrateAndFireRule(NeuronRule[ScanTrace]):
    """Integrate-and-fire neurons, u_t = v_{t-1} - k*(v_{t-1} - v_rest) + gain*c_t with k = 1/tau.

    gain is k if the input decays (`decay_input`) and 1 otherwise; k is 0 for IFNode.

    The gradient of a learnable k is dL/dr * dr/dk, where r is the neuron's rate for its actual input currents
    at every step. BPTT's gradient is sum_t dL/ds_t * ds_t/dk. The two agree if the loss depends equally on
    the spikes of all steps (dL/ds_t = dL/dr / T), which is the approximation that rate mode makes for every
    weight. It is exact if only linear layers follow, and at T=1.
    """

    trace_type = ScanTrace
    takes_currents = True
    by_own_forward = ElementwiseNeuron()

    def for_layer(self, layer: Any) -> Rule:
        """Return this rule if every setting is a number, else `ElementwiseNeuron`.

        A threshold, time constant or reset that is learnable or a tensor, such as one threshold per channel,
        needs the neuron's own forward, which is slower.
        """
        return self if settings_are_numbers(layer) else self.by_own_forward

    def spikes(self, layer: Any, x_seq: Currents, trace: ScanTrace) -> Tensor:
        learns = isinstance(layer, sj.ParametricLIFNode) and layer.w.requires_grad
        fused = compiled.wanted(trace.kernels, x_seq.device)
        if not trace.states and trace.segments.k == 1:
            trace.sums = _sums(x_seq, learns)
        neuron = _neuron(layer, fused)
        start = ScanState(v=neuron.rest, dv=0.0, dv_leak=0.0 if learns else None)
        spikes = empty_like(x_seq)
        if trace.segments.k > 1:
            trace.by_segments = trace.by_segments or SegmentedScan(trace.segments, start)
            trace.by_segments.run(neuron, x_seq, spikes)
            compiled.ran["plain"] += 1
            return spikes
        if fused and len(trace.states) < 2:
            state = trace.states[0] if trace.states else start
            if compiled.scan(neuron, x_seq, state, trace.sums, spikes):
                trace.states = [state]
                return spikes
        whole = x_seq.shape[0] == trace.T
        scan(neuron, x_seq, trace.states, start, trace.sums, spikes, whole)
        compiled.ran["plain"] += 1
        return spikes

    def rate(self, layer: Any, rate: Tensor, trace: ScanTrace) -> Tensor:
        if trace.by_segments is not None:
            return self._segmented_rate(layer, rate, trace.by_segments)
        sums, share = trace.sums, 1.0 / trace.T
        del trace.sums  # so that nothing but the graph holds them
        eligibility = sums.by_current.mul_(share).to(rate.dtype)
        by_leak = () if sums.by_leak is None else (_leak(layer), sums.by_leak.mul_(share))
        packed = self.emits_bits(layer, False) and rate.dtype == torch.float32
        counts = pack_counts(sums.spikes, trace.T) if packed else None
        value = sums.spikes.mul_(share).to(rate.dtype)
        return with_counts(NeuronRate.apply(rate, value, eligibility, *by_leak), counts)

    def _segmented_rate(self, layer: Any, rate: Tensor, scan: SegmentedScan) -> Tensor:
        value = torch.cat(scan.rates).to(rate.dtype)
        learnt = [_leak(layer)] if scan.start.dv_leak is not None else []
        counts = pack_segment_counts(value, scan.segments) if self.emits_bits(layer, False) else None
        y = segmented_rate(rate, value, scan.derivatives, learnt)  # type: ignore[arg-type]
        return with_counts(y, counts if rate.dtype == torch.float32 else None)

    def emits_bits(self, layer: Any, of_bits: bool) -> bool:
        return getattr(layer.surrogate_function, "spiking", True)  # plain functions emit spikes


def _sums(currents: Currents, learns: bool) -> EligibilitySums:
    """Return uninitialised sums."""
    dtype = torch.float64 if currents.dtype == torch.float64 else torch.float32
    spikes = empty_like(currents, dtype, steps=1)[0]
    return EligibilitySums(spikes, torch.empty_like(spikes), torch.empty_like(spikes) if learns else None)


def _neuron(layer: Any, fused: bool) -> ScanSettings:
    """Return the settings of the layer's neurons.

    A learnable leak becomes a number, unless reading it would sync with a GPU or recompile a kernel.
    """
    leak = _leak(layer)
    if isinstance(leak, Tensor) and leak.device.type == "cpu" and not fused:
        leak = leak.item()
    decays = getattr(layer, "decay_input", False)
    settings = (decays, layer.v_threshold, layer.v_reset, layer.detach_reset)
    return ScanSettings(leak, *settings, layer.surrogate_function)


def _leak(layer: Any) -> Tensor | float:
    """Return k = 1/tau, or 0 for IFNode; for ParametricLIFNode a tensor [] with its graph."""
    if isinstance(layer, sj.ParametricLIFNode):
        return layer.w.sigmoid()
    return 1.0 / layer.tau if isinstance(layer, sj.LIFNode) else 0.0
