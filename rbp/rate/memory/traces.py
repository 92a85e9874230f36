"""What the first half of a rule leaves for the second: time means and counts, however many the steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_constant(x_seq: Any) -> bool:
    """Whether [T, ...] is one step seen T times (stride 0 in time): then one step's work is enough."""
    return isinstance(x_seq, Tensor) and x_seq.shape[0] > 1 and x_seq.stride(0) == 0


class TimeMean:
    """The mean over T time steps of a quantity that arrives a few steps at a time.

    Low precision is averaged in float32.
    """

    def __init__(self, T: int) -> None:
        self.T = T
        self._sum: Tensor | None = None

    @property
    def known(self) -> bool:
        """Whether any step has been added."""
        return self._sum is not None

    def add(self, x_seq: Tensor) -> None:
        """Add some of the T steps, x_seq [t, ...]."""
        low_precision = x_seq.dtype in (torch.bfloat16, torch.float16)
        if is_constant(x_seq) or x_seq.shape[0] == 1:
            mean = x_seq[0].float() if low_precision else x_seq[0]
        else:
            mean = x_seq.mean(0, dtype=torch.float32 if low_precision else None)
        self.add_mean(mean, x_seq.shape[0])

    def add_mean(self, mean: Tensor, t: int) -> None:
        """Add t of the T steps by their mean."""
        share = t / self.T
        if self._sum is None:
            self._sum = mean if share == 1.0 else mean * share
        else:
            self._sum.add_(mean, alpha=share)

    def take(self) -> Tensor:
        """The mean. It is forgotten here, so that only the graph keeps it."""
        mean, self._sum = self._sum, None
        assert mean is not None, "no step has been added, or the mean was taken before"
        return mean


class Drafts:
    """Copies of buffers, such as running statistics, that a pass writes to in their stead.

    A pass that fails halfway leaves the buffers as they were.
    """

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, buffer: Tensor) -> Tensor:
        """The copy that replaces the buffer once the whole network has run."""
        return self._copies.setdefault(id(buffer), (buffer, buffer.clone()))[1]

    def publish(self) -> None:
        """Write every copy back."""
        for buffer, copy in self._copies.values():
            buffer.copy_(copy)


class Trace:
    """What one call of one layer keeps over the T steps, for `Rule.rate` to build the graph from.

    A rule that keeps more than the time mean of its output names a subclass as its `trace_type`.

    Attributes:
        T: the number of time steps.
        value: the time mean of the layer's output [B, ...].
        kernels: "plain", "compiled" or "auto", see `rbp.forward`.
        drafts: where running statistics are written until the pass is over.
    """

    def __init__(self, T: int, kernels: str = "plain", drafts: Drafts | None = None) -> None:
        self.T, self.kernels, self.drafts = T, kernels, drafts or Drafts()
        self.value = TimeMean(T)
