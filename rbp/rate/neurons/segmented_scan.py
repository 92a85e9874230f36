"""The scan of integrate-and-fire neurons over k segments of time (k > 1); see rbp.rate.neurons.segments."""

from __future__ import annotations

import torch
from torch import Tensor

from rbp.rate.memory.currents import Currents, empty_like
from rbp.rate.memory.segments import Segments
from rbp.rate.neurons.scan import Neuron, State, Sums, scan
from rbp.rate.neurons.segments import Number, SegmentDerivatives

_V = "v"  # the one memory of an integrate-and-fire neuron


class SegmentedScan:
    """Spikes, rates and derivatives of every segment, for neurons whose steps come all at once or one by one.

    Attributes:
        rates: output rate of each segment done so far, [B, ...].
        derivatives: the derivatives of each segment done so far.
    """

    def __init__(self, segments: Segments, start: State) -> None:
        self.segments, self.start = segments, start
        self.rates: list[Tensor] = []
        self.derivatives: list[SegmentDerivatives] = []
        self._states: list[State] = []
        self._sums: Sums | None = None  # of the current segment
        self._steps = 0

    def run(self, neuron: Neuron, currents: Currents, out: Tensor) -> None:
        """Run some of the steps, currents [t, B, ...], and write the spikes to out [t, B, ...]."""
        for j, part, ends in self.segments.cut(self._steps, currents.shape[0]):
            steps = currents.at(part)
            sums = self._sums or self._begin(j, steps)
            scan(neuron, steps, self._states, self.start, sums, out[part])
            self._sums, self._steps = (None if ends else sums), self._steps + part.stop - part.start
            if ends:
                self._end(j, sums)

    def _begin(self, j: int, currents: Currents) -> Sums:
        """Start the derivatives of a segment. Those by a learnable leak go on if segments are coupled."""
        coupled = self.segments.coupled and j > 0
        for state in self._states:
            state.dv, state.dv_start = 0.0, 1.0 if coupled else None
            if state.dv_leak is not None and not self.segments.coupled:
                state.dv_leak = 0.0
        dtype = torch.float64 if currents.dtype == torch.float64 else torch.float32
        room = [empty_like(currents, dtype, steps=1)[0] for _ in range(4)]
        learns = self.start.dv_leak is not None
        return Sums(room[0], room[1], room[2] if learns else None, room[3] if coupled else None)

    def _end(self, j: int, sums: Sums) -> None:
        share = 1.0 / self.segments.lengths[j]
        derivatives = SegmentDerivatives(sums.by_current.mul_(share))
        if sums.by_leak is not None:
            derivatives.by_learnt.append(sums.by_leak.mul_(share))
        goes_on = self.segments.coupled and j < self.segments.k - 1
        if goes_on:
            derivatives.end_by_current[_V] = self._at_end("dv", sums.spikes)
        if sums.by_start is not None:
            derivatives.by_memory[_V] = sums.by_start.mul_(share)
            if goes_on:
                derivatives.end_by_memory[_V] = {_V: self._at_end("dv_start", sums.spikes)}
        self.rates.append(sums.spikes.mul_(share))
        self.derivatives.append(derivatives)

    def _at_end(self, name: str, like: Tensor) -> Number:
        """Return a derivative of all blocks of neurons, [B, ...]; a number where it is equal everywhere."""
        values = [getattr(state, name) for state in self._states]
        if len(values) == 1 or not isinstance(values[0], Tensor):
            return values[0]
        return torch.cat(values).view(like.shape)
