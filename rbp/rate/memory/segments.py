"""Segments of time: the dial between rate-based backpropagation (k=1) and BPTT (k=T).

A pass carries one rate per segment, its mean over the segment's steps. This is an extension of this project
and not in the paper.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Segments:
    """T time steps cut into k segments, as equal in length as can be, the longer ones first.

    Args:
        T: the number of time steps.
        k: the number of segments, 1 to T.
        coupled: whether segments act on later ones through the membrane potential.

    Attributes:
        T, k, coupled: as given.
        lengths: the number of steps of each segment.
        even: whether all are of the same length.
    """

    def __init__(self, T: int, k: int = 1, coupled: bool = True) -> None:
        length, longer = divmod(T, k)
        self.T, self.k, self.coupled = T, k, coupled
        self.lengths = [length + 1] * longer + [length] * (k - longer)
        self.even = longer == 0

    def of_step(self, t: int) -> int:
        """Return the number of the segment that step t belongs to."""
        for j, length in enumerate(self.lengths):
            if t < length:
                return j
            t -= length
        raise IndexError("no such step")

    def cut(self, start: int, steps: int) -> Iterator[tuple[int, slice, bool]]:
        """Cut the steps from start on where segments end.

        Yields:
            The number of a segment, which of the steps (counted from start) are in it, and whether the last
            of these ends the segment.
        """
        done = 0
        while done < steps:
            j = self.of_step(start + done)
            left = sum(self.lengths[: j + 1]) - start - done
            size = min(left, steps - done)
            yield j, slice(done, done + size), size == left
            done += size

    def means(self, x_seq: Tensor) -> Tensor:
        """Return the mean of x_seq [T, ...] over each segment, [k, ...]."""
        if self.even:
            return x_seq.unflatten(0, (self.k, -1)).mean(1)
        return torch.stack([part.mean(0) for part in x_seq.split(self.lengths)])

    def mean(self, rates: Tensor, dim: int = 0) -> Tensor:
        """Return the time mean [...] from the rates of the segments, of which axis dim has k."""
        if self.even:
            return rates.mean(dim)
        return (rates * self.weights(rates, dim)).sum(dim)

    def step_share(self, like: Tensor) -> float | Tensor:
        """Return a step's share of its segment, for rates like [k*B, ...]: a number where it is the same."""
        if self.even:
            return 1.0 / self.lengths[0]
        shares = 1.0 / like.new_tensor(self.lengths)
        return shares.repeat_interleave(like.shape[0] // self.k).view(-1, *(1,) * (like.dim() - 1))

    def weights(self, like: Tensor, dim: int = 0) -> Tensor:
        """Return each segment's share of the time steps, along axis dim of like."""
        shares = like.new_tensor(self.lengths) / self.T
        return shares.view(-1, *(1,) * (like.dim() - dim - 1))
