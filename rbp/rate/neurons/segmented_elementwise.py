"""Derivatives over k segments of time (k > 1) of any neuron's own forward; see rbp.rate.neurons.segments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.segments import Segments
from rbp.rate.neurons.segments import SegmentDerivatives

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
