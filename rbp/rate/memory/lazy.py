"""Sequences of which not all steps are in memory as numbers: computed when they are read, or kept as bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Lazy:
    """A sequence [T, B, ...] of which steps are computed, without a graph, whenever they are asked for.

    like: a step of it, [B, ...], of which shape and type are noted. chunk: how many steps to ask for at once.
    read: computes some of its steps.
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
    """A sequence of zeros and ones, held in a bit each: eight steps in a byte."""

    def __init__(self, like: Tensor, steps: int, chunk: int) -> None:
        super().__init__(like, steps, chunk)
        self.bytes = [torch.zeros_like(like, dtype=torch.uint8) for _ in range((steps + 7) // 8)]

    def write(self, start: int, x_seq: Tensor) -> None:
        """Note x_seq [t, B, ...], the steps from start on."""
        for t, x in enumerate(x_seq, start):
            self.bytes[t // 8].bitwise_or_(x.to(torch.uint8).bitwise_left_shift_(t % 8))

    def __getitem__(self, steps: slice) -> Tensor:
        numbers = range(self.shape[0])[steps]
        return torch.stack([(self.bytes[t // 8] >> (t % 8)).bitwise_and_(1).to(self.dtype) for t in numbers])
