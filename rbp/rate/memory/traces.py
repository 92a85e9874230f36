"""Traces: what the first half of a rule leaves for the second.

In rate-based backpropagation the backward pass needs only time means of each layer's forward pass. A trace
accumulates them step by step, or chunk by chunk, so its size does not depend on T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.segments import Segments


def is_constant(x_seq: Any) -> bool:
    """Whether x_seq [T, ...] is one step expanded over T > 1 (stride 0 in time).

    A layer then needs to be computed for one step only. False for anything but a tensor.
    """
    return isinstance(x_seq, Tensor) and x_seq.shape[0] > 1 and x_seq.stride(0) == 0


class TimeMean:
    """The mean over T time steps, or over each segment of them, of what arrives a few steps at a time.

    bfloat16 and float16 are averaged, and returned, in float32.

    Args:
        segments: the time steps and their segments, or the number of time steps.
    """

    def __init__(self, segments: Segments | int) -> None:
        self.segments = Segments(segments) if isinstance(segments, int) else segments
        self._means: list[Tensor] = []  # one per segment, of the steps so far
        self._steps = 0

    @property
    def steps(self) -> int:
        """How many steps have been added."""
        return self._steps

    @property
    def known(self) -> bool:
        """Whether any step has been added."""
        return bool(self._means)

    def add(self, x_seq: Tensor) -> None:
        """Add t of the T steps.

        Args:
            x_seq: [t, ...], the values at these steps.
        """
        low_precision = x_seq.dtype in (torch.bfloat16, torch.float16)
        constant = is_constant(x_seq)
        for _, part, _ in self.segments.cut(self._steps, x_seq.shape[0]):
            if constant or part.stop - part.start == 1:
                mean = x_seq[part.start].float() if low_precision else x_seq[part.start]
            else:
                mean = x_seq[part].mean(0, dtype=torch.float32 if low_precision else None)
            self.add_mean(mean, part.stop - part.start)

    def add_mean(self, mean: Tensor, t: int) -> None:
        """Add t of the T steps, given their mean.

        Args:
            mean: [...], the mean over these steps. If they are a segment, it is kept without a copy.
            t: the number of steps.
        """
        for j, part, _ in self.segments.cut(self._steps, t):
            steps = part.stop - part.start
            share = steps / self.segments.lengths[j]
            if j == len(self._means):
                self._means.append(mean if share == 1.0 else mean * share)
            else:
                self._means[j].add_(mean, alpha=share)
            self._steps += steps

    def take(self) -> Tensor:
        """Return the mean [B, ...], with k segments [k*B, ...], and drop it: only the graph holds its memory.

        Raises:
            AssertionError: if no step has been added since the last `take`.
        """
        means = self.take_each()
        return means[0] if len(means) == 1 else torch.cat(means)

    def take_each(self) -> list[Tensor]:
        """Return the mean over each segment, k times [...], and drop them."""
        means, self._means, self._steps = self._means, [], 0
        assert means, "no step has been added, or the mean was taken before"
        return means


class Drafts:
    """Copies of buffers, such as running statistics, that a pass updates instead of the buffers themselves.

    A pass that fails halfway thus leaves the buffers unchanged.
    """

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, buffer: Tensor) -> Tensor:
        """Return the copy of a buffer, made at the first request; `publish` writes it back."""
        return self._copies.setdefault(id(buffer), (buffer, buffer.clone()))[1]

    def publish(self) -> None:
        """Write every copy back to its buffer, once the whole network has run."""
        for buffer, copy in self._copies.values():
            buffer.copy_(copy)


class Trace:
    """What `Rule.spikes` accumulates over the T steps of one call of one layer, for `Rule.rate` to use.

    A rule that needs more than the time mean of its output names a subclass as its `trace_type`. The engine
    creates it with the arguments below, so a subclass that has an `__init__` must pass them on (see
    rbp.rate.rules.base for an example).

    Args:
        segments: the time steps and their segments, or the number of time steps.
        kernels: "plain", "compiled" or "auto", see `rbp.forward`.
        drafts: the drafts of the pass; new ones if None.

    Attributes:
        T: the number of time steps.
        segments: the T steps, cut into segments that have a rate each; one segment unless asked for more.
        value: a `TimeMean` for the layer's output, [B, ...]; empty at first.
        kernels: "plain", "compiled" or "auto".
        drafts: copies of buffers, to be updated instead of the buffers; written back at the end of the pass.
    """

    def __init__(
        self, segments: Segments | int, kernels: str = "plain", drafts: Drafts | None = None
    ) -> None:
        self.segments = Segments(segments) if isinstance(segments, int) else segments
        self.T, self.kernels, self.drafts = self.segments.T, kernels, drafts or Drafts()
        self.value = TimeMean(self.segments)
