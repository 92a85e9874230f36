"""How neurons gather their derivatives over k segments of time (k > 1); see rbp.rate.neurons.segments.

SegmentedScan is for the scan of integrate-and-fire neurons, SegmentedSteps for any neuron's own forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.currents import Currents, empty_like
from rbp.rate.memory.segments import Segments
from rbp.rate.neurons.scan import EligibilitySums, ScanSettings, ScanState, scan
from rbp.rate.neurons.segments import Number, SegmentDerivatives

_V = "v"  # the one memory of an integrate-and-fire neuron


class SegmentedScan:
    """Spikes, rates and derivatives of every segment, for neurons whose steps come all at once or one by one.

    Attributes:
        rates: output rate of each segment done so far, [B, ...].
        derivatives: the derivatives of each segment done so far.
    """

    def __init__(self, segments: Segments, start: ScanState) -> None:
        self.segments, self.start = segments, start
        self.rates: list[Tensor] = []
        self.derivatives: list[SegmentDerivatives] = []
        self._states: list[ScanState] = []
        self._sums: EligibilitySums | None = None  # of the current segment
        self._steps = 0

    def run(self, neuron: ScanSettings, currents: Currents, out: Tensor) -> None:
        """Run some of the steps, currents [t, B, ...], and write the spikes to out [t, B, ...]."""
        for j, part, ends in self.segments.cut(self._steps, currents.shape[0]):
            steps = currents.at(part)
            sums = self._sums or self._begin(j, steps)
            scan(neuron, steps, self._states, self.start, sums, out[part])
            self._sums, self._steps = (None if ends else sums), self._steps + part.stop - part.start
            if ends:
                self._end(j, sums)

    def _begin(self, j: int, currents: Currents) -> EligibilitySums:
        """Start the derivatives of a segment. Those by a learnable leak go on if segments are coupled."""
        coupled = self.segments.coupled and j > 0
        for state in self._states:
            state.dv, state.dv_start = 0.0, 1.0 if coupled else None
            if state.dv_leak is not None and not self.segments.coupled:
                state.dv_leak = 0.0
        dtype = torch.float64 if currents.dtype == torch.float64 else torch.float32
        room = [empty_like(currents, dtype, steps=1)[0] for _ in range(4)]
        learns = self.start.dv_leak is not None
        return EligibilitySums(room[0], room[1], room[2] if learns else None, room[3] if coupled else None)

    def _end(self, j: int, sums: EligibilitySums) -> None:
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


# The memories' derivatives: by the input current, by each learnable parameter, by each memory.
Directions = list[dict[str, Tensor]]


class SegmentedSteps:
    """The derivatives of every segment, filled step by step.

    Args:
        segments: the time steps and their segments.
        learnt: the number of learnable parameters.

    Attributes:
        rates: output rate of each segment done so far, [B, ...].
        derivatives: the derivatives of each segment done so far.
    """

    def __init__(self, segments: Segments, learnt: int) -> None:
        self.segments, self.learnt = segments, learnt
        self.rates: list[Tensor] = []
        self.derivatives: list[SegmentDerivatives] = []
        self._step = 0
        self._names: list[str] = []  # of the memories at the start of the segment
        self._sums: list[Tensor] = []  # of the spikes, and of their derivatives in each direction

    def before_step(self, memories: dict[str, Any], directions: Directions) -> Directions:
        """Return the directions to differentiate in, those before the step given."""
        j = self.segments.of_step(self._step)
        if j == 0 or self._sums:
            return directions
        learnt = directions[1 : 1 + self.learnt]
        if not self.segments.coupled:
            return [{}, *({} for _ in learnt)]
        states = {n: v for n, v in memories.items() if isinstance(v, Tensor) and v.is_floating_point()}
        self._names = list(states)
        return [{}, *learnt, *({name: torch.ones_like(v)} for name, v in states.items())]

    def after_step(self, spikes: Tensor, derivatives: list[Tensor], directions: Directions) -> None:
        """Add a step's spikes and their derivatives; directions: the memories' derivatives after it."""
        j = self.segments.of_step(self._step)
        steps = [spikes, *derivatives]
        self._sums = [a + b for a, b in zip(self._sums, steps, strict=True)] if self._sums else steps
        self._step += 1
        if self._step == sum(self.segments.lengths[: j + 1]):
            self._end(j, directions)

    def _end(self, j: int, directions: Directions) -> None:
        spikes, by_current, *others = (x / self.segments.lengths[j] for x in self._sums)
        found = SegmentDerivatives(by_current, others[: self.learnt])
        found.by_memory.update(zip(self._names, others[self.learnt :], strict=True))
        if self.segments.coupled and j < self.segments.k - 1:
            found.end_by_current.update(directions[0])
            for name, at_end in zip(self._names, directions[1 + self.learnt :], strict=True):
                found.end_by_memory[name] = dict(at_end)
        self.rates.append(spikes)
        self.derivatives.append(found)
        self._sums = []
