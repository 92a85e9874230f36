"""Sequences over T steps that are not stored in full: recomputed when read, or stored as bits.

They stand in for tensors in a pass in chunks (see rbp.rate.memory.chunking).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Lazy:
    """A sequence [T, B, ...] whose steps are computed, without a graph, each time they are read.

    Args:
        like: a tensor with the shape [B, ...], dtype and device of one step; it is not kept.
        steps: T.
        chunk: how many steps a reader should ask for at once.
        read: computes the steps of a slice, [t, B, ...]. A subclass may override `__getitem__` instead.
    """

    def __init__(
        self, like: Tensor, steps: int, chunk: int, read: Callable[[slice], Tensor] | None = None
    ) -> None:
        self.like = like.new_empty(()).expand(like.shape)
        self.shape = torch.Size((steps, *like.shape))
        self.dtype, self.device, self.chunk, self.read = like.dtype, like.device, chunk, read

    def __getitem__(self, steps: slice) -> Tensor:
        assert self.read is not None
        with torch.no_grad():
            return self.read(steps)


class Bits(Lazy):
    """A sequence of zeros and ones stored as one bit per element, with eight steps in a byte."""

    def __init__(self, like: Tensor, steps: int, chunk: int) -> None:
        super().__init__(like, steps, chunk)
        self.bytes = [torch.zeros_like(like, dtype=torch.uint8) for _ in range((steps + 7) // 8)]

    def write(self, start: int, x_seq: Tensor) -> None:
        """Store x_seq [t, B, ...] as the steps from `start` on; each step may be written once."""
        for t, x in enumerate(x_seq, start):
            self.bytes[t // 8].bitwise_or_(x.to(torch.uint8).bitwise_left_shift_(t % 8))

    def __getitem__(self, steps: slice) -> Tensor:
        numbers = range(self.shape[0])[steps]
        return torch.stack([(self.bytes[t // 8] >> (t % 8)).bitwise_and_(1).to(self.dtype) for t in numbers])
